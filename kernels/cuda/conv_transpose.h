// Transposed convolutions written by hand, as kernels/backend.h defines conv_transpose2d: one small
// convolution per phase of the stride, all in one launch (docs/decisions/0002).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

// ConvShape of a transposed convolution: y is [n, oh, ow, co], oh = (h - 1) * stride - 2 * padding
// + kernel + extra_rows.

// The one that takes a convolution's derivative by its output to that by its input, with the same
// weights: x's extents are met exactly, and what no output was made of gets 0.
ConvShape input_gradient_of(const ConvShape& conv);

// Elements of the weights as conv_transpose2d() wants them: [stride, stride, co, t, t, ci /
// groups], t = kernel / stride rounded up, zero where a phase has fewer taps.
std::int64_t packed_weights(const ConvShape& shape);
// From [ci, kernel, kernel, co / groups], of the same type.
void pack_weights(const ConvShape& shape, Precision precision, const void* weights, void* packed,
                  Stream stream);

std::vector<ConvTile> transposed_tiles(const ConvShape& shape, Precision precision);
ConvTile suggest_transposed_tile(const ConvShape& shape, Precision precision, int multiprocessors);

// operands.w: packed.
void conv_transpose2d(const ConvShape& shape, Precision precision, const ConvOperands& operands,
                      const ConvTile& tile, Stream stream);

}  // namespace ptynet::cuda
