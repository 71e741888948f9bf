// The last two layers of PtyNet-S in one kernel: a convolution to two channels, and the transposed
// convolution of those that doubles the frame. What is between them stays in shared memory, in f32.
#pragma once

#include "kernels/cuda/conv_pair.h"

namespace ptynet::cuda {

// A convolution with kernel 3 to two channels that is_thin_conv2d(), and a transposed one that
// is_thin_conv_transpose2d() with a kernel of up to 4.
bool is_fused_thin(const ConvPairShape& shape, Precision precision);
// y = second(first(x)), each with its bias and activation; x and weights as thin_conv2d() and
// thin_conv_transpose2d() take theirs, y aligned to pixels. Throws Error (runtime) unless
// is_fused_thin().
void fused_thin(const ConvPairShape& shape, Precision precision, const ConvPairOperands& operands,
                Stream stream);

}  // namespace ptynet::cuda
