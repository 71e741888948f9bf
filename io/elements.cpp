#include "io/elements.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/error.h"

namespace ptynet::io {

namespace {

constexpr bool kHostIsBig = std::endian::native == std::endian::big;

// IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 mantissa bits.
float widen_half(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  float magnitude = 0;
  if (exponent == 0x1f) {
    magnitude = mantissa == 0 ? std::numeric_limits<float>::infinity()
                              : std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(mantissa + 0x400), exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

// bfloat16 is the upper half of a float.
float widen_brain(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

template <typename T>
T load(const std::byte* from, bool swap) {
  std::array<std::byte, sizeof(T)> raw;
  std::memcpy(raw.data(), from, sizeof(T));
  if (swap) std::reverse(raw.begin(), raw.end());
  return std::bit_cast<T>(raw);
}

// Calls visit(loader), where loader(pointer) gives one element as bool, integer, float or complex.
template <typename Visit>
void with_loader(const ElementType& type, Visit&& visit) {
  const bool swap = type.big_endian != kHostIsBig;
  const auto plain = [&]<typename T>(std::type_identity<T>) {
    visit([swap](const std::byte* p) { return load<T>(p, swap); });
  };
  const auto parts = [&]<typename T>(std::type_identity<T>) {
    visit([swap](const std::byte* p) {
      return std::complex<T>(load<T>(p, swap), load<T>(p + sizeof(T), swap));
    });
  };
  switch (type.kind) {
    case ElementKind::kBool:
      return visit(
          [](const std::byte* p) { return static_cast<std::uint8_t>(*p != std::byte{0} ? 1 : 0); });
    case ElementKind::kSigned:
      if (type.size == 1) return plain(std::type_identity<std::int8_t>{});
      if (type.size == 2) return plain(std::type_identity<std::int16_t>{});
      if (type.size == 4) return plain(std::type_identity<std::int32_t>{});
      if (type.size == 8) return plain(std::type_identity<std::int64_t>{});
      break;
    case ElementKind::kUnsigned:
      if (type.size == 1) return plain(std::type_identity<std::uint8_t>{});
      if (type.size == 2) return plain(std::type_identity<std::uint16_t>{});
      if (type.size == 4) return plain(std::type_identity<std::uint32_t>{});
      if (type.size == 8) return plain(std::type_identity<std::uint64_t>{});
      break;
    case ElementKind::kFloat:
      if (type.size == 2) {
        return visit(
            [swap](const std::byte* p) { return widen_half(load<std::uint16_t>(p, swap)); });
      }
      if (type.size == 4) return plain(std::type_identity<float>{});
      if (type.size == 8) return plain(std::type_identity<double>{});
      break;
    case ElementKind::kBrainFloat:
      return visit(
          [swap](const std::byte* p) { return widen_brain(load<std::uint16_t>(p, swap)); });
    case ElementKind::kComplex:
      if (type.size == 8) return parts(std::type_identity<float>{});
      if (type.size == 16) return parts(std::type_identity<double>{});
      break;
  }
  fail_runtime("no element type of kind ", static_cast<int>(type.kind), " and ", type.size,
               " bytes");
}

template <typename T>
constexpr bool kIsComplex = false;
template <typename T>
constexpr bool kIsComplex<std::complex<T>> = true;

// False when `to` cannot hold the value.
template <typename From, typename To>
bool convert(From value, To& to) {
  if constexpr (kIsComplex<From>) {
    float real = 0;
    float imaginary = 0;
    const bool good = convert(value.real(), real) && convert(value.imag(), imaginary);
    to = To(real, imaginary);
    return good;
  } else if constexpr (std::is_integral_v<To>) {
    to = static_cast<To>(value);  // NOLINT(bugprone-signed-char-misuse): a number, not a letter
    return std::in_range<To>(value);
  } else {
    to = static_cast<To>(value);
    if constexpr (std::is_floating_point_v<From>) return std::isfinite(to) || !std::isfinite(value);
    return true;
  }
}

template <typename From, typename To>
constexpr bool kAllowed = kIsComplex<From> == kIsComplex<To> &&
                          (kIsComplex<From> || std::is_integral_v<From> ||
                           std::is_floating_point_v<To>);

// Calls visit(std::type_identity<T>) for the element type of arrays `type`.
template <typename Visit>
void with_target(DType type, Visit&& visit) {
  switch (type) {
    case DType::kF32:
      return visit(std::type_identity<float>{});
    case DType::kF64:
      return visit(std::type_identity<double>{});
    case DType::kC64:
      return visit(std::type_identity<std::complex<float>>{});
    case DType::kU8:
      return visit(std::type_identity<std::uint8_t>{});
    case DType::kU16:
      return visit(std::type_identity<std::uint16_t>{});
    case DType::kU32:
      return visit(std::type_identity<std::uint32_t>{});
    case DType::kI32:
      return visit(std::type_identity<std::int32_t>{});
    case DType::kF16:
    case DType::kBf16:
      break;
  }
  fail_runtime("files are not read into arrays of ", name_of(type));
}

}  // namespace

std::string to_string(const ElementType& type) {
  const std::string bits = std::to_string(8 * type.size);
  switch (type.kind) {
    case ElementKind::kBool:
      return "bool";
    case ElementKind::kSigned:
      return "int" + bits;
    case ElementKind::kUnsigned:
      return "uint" + bits;
    case ElementKind::kFloat:
      return "float" + bits;
    case ElementKind::kBrainFloat:
      return "bfloat" + bits;
    case ElementKind::kComplex:
      return "complex" + bits;
  }
  return "unknown";
}

DType array_type_of(const ElementType& type) {
  switch (type.kind) {
    case ElementKind::kBool:
      return DType::kU8;
    case ElementKind::kSigned:
      return DType::kI32;
    case ElementKind::kUnsigned:
      return type.size == 1 ? DType::kU8 : type.size == 2 ? DType::kU16 : DType::kU32;
    case ElementKind::kFloat:
      return type.size == 8 ? DType::kF64 : DType::kF32;
    case ElementKind::kBrainFloat:
      return DType::kF32;
    case ElementKind::kComplex:
      return DType::kC64;
  }
  return DType::kF32;
}

bool same_bytes(const ElementType& from, DType to) {
  if (from.size != size_of(to) || from.kind == ElementKind::kBool) return false;
  if (from.size > 1 && from.big_endian != kHostIsBig) return false;
  switch (to) {
    case DType::kF32:
    case DType::kF64:
      return from.kind == ElementKind::kFloat;
    case DType::kC64:
      return from.kind == ElementKind::kComplex;
    case DType::kU8:
    case DType::kU16:
    case DType::kU32:
      return from.kind == ElementKind::kUnsigned;
    case DType::kI32:
      return from.kind == ElementKind::kSigned;
    case DType::kF16:
    case DType::kBf16:
      return false;
  }
  return false;
}

void convert_elements(Bytes source, const ElementType& from, Array& into,
                      const std::string& where) {
  const auto count = static_cast<std::size_t>(into.elements());
  if (source.size() != count * from.size) {
    fail_runtime(where, ": ", source.size(), " bytes are not ", count, " elements of ",
                 to_string(from));
  }
  if (count == 0) return;
  if (same_bytes(from, into.dtype())) {
    std::memcpy(into.data(), source.data(), source.size());
    return;
  }
  with_loader(from, [&](auto element) {
    with_target(into.dtype(), [&]<typename To>(std::type_identity<To>) {
      using From = decltype(element(source.data()));
      if constexpr (kAllowed<From, To>) {
        To* out = into.data<To>();
        for (std::size_t i = 0; i < count; ++i) {
          const From value = element(source.data() + i * from.size);
          if (!convert(value, out[i])) {
            fail_input(where, ": the ", to_string(from), " value ", +value, " does not fit in ",
                       name_of(into.dtype()));
          }
        }
      } else {
        fail_input(where, ": expected elements that can be read as ", name_of(into.dtype()),
                   ", found ", to_string(from));
      }
    });
  });
}

}  // namespace ptynet::io
