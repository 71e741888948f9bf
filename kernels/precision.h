// What the arithmetic of a network is done in.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/dtype.h"

namespace ptynet {

// Of the factors of products: their sums are always f32. TF32 is f32 whose mantissa loses all but
// 10 bits on the way into a product.
enum class Precision : std::uint8_t { kF32, kTf32, kBf16, kF16 };

inline constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kTf32, Precision::kBf16,
                                            Precision::kF16};

// As options, reports and result files write it.
constexpr std::string_view name_of(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return "fp32";
    case Precision::kTf32:
      return "tf32";
    case Precision::kBf16:
      return "bf16";
    case Precision::kF16:
      return "fp16";
  }
  return "unknown";
}

// Of the arrays between layers.
constexpr DType array_type(Precision precision) {
  switch (precision) {
    case Precision::kF32:
    case Precision::kTf32:
      return DType::kF32;
    case Precision::kBf16:
      return DType::kBf16;
    case Precision::kF16:
      return DType::kF16;
  }
  return DType::kF32;
}

}  // namespace ptynet
