// A convolution cut into tiles: what its kernel is told. conv.cu plans it.
#pragma once

#include <functional>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/device.h"

namespace ptynet::cuda {

inline constexpr int kConvWarps = 4;
inline constexpr int kConvThreads = kConvWarps * kWarpLanes;
inline constexpr int kStepBytes = 32;      // of channels that one matrix instruction takes
inline constexpr int kVectorBytes = 16;    // what one thread copies at once
inline constexpr int kVectorChannels = 4;  // what one thread writes at once

// Bytes between two rows of channels in shared memory. An odd multiple of 16: then any 8 rows in
// succession lie in different banks.
PTYNET_HOST_DEVICE constexpr int row_pitch(int steps) { return steps * kStepBytes + kVectorBytes; }
// Of kVectorBytes, that hold its channels.
PTYNET_HOST_DEVICE constexpr int row_vectors(int steps) {
  return steps * kStepBytes / kVectorBytes;
}
// And between two pixels of the sums that wait to be written, f32.
PTYNET_HOST_DEVICE constexpr int sums_pitch(int channels) { return channels * 4 + 32; }

// A tile is images x rows x columns of output pixels, each a power of two, and the channels of one
// group or a part of them. A transposed convolution writes every phases-th pixel of y along both
// axes: phase e of an axis is a convolution of its own, whose weights follow those of phase e - 1.
struct ConvProblem {
  int n, h, w, ci;
  int oh, ow, co;
  int ci_group, co_group;
  int taps;  // along each axis
  int stride;
  int phases;   // along each axis; 1: a convolution
  int padding;  // of phase e: padding - (e + phase_padding) / phases
  int phase_padding;
  Activation activation;
  bool whole_vectors;  // y may be written kVectorChannels at a time

  // How it is cut into tiles; filled in by cut_output().
  int column_bits, row_bits, image_bits;  // log2 of the tile's extents
  int tiles_across, tiles_down;
  int halo_rows, halo_columns;  // of input that one image of a tile reads; columns: a multiple of
                                // the stride
  int halo_pixels;              // of all images of a tile

  // By run_convolution().
  int channel_tiles;  // of a group
  int chunks;         // of a group's input channels
  int stages;         // of the ring of weights: 2 or 3
  int input_buffers;  // of the ring of input chunks
};

inline int divide_up(int a, int b) { return (a + b - 1) / b; }

inline int element_bytes(Precision precision) {
  return precision == Precision::kF32 || precision == Precision::kTf32 ? 4 : 2;
}

using ConvKernel = void (*)(ConvProblem, ConvOperands);

// The kernel of a tile and `steps` matrix instructions per chunk of channels (1 or 2), for operands
// that are aligned to kVectorBytes in every group or not; null where there is none. Math: float (no
// tensor cores), Tf32, Bfloat16, Half.
template <typename Math>
ConvKernel find_conv_kernel(const ConvTile& tile, int steps, bool aligned);

// What is launched for a problem.
struct ConvPlan {
  ConvProblem problem;
  ConvTile tile;
  bool aligned;
  int steps;  // matrix instructions per chunk of channels
  Index3 blocks;
  std::size_t ring_bytes;    // of shared memory, that input and weights take
  std::size_t shared_bytes;  // also as much as the sums need in their place
};

// Not yet cut.
ConvProblem conv_problem(const ConvShape& shape);
ConvProblem transposed_problem(const ConvShape& shape);  // conv_transpose.cu

// Into tiles of so many output pixels, or the next power of two: extents in pixels, each a power of
// two and rows and columns of at least 2 to the power of `least_bits`, counts of tiles, and the
// halo.
void cut_output(ConvProblem& problem, int pixels, int least_bits);
// Whether operands may be copied kVectorBytes at a time.
bool is_aligned(const ConvProblem& problem, Precision precision, const ConvOperands& operands);
// Not for aligned operands: the one slow tile.
ConvPlan plan_convolution(const ConvProblem& problem, const ConvTile& tile, Precision precision,
                          bool aligned);
// ConvProblem::whole_vectors.
bool takes_whole_vectors(const ConvProblem& problem, const void* y);
// Throws Error (runtime) unless y is to be of the precision's array type.
void expect_array_result(const char* name, Precision precision, const ConvOperands& operands);

// The tiles whose plan for aligned operands `runs`.
std::vector<ConvTile> tiles_that_run(const ConvProblem& problem, Precision precision,
                                     const std::function<bool(const ConvPlan&)>& runs);
// One of these tiles. Of none: one that is refused when it is to run.
ConvTile suggest_tile(const std::vector<ConvTile>& tiles, const ConvProblem& problem,
                      Precision precision, int multiprocessors);

// As conv_tiles() and suggest_tile().
std::vector<ConvTile> fitting_tiles(const ConvProblem& problem, Precision precision);
ConvTile suggest_tile(const ConvProblem& problem, Precision precision, int multiprocessors);
// Plans and launches.
void run_convolution(const char* name, const ConvProblem& problem, Precision precision,
                     const ConvOperands& operands, const ConvTile& tile, Stream stream);

}  // namespace ptynet::cuda
