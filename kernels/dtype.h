// Element types of arrays.
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ptynet {

// f64 is for the oracle of tests only (see kernels/reference); no job computes in it.
enum class DType : std::uint8_t { kF32, kF16, kBf16, kC64, kU8, kU16, kU32, kI32, kF64 };

// Bit patterns of the 16-bit floats; arithmetic on them widens to float (see kernels/math.h).
struct Half {
  std::uint16_t bits;
};
struct Bfloat16 {
  std::uint16_t bits;
};

constexpr std::size_t size_of(DType type) {
  switch (type) {
    case DType::kU8:
      return 1;
    case DType::kF16:
    case DType::kBf16:
    case DType::kU16:
      return 2;
    case DType::kF32:
    case DType::kU32:
    case DType::kI32:
      return 4;
    case DType::kC64:
    case DType::kF64:
      return 8;
  }
  return 0;
}

constexpr std::string_view name_of(DType type) {
  switch (type) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBf16:
      return "bf16";
    case DType::kC64:
      return "c64";
    case DType::kU8:
      return "u8";
    case DType::kU16:
      return "u16";
    case DType::kU32:
      return "u32";
    case DType::kI32:
      return "i32";
    case DType::kF64:
      return "f64";
  }
  return "unknown";
}

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType kValue = DType::kF32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType kValue = DType::kF64;
};
template <>
struct DTypeOf<Half> {
  static constexpr DType kValue = DType::kF16;
};
template <>
struct DTypeOf<Bfloat16> {
  static constexpr DType kValue = DType::kBf16;
};
template <>
struct DTypeOf<std::complex<float>> {
  static constexpr DType kValue = DType::kC64;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType kValue = DType::kU8;
};
template <>
struct DTypeOf<std::uint16_t> {
  static constexpr DType kValue = DType::kU16;
};
template <>
struct DTypeOf<std::uint32_t> {
  static constexpr DType kValue = DType::kU32;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType kValue = DType::kI32;
};

}  // namespace ptynet
