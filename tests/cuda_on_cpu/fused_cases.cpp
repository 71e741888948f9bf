#include <cmath>

#include "kernels/backend.h"
#include "kernels/cuda/fused_thin.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr Activation kLeaky{ActivationKind::kLeakyRelu, 0.2F, 0};
constexpr Activation kPlain{};
constexpr Activation kClip{ActivationKind::kHardtanh, -1, 1};
constexpr Activation kTanh{ActivationKind::kTanh, 0, 0};
constexpr Activation kSigmoid{ActivationKind::kSigmoid, 0, 0};

constexpr int kConvKernel = 3;

struct Pair {
  int n, h, w, ci, padding, groups;
  Activation activation;
  int kernel, transposed_padding, transposed_groups;  // of the transposed convolution
  Activation last;

  FusedThinShape shape() const {
    const int grown = 2 * padding - kConvKernel + 1;
    return {
        {n, h, w, ci, 2, kConvKernel, 1, padding, groups, activation},
        {n, h + grown, w + grown, 2, 2, kernel, 2, transposed_padding, transposed_groups, last}};
  }
};

// PtyNet-S in small; its tiles' edges; then odd ones.
constexpr Pair kPairs[] = {
    {1, 16, 20, 16, 1, 2, kLeaky, 4, 1, 2, kClip},  {2, 13, 27, 16, 1, 2, kLeaky, 4, 1, 2, kPlain},
    {5, 5, 7, 16, 1, 2, kPlain, 4, 1, 2, kTanh},    {1, 1, 30, 32, 1, 1, kLeaky, 2, 0, 1, kPlain},
    {1, 28, 1, 12, 1, 2, kTanh, 3, 1, 1, kLeaky},   {2, 14, 12, 8, 1, 1, kSigmoid, 4, 2, 1, kPlain},
    {1, 15, 16, 64, 0, 1, kLeaky, 4, 0, 2, kLeaky}, {1, 9, 14, 2, 2, 2, kPlain, 3, 2, 2, kPlain},
};

struct Variant {
  Pair pair;
  Precision precision;
  bool bias;
  bool f32_result;
  bool misaligned;  // all arrays but y, by one element
};

struct Numbers {
  Shape x_shape, w_shape, middle_shape, transposed_w_shape, y_shape;
  std::vector<float> x, w, b, transposed_w, transposed_b;
};

int doubled(const ConvShape& s, int extent) { return (extent - 1) * 2 - 2 * s.padding + s.kernel; }

Numbers make_numbers(const Variant& v) {
  const auto [conv, last] = v.pair.shape();
  Numbers out;
  out.x_shape = {conv.n, conv.h, conv.w, conv.ci};
  out.w_shape = {conv.co, conv.kernel, conv.kernel, conv.ci / conv.groups};
  out.middle_shape = {last.n, last.h, last.w, last.ci};
  out.transposed_w_shape = {last.ci, last.kernel, last.kernel, last.co / last.groups};
  out.y_shape = {last.n, doubled(last, last.h), doubled(last, last.w), last.co};
  const auto values = [&](const char* name, const Shape& shape) {
    return rounded(random_values(name, shape.elements(), -1, 1), v.precision);
  };
  out.x = values("x", out.x_shape);
  out.w = values("w", out.w_shape);
  out.transposed_w = values("transposed w", out.transposed_w_shape);
  if (v.bias) {
    out.b = random_values("b", conv.co, -1, 1);
    out.transposed_b = random_values("transposed b", last.co, -1, 1);
  }
  return out;
}

