#include "tests/cuda_on_cpu/elements.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/math.h"

namespace ptynet::cuda::tests {

namespace {

bool is_wide(Precision precision) {
  return precision == Precision::kF32 || precision == Precision::kTf32;
}

std::uint16_t narrow(float v, Precision precision) {
  return precision == Precision::kF16 ? narrow_f16(v).bits : narrow_bf16(v).bits;
}

float widen_bits(std::uint16_t bits, Precision precision) {
  return precision == Precision::kF16 ? widen(Half{bits}) : widen(Bfloat16{bits});
}

}  // namespace

std::size_t element_bytes(Precision precision) { return is_wide(precision) ? 4 : 2; }

double array_rounding(Precision precision) {
  if (is_wide(precision)) return 0x1p-24;
  return precision == Precision::kF16 ? 0x1p-11 : 0x1p-8;
}

double operand_rounding(Precision precision) {
  return precision == Precision::kTf32 ? 0x1p-11 : 0.0;
}

double sum_rounding(std::int64_t terms, Precision precision, bool positive) {
  constexpr double kSafety = 8;
  const double root = std::sqrt(static_cast<double>(terms));
  const double products = root / 3;
  const double sum = positive ? static_cast<double>(terms) / 4 : products;
  const double additions = std::max(1.0, root) * 0x1p-24 * (sum + 1);
  return kSafety * additions + kSafety / 2 * operand_rounding(precision) * products;
}

std::vector<float> rounded(std::vector<float> values, Precision precision) {
  if (is_wide(precision)) return values;
  for (float& v : values) v = widen_bits(narrow(v, precision), precision);
  return values;
}

std::vector<unsigned char> to_bytes(const std::vector<float>& values, Precision precision) {
  const std::size_t size = element_bytes(precision);
  std::vector<unsigned char> out(values.size() * size);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (is_wide(precision)) {
      std::memcpy(&out[i * size], &values[i], size);
    } else {
      const std::uint16_t bits = narrow(values[i], precision);
      std::memcpy(&out[i * size], &bits, size);
    }
  }
  return out;
}

std::vector<float> from_bytes(const std::vector<unsigned char>& bytes, Precision precision) {
  const std::size_t size = element_bytes(precision);
  std::vector<float> out(bytes.size() / size);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (is_wide(precision)) {
      std::memcpy(&out[i], &bytes[i * size], size);
    } else {
      std::uint16_t bits = 0;
      std::memcpy(&bits, &bytes[i * size], size);
      out[i] = widen_bits(bits, precision);
    }
  }
  return out;
}

}  // namespace ptynet::cuda::tests
