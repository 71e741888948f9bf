// Host numbers as a precision stores them, and back.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/stream.h"

namespace ptynet::cuda::tests {

std::size_t element_bytes(Precision precision);
// Half the distance from 1 to the next number of the array type, and of the operands of products.
double array_rounding(Precision precision);
double operand_rounding(Precision precision);

// What a sum of K = `terms` products may be off by, of factors in [-1, 1) or, `positive`, in
// [0, 1), apart from the rounding of the result itself. Products of size 1/3 add up to sqrt(K) / 3
// (K / 4 where all are positive), each addition rounds to 2^-24 of that, and errors of either sign
// add up as their root.
double sum_rounding(std::int64_t terms, Precision precision, bool positive);

// To the array type and back: what a device can be given exactly.
std::vector<float> rounded(std::vector<float> values, Precision precision);
std::vector<unsigned char> to_bytes(const std::vector<float>& values, Precision precision);
std::vector<float> from_bytes(const std::vector<unsigned char>& bytes, Precision precision);

}  // namespace ptynet::cuda::tests