// One operation after the other, in f64.
std::vector<double> reference(const Variant& v, const Numbers& numbers) {
  const auto backend = make_reference_backend();
  const auto [conv, last] = v.pair.shape();
  const auto options = [](const ConvShape& s) {
    return ConvOptions{s.stride, s.padding, s.groups, s.activation};
  };
  const auto bias = [&](const std::vector<float>& b) {
    return v.bias ? Array::copy_of(b, {2}) : Array();
  };
  Array middle = Array::host(numbers.middle_shape, DType::kF64);
  backend->conv2d(
      Array::copy_of(std::vector<double>(numbers.x.begin(), numbers.x.end()), numbers.x_shape),
      Array::copy_of(numbers.w, numbers.w_shape), bias(numbers.b), options(conv), middle);
  Array y = Array::host(numbers.y_shape, DType::kF64);
  backend->conv_transpose2d(middle,
                            Array::copy_of(numbers.transposed_w, numbers.transposed_w_shape),
                            bias(numbers.transposed_b), options(last), y);
  return {y.data<double>(), y.data<double>() + y.elements()};
}

std::vector<float> computed(const Variant& v, const Numbers& numbers) {
  const Precision result = v.f32_result ? Precision::kF32 : v.precision;
  const std::size_t offset = v.misaligned ? element_bytes(v.precision) : 0;
  const std::size_t bias_offset = v.misaligned ? sizeof(float) : 0;
  const Placed x = placed(numbers.x, v.precision, offset);
  const Placed w = placed(numbers.w, v.precision, offset);
  const Placed b = placed(numbers.b, Precision::kF32, bias_offset);
  const Placed transposed_w = placed(numbers.transposed_w, v.precision, offset);
  const Placed transposed_b = placed(numbers.transposed_b, Precision::kF32, bias_offset);
  const Placed y =
      unwritten(static_cast<std::size_t>(numbers.y_shape.elements()) * element_bytes(result));
  const auto bias = [&](const Placed& at) {
    return v.bias ? static_cast<const float*>(at.data()) : nullptr;
  };
  fused_thin(v.pair.shape(), v.precision,
             {x.data(), w.data(), bias(b), transposed_w.data(), bias(transposed_b), y.data(),
              v.f32_result},
             nullptr);
  return floats_of(y, result);
}

// As conv_cases.cpp for one operation: K products of size 1/3 add up to sqrt(K) / 3, each addition
// rounds to 2^-24 of that. The second sum takes what the first was off by.
Tolerance tolerance_of(const Variant& v) {
  constexpr double kSafety = 8;
  const auto [conv, last] = v.pair.shape();
  const double first = std::sqrt(kConvKernel * kConvKernel * conv.ci / conv.groups);
  const double second = std::sqrt(4.0 * last.ci / last.groups);
  const double middle = first / 3 + 1;
  const double first_error = first * 0x1p-24 * middle;
  const double second_error = second * 0x1p-24 * (second * middle + 1) + second * first_error;
  return {kSafety * second_error,
          1.01 * array_rounding(v.f32_result ? Precision::kF32 : v.precision)};
}

Outcome run_variant(const Variant& v) {
  const Numbers numbers = make_numbers(v);
  return compare(reference(v, numbers), computed(v, numbers), tolerance_of(v));
}

std::string describe(const Variant& v) {
  const auto [conv, last] = v.pair.shape();
  return text("n", conv.n, " ", conv.h, "x", conv.w, " ", conv.ci, "->2 p", conv.padding, " g",
              conv.groups, " then k", last.kernel, " p", last.padding, " g", last.groups,
              v.bias ? " bias" : "", v.f32_result ? " f32 result" : "",
              v.misaligned ? " misaligned" : "");
}

}  // namespace

std::vector<Case> fused_cases() {
  std::vector<Case> cases;
  for (std::size_t i = 0; i < std::size(kPairs); ++i) {
    for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kF16}) {
      for (const Variant& v : {Variant{kPairs[i], precision, i % 3 != 1, false, false},
                               Variant{kPairs[i], precision, i % 3 != 0, true, i % 2 == 0}}) {
        cases.push_back({"fused_thin", std::string(name_of(precision)), describe(v),
                         [v] { return run_variant(v); }});
      }
    }
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
