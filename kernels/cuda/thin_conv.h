// The thin ends of the networks, where tensor cores would run empty: direct kernels, in fp32
// arithmetic whatever the arrays' type, that are limited by reading x and writing y once.
#pragma once

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

// One input channel, one group, and 16 or 32 output channels (fp16, bf16: also 8, 64, 128).
bool is_thin_conv2d(const ConvShape& shape, Precision precision);
// As conv2d(); throws Error (runtime) unless is_thin_conv2d().
void thin_conv2d(const ConvShape& shape, Precision precision, const ConvOperands& operands,
                 Stream stream);

// Two channels in and out and stride 2, in one group or two.
bool is_thin_conv_transpose2d(const ConvShape& shape);
// As conv_transpose2d() but for the weights, which are not packed: [ci, kernel, kernel, co /
// groups].
void thin_conv_transpose2d(const ConvShape& shape, Precision precision,
                           const ConvOperands& operands, Stream stream);

}  // namespace ptynet::cuda
