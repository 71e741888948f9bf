#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cuda/batch_norm.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr Activation kActivations[] = {{},
                                       {ActivationKind::kLeakyRelu, 0.2F, 0},
                                       {ActivationKind::kRelu, 0, 0},
                                       {ActivationKind::kHardtanh, -1, 1},
                                       {ActivationKind::kSigmoid, 0, 0},
                                       {ActivationKind::kTanh, 0, 0}};
constexpr Precision kArrayTypes[] = {Precision::kF32, Precision::kBf16, Precision::kF16};
// Multiples of an access of 4 or 8 elements, and others.
constexpr int kChannels[] = {1, 3, 4, 6, 8, 12, 20, 64, 65};

struct Variant {
  Precision precision;
  std::int64_t pixels;
  int channels;
  Activation activation;
  double mean;  // the channels' are up to 1 from it
  bool x_aligned = true;
  bool y_aligned = true;
};

// The values' distance from their mean: half the digits of an array around one far from 0.
double spread(const Variant& v) {
  return v.mean == 0 ? 1 : std::abs(v.mean) * std::sqrt(array_rounding(v.precision));
}

BatchNormParameters make_parameters(const Variant& v) {
  const std::int64_t c = v.channels;
  const double square = spread(v) * spread(v);
  BatchNormParameters p{Array::copy_of(random_values("weight", c, -1.5, 1.5), {c}),
                        Array::copy_of(random_values("bias", c, -1, 1), {c}),
                        Array::copy_of(random_values("mean", c, v.mean - 1, v.mean + 1), {c}),
                        Array::copy_of(random_values("variance", c, square / 2, square * 2), {c})};
  p.epsilon = 0.01F;
  p.activation = v.activation;
  return p;
}

std::vector<float> make_x(const Variant& v, const Array& mean) {
  std::vector<float> x = random_values("x", v.pixels * v.channels, -2, 2);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float centre = mean.data<float>()[i % static_cast<std::size_t>(v.channels)];
    x[i] = static_cast<float>(double{x[i]} * spread(v) + double{centre});
  }
  return rounded(std::move(x), v.precision);
}

std::vector<double> reference(const Variant& v, const std::vector<float>& x,
                              const BatchNormParameters& p) {
  const Shape shape{1, 1, v.pixels, v.channels};
  Array y = Array::host(shape, DType::kF64);
  make_reference_backend()->batch_norm(Array::copy_of(x, shape), p, y);
  return {y.data<double>(), y.data<double>() + y.elements()};
}

Placed on_device(const Array& of_channels) {
  return placed(of_channels.data(), static_cast<std::size_t>(of_channels.elements()) * 4);
}

Outcome run_batch_norm(const Variant& v) {
  const BatchNormParameters p = make_parameters(v);
  const std::vector<float> values = make_x(v, p.running_mean);
  const std::size_t element = element_bytes(v.precision);
  const Placed x = placed(values, v.precision, v.x_aligned ? 0 : element);
  const Placed y = unwritten(values.size() * element, v.y_aligned ? 0 : element);
  const Placed of_channels[] = {on_device(p.weight), on_device(p.bias), on_device(p.running_mean),
                                on_device(p.running_var)};
  const auto floats = [&](int i) { return static_cast<const float*>(of_channels[i].data()); };
  batch_norm(v.precision, x.data(), {floats(0), floats(1), floats(2), floats(3), p.epsilon},
             v.activation, y.data(), v.pixels, v.channels, nullptr);
  // Difference, variance, root and quotient round once each, of what is up to 5: the bias may leave
  // little of it.
  return compare(reference(v, values, p), floats_of(y, v.precision),
                 {5 * 0x1p-22, 1.01 * array_rounding(v.precision) + 0x1p-22});
}

void add_variant(const Variant& v, std::vector<Case>& cases) {
  cases.push_back(
      {"batch_norm", std::string(name_of(v.precision)),
       text(v.pixels, " px ", v.channels, " a", static_cast<int>(v.activation.kind), " mean ",
            v.mean, v.x_aligned ? "" : " from unaligned", v.y_aligned ? "" : " to unaligned"),
       [v] { return run_batch_norm(v); }});
}

}  // namespace

std::vector<Case> batch_norm_cases() {
  std::vector<Case> cases;
  for (const Precision precision : kArrayTypes) {
    for (const int channels : kChannels) {
      for (const Activation& a : kActivations) {
        add_variant({precision, 35, channels, a, 0}, cases);
      }
      for (const double mean : {-1000.0, 30000.0}) {
        add_variant({precision, 35, channels, {}, mean}, cases);
      }
    }
    for (const int channels : {8, 64}) {
      add_variant({precision, 35, channels, kActivations[1], 0, false, true}, cases);
      add_variant({precision, 35, channels, kActivations[1], 0, true, false}, cases);
    }
    add_variant({precision, 1, 8, {}, 0}, cases);
    add_variant({precision, 1, 1, {}, 0}, cases);
    add_variant({precision, 999, 16, kActivations[1], 0}, cases);  // several blocks
    add_variant({precision, 777, 5, kActivations[1], 0}, cases);
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
