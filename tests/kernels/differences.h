// Gradients held against central differences of their forward operation, in float64 on the
// reference backend. (Other backends are compared with the reference, test_operations.cpp.)
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "tests/catch.h"
#include "tests/kernels/cases.h"

namespace ptynet::tests {

inline constexpr double kStep = 1e-5;
inline constexpr double kTolerance = 1e-6;  // of the gradient's largest element
// Inputs keep this far from where a function has no derivative.
inline constexpr double kClearance = 10 * kStep;

using Arrays = std::vector<Array>;
using Forward = std::function<Arrays(Backend&, const Arrays& operands)>;
// Derivatives by the operands, from those by the outputs.
using Gradient = std::function<Arrays(Backend&, const Arrays& operands, const Arrays& upstream)>;

inline Array random_doubles(const std::string& name, const Shape& shape, double low = -1,
                            double high = 1) {
  const CounterRandom random(11, name);
  Array out = Array::host(shape, DType::kF64);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<double>()[i] = low + (high - low) * random.uniform(static_cast<std::uint64_t>(i));
  }
  return out;
}

inline Array room(const Shape& shape) { return Array::host(shape, DType::kF64); }

inline double dot(const Array& a, const Array& b) {
  return std::inner_product(a.data<double>(), a.data<double>() + a.elements(), b.data<double>(),
                            0.0);
}

// Differences of <upstream, forward(operands)> by every element of every operand.
inline void check_gradient(const std::string& name, const Arrays& operands, const Forward& forward,
                           const Gradient& gradient) {
  INFO(name);
  const auto backend = make_reference_backend();
  Arrays upstream;
  for (const Array& y : forward(*backend, operands)) {
    upstream.push_back(random_doubles(text(name, " dy ", upstream.size()), y.shape()));
  }
  const auto loss = [&] {
    const Arrays outputs = forward(*backend, operands);
    double sum = 0;
    for (std::size_t i = 0; i < outputs.size(); ++i) sum += dot(outputs[i], upstream[i]);
    return sum;
  };
  const Arrays found = gradient(*backend, operands, upstream);
  REQUIRE(found.size() == operands.size());
  for (std::size_t k = 0; k < operands.size(); ++k) {
    Array operand = operands[k];  // the same elements
    REQUIRE(found[k].shape() == operand.shape());
    double largest = 0;
    double worst = 0;
    std::int64_t place = 0;
    for (std::int64_t i = 0; i < operand.elements(); ++i) {
      double& v = operand.data<double>()[i];
      const double before = v;
      v = before + kStep;
      const double above = loss();
      v = before - kStep;
      const double below = loss();
      v = before;
      const double error = std::abs((above - below) / (2 * kStep) - found[k].data<double>()[i]);
      largest = std::max(largest, std::abs(found[k].data<double>()[i]));
      if (!(error <= worst)) {
        worst = error;
        place = i;
      }
    }
    INFO("operand " << k << " " << describe(operand) << ", worst element " << place);
    CHECK(largest > 0);
    CHECK(worst <= kTolerance * largest);
  }
}

inline bool keeps_clear(const Array& values, const std::vector<double>& kinks) {
  return std::all_of(values.data<double>(), values.data<double>() + values.elements(), [&](auto v) {
    return std::all_of(kinks.begin(), kinks.end(),
                       [v](double kink) { return std::abs(v - kink) > kClearance; });
  });
}

inline std::vector<double> kinks_of(const Activation& a) {
  switch (a.kind) {
    case ActivationKind::kLeakyRelu:
    case ActivationKind::kRelu:
      return {0};
    case ActivationKind::kHardtanh:
      return {double{a.alpha}, double{a.beta}};
    default:
      return {};
  }
}

// The first of many draws for which `acceptable` holds.
template <typename Draw, typename Acceptable>
auto drawn_until(const std::string& name, Draw&& draw, Acceptable&& acceptable) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    auto candidate = draw(text(name, " draw ", attempt));
    if (acceptable(candidate)) return candidate;
  }
  fail_runtime("no draw for ", name, " keeps clear of the kinks");
}

}  // namespace ptynet::tests
