// Host numbers as a precision stores them, and back.
#pragma once

#include <vector>

#include "kernels/cuda/stream.h"

namespace ptynet::cuda::tests {

std::size_t element_bytes(Precision precision);
// Half the distance from 1 to the next number of the array type, and of the operands of products.
double array_rounding(Precision precision);
double operand_rounding(Precision precision);

// To the array type and back: what a device can be given exactly.
std::vector<float> rounded(std::vector<float> values, Precision precision);
std::vector<unsigned char> to_bytes(const std::vector<float>& values, Precision precision);
std::vector<float> from_bytes(const std::vector<unsigned char>& bytes, Precision precision);

}  // namespace ptynet::cuda::tests
