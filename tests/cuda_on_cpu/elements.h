// Host numbers as a precision stores them, and back.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/cuda/stream.h"

namespace ptynet::cuda::tests {

inline constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kTf32, Precision::kBf16,
                                            Precision::kF16};

std::string_view name_of(Precision precision);
std::size_t element_bytes(Precision precision);
// Half the distance from 1 to the next number of the array type, and of the operands of products.
double array_rounding(Precision precision);
double operand_rounding(Precision precision);

// To the array type and back: what a device can be given exactly.
std::vector<float> rounded(std::vector<float> values, Precision precision);
std::vector<unsigned char> to_bytes(const std::vector<float>& values, Precision precision);
std::vector<float> from_bytes(const std::vector<unsigned char>& bytes, Precision precision);

}  // namespace ptynet::cuda::tests
