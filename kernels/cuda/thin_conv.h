// The thin ends of the networks, where tensor cores would run empty: direct kernels, in fp32
// arithmetic whatever the arrays' type, that are limited by reading x and writing y once.
#pragma once

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

// Either end of a network:
// - one input channel, one group, and 16 or 32 output channels (fp16, bf16: also 8, 64, 128);
// - up to four output channels in any number of groups, kernel 1, 3 or 5, stride 1, and so many
//   input channels as fit in shared memory (128 in fp16, kernel 3). Arrays may lie anywhere; x and
//   w aligned to 16 bytes, with whole vectors of that size in each group, are read faster. They
//   alone can write f32 (ConvOperands::f32_result).
bool is_thin_conv2d(const ConvShape& shape, Precision precision);
// As conv2d(); throws Error (runtime) unless is_thin_conv2d().
void thin_conv2d(const ConvShape& shape, Precision precision, const ConvOperands& operands,
                 Stream stream);

// Two channels in and out and stride 2, in one group or two; x and y aligned to pixels. Can write
// f32.
bool is_thin_conv_transpose2d(const ConvShape& shape);
// As conv_transpose2d() but for the weights, which are not packed: [ci, kernel, kernel, co /
// groups].
void thin_conv_transpose2d(const ConvShape& shape, Precision precision,
                           const ConvOperands& operands, Stream stream);

}  // namespace ptynet::cuda
