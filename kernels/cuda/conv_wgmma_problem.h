// What the kernel of conv_wgmma_kernel.cu is told. conv_wgmma.cu plans it.
#pragma once

#include "kernels/cuda/conv_problem.h"

namespace ptynet::cuda {

// A product takes 8 core matrices of 8 pixels at equal distances: 8 rows of 8 columns of an image.
inline constexpr int kSquareBits = 3;
inline constexpr int kSquarePixels = 64;

// A chunk of channels lies in planes of vectors, [vector][pixel or output channel] x 16 bytes: any
// 8 pixels in succession along a row of the halo are a core matrix, for every tap.
struct WgmmaProblem {
  ConvProblem conv;  // of tiles at least 8 pixels high and wide; stages: 3 or 4
  int input_plane;   // bytes from plane to plane
  int weights_plane;
};

using WgmmaKernel = void (*)(WgmmaProblem, ConvOperands);

// Of a tile and `steps` products per tap and chunk of channels (1 or 2). Null where there is none:
// for fp32, for other tiles, and in a build without sm_90a.
WgmmaKernel find_wgmma_kernel(const ConvTile& tile, int steps, Precision precision);

}  // namespace ptynet::cuda
