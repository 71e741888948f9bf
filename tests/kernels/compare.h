// How far a device's results may be from the reference's.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/array.h"
#include "kernels/math.h"

namespace ptynet::tests {

// Rounding in f32 sums of K terms grows with the root of K. The factor leaves room for another
// order of summation, and for the roots, exponentials and transforms of libraries.
inline constexpr double kRounding = 3;
inline constexpr double kUnitRoundoff = 0x1p-24;

inline double tolerance_of(std::int64_t sum_length) {
  return kRounding * std::sqrt(static_cast<double>(sum_length)) * kUnitRoundoff;
}

template <typename Narrow>
std::vector<double> widened(const Array& a) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    out.push_back(double{widen(a.data<Narrow>()[i])});
  }
  return out;
}

inline std::vector<double> numbers_of(const Array& a) {
  switch (a.dtype()) {
    case DType::kBf16:
      return widened<Bfloat16>(a);
    case DType::kF16:
      return widened<Half>(a);
    case DType::kF64:
      return {a.data<double>(), a.data<double>() + a.elements()};
    case DType::kC64: {
      const auto* parts = static_cast<const float*>(a.data());
      return {parts, parts + 2 * a.elements()};
    }
    default:
      return {a.data<float>(), a.data<float>() + a.elements()};
  }
}

// The largest |found - expected| as a share of the largest |expected|.
inline double difference(const Array& found_array, const Array& expected_array) {
  const std::vector<double> found = numbers_of(found_array);
  const std::vector<double> expected = numbers_of(expected_array);
  double worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double off = std::abs(found[i] - expected[i]);
    worst = std::isnan(off) ? INFINITY : std::max(worst, off);
    largest = std::max(largest, std::abs(expected[i]));
  }
  return worst == 0 ? 0 : worst / largest;
}

}  // namespace ptynet::tests
