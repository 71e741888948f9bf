// Convolutions with few output channels: the last layers of the networks, where a tile of tensor
// cores would have one or two of its 16 columns in use. Reached by thin_conv.h.
#pragma once

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

// Up to four output channels, kernel 1, 3 or 5, stride 1, any groups, and input channels of which a
// tile fits in the shared memory of every device.
bool is_thin_output(const ConvShape& shape, Precision precision);
// Expects is_thin_output().
void thin_output(const ConvShape& shape, Precision precision, const ConvOperands& operands,
                 Stream stream);

}  // namespace ptynet::cuda
