// Convolutions written by hand, as kernels/backend.h defines conv2d.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/math.h"

namespace ptynet::cuda {

struct ConvShape {
  int n, h, w, ci;  // x [n, h, w, ci]
  int co;           // y [n, oh, ow, co]
  int kernel;       // taps along each axis
  int stride;
  int padding;  // zeros on all four sides, px
  int groups;
  Activation activation;
  // Of a transposed convolution's y: rows and columns beyond the last that an input reaches, fewer
  // than the stride. With them it is the gradient of a convolution that left a rest of its input
  // unread.
  int extra_rows = 0;
  int extra_columns = 0;
};

// All of the precision's array type, but for the bias and y where it is to be f32. Device memory.
struct ConvOperands {
  const void* x;
  const void* w;   // [co, kernel, kernel, ci / groups]
  const float* b;  // [co] or null
  void* y;
  bool f32_result = false;  // for a 16-bit network's last layer; thin_conv.h says which kernels can
};

// How the work is cut into blocks of four warps. Any tile gives the same sums in the same order.
struct ConvTile {
  int pixels_per_warp;
  int channels;  // of one group, per block
  bool operator==(const ConvTile&) const = default;
};

// Every tile whose operands fit in the shared memory of the current device, and the one that a
// count of blocks and products suggests; the fastest is found by timing them.
std::vector<ConvTile> conv_tiles(const ConvShape& shape, Precision precision);
ConvTile suggest_tile(const ConvShape& shape, Precision precision, int multiprocessors);

// y = activation(conv(x, w) + b). Arrays aligned to 16 bytes whose groups have multiples of 8
// input channels take the tile; the others are right, and slow.
void conv2d(const ConvShape& shape, Precision precision, const ConvOperands& operands,
            const ConvTile& tile, Stream stream);

}  // namespace ptynet::cuda
