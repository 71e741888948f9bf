#include "tests/kernels/cases.h"

#include <limits>

namespace ptynet::tests {

namespace {

struct ConvCase {
  std::int64_t n, h, w, ci, co, kernel, stride, padding, groups;
  Activation activation;
  bool bias;
};

std::string name_of_case(const char* operation, const ConvCase& c) {
  return text(operation, " n", c.n, " ", c.h, "x", c.w, " ", c.ci, "->", c.co, " k", c.kernel, " s",
              c.stride, " p", c.padding, " g", c.groups, " a", static_cast<int>(c.activation.kind),
              c.bias ? " bias" : "");
}

constexpr Activation kLeaky{ActivationKind::kLeakyRelu, 0.2F, 0};
constexpr Activation kPlain{};
constexpr Activation kClip{ActivationKind::kHardtanh, -1, 1};
constexpr Activation kSigmoid{ActivationKind::kSigmoid, 0, 0};
constexpr Activation kTanh{ActivationKind::kTanh, 0, 0};
constexpr Activation kRelu{ActivationKind::kRelu, 0, 0};

// The shapes of the five networks in small, and odd ones.
const ConvCase kConvolutions[] = {
    {1, 16, 16, 1, 16, 3, 1, 1, 1, kLeaky, true}, {2, 16, 16, 16, 16, 3, 2, 1, 1, kLeaky, true},
    {1, 9, 11, 16, 32, 3, 2, 1, 1, kLeaky, true}, {1, 8, 8, 64, 64, 3, 1, 1, 2, kLeaky, false},
    {3, 7, 5, 16, 2, 3, 1, 1, 2, kLeaky, true},   {1, 12, 10, 64, 1, 3, 1, 1, 1, kTanh, true},
    {1, 12, 12, 1, 32, 5, 1, 2, 1, kLeaky, true}, {2, 6, 6, 32, 64, 1, 1, 0, 1, kPlain, false},
    {1, 8, 8, 32, 32, 2, 2, 0, 1, kPlain, false}, {1, 8, 8, 32, 2, 5, 1, 2, 2, kLeaky, false},
    {1, 6, 6, 2, 2, 1, 1, 0, 2, kLeaky, false},   {1, 16, 16, 1, 64, 4, 2, 1, 1, kLeaky, true},
    {1, 5, 5, 6, 9, 3, 1, 0, 3, kRelu, true},     {1, 4, 4, 3, 5, 3, 3, 2, 1, kSigmoid, true},
    {1, 1, 1, 4, 4, 3, 1, 1, 1, kClip, true},     {1, 10, 10, 12, 12, 3, 1, 1, 12, kPlain, true}};

const ConvCase kTransposed[] = {
    {1, 8, 8, 64, 64, 4, 2, 1, 2, kLeaky, true}, {2, 5, 7, 2, 2, 4, 2, 1, 2, kClip, true},
    {1, 4, 4, 64, 32, 4, 2, 1, 1, kRelu, true},  {1, 6, 6, 32, 32, 2, 2, 0, 1, kPlain, false},
    {1, 6, 6, 2, 2, 2, 2, 0, 1, kPlain, false},  {1, 4, 4, 64, 2, 4, 2, 1, 1, kSigmoid, true},
    {1, 5, 4, 6, 9, 3, 1, 1, 3, kLeaky, true},   {1, 3, 3, 4, 6, 5, 3, 0, 2, kPlain, true},
    {1, 3, 3, 4, 4, 2, 3, 0, 1, kTanh, true},    {1, 3, 4, 3, 5, 3, 2, 1, 1, kPlain, true}};

void add_convolutions(std::vector<OperationCase>& cases) {
  for (const ConvCase& c : kConvolutions) {
    const std::string name = name_of_case("conv2d", c);
    cases.push_back(
        {name, [c, name](Backend& backend) {
           const Array x = random_array(name, {c.n, c.h, c.w, c.ci});
           const Array w = random_array(name + "w", {c.co, c.kernel, c.kernel, c.ci / c.groups});
           const Array b = c.bias ? random_array(name + "b", {c.co}) : Array();
           const std::int64_t oh = (c.h + 2 * c.padding - c.kernel) / c.stride + 1;
           const std::int64_t ow = (c.w + 2 * c.padding - c.kernel) / c.stride + 1;
           Array y = Array::host({c.n, oh, ow, c.co}, DType::kF32);
           backend.conv2d(x, w, b, {c.stride, c.padding, c.groups, c.activation, false}, y);
           return y;
         }});
  }
  for (const ConvCase& c : kTransposed) {
    const std::string name = name_of_case("conv_transpose2d", c);
    cases.push_back(
        {name, [c, name](Backend& backend) {
           const Array x = random_array(name, {c.n, c.h, c.w, c.ci});
           const Array w = random_array(name + "w", {c.ci, c.kernel, c.kernel, c.co / c.groups});
           const Array b = c.bias ? random_array(name + "b", {c.co}) : Array();
           const TransposedAxis rows{c.h, c.kernel, c.stride, c.padding};
           const TransposedAxis columns{c.w, c.kernel, c.stride, c.padding};
           Array y = Array::host({c.n, rows.outputs(), columns.outputs(), c.co}, DType::kF32);
           backend.conv_transpose2d(x, w, b, {c.stride, c.padding, c.groups, c.activation, false},
                                    y);
           return y;
         }});
  }
}

void add_pointwise(std::vector<OperationCase>& cases) {
  const Shape shape{2, 6, 8, 5};
  for (const Activation& a : {kLeaky, kClip, kSigmoid, kTanh, kRelu}) {
    cases.push_back({text("activation ", static_cast<int>(a.kind)), [a, shape](Backend& backend) {
                       Array y = Array::host(shape, DType::kF32);
                       backend.activation(random_array("activation", shape, -3, 3), a, y);
                       return y;
                     }});
  }
  cases.push_back({"batch_norm", [shape](Backend& backend) {
                     Array y = Array::host(shape, DType::kF32);
                     backend.batch_norm(
                         random_array("bn", shape),
                         {random_array("bnw", {5}), random_array("bnb", {5}),
                          random_array("bnm", {5}), random_array("bnv", {5}, 0.1, 2), 1e-5F},
                         y);
                     return y;
                   }});
  for (const std::int64_t kernel : {1, 2, 3}) {
    cases.push_back({text("max_pool2d ", kernel), [kernel](Backend& backend) {
                       Array y = Array::host({2, 7 / kernel, 9 / kernel, 5}, DType::kF32);
                       backend.max_pool2d(random_array("pool", {2, 7, 9, 5}), kernel, y);
                       return y;
                     }});
  }
  for (const std::int64_t scale : {1, 2, 3}) {
    cases.push_back({text("upsample_bilinear2d ", scale), [scale](Backend& backend) {
                       Array y = Array::host({2, 4 * scale, 5 * scale, 3}, DType::kF32);
                       backend.upsample_bilinear2d(random_array("up", {2, 4, 5, 3}), scale, y);
                       return y;
                     }});
  }
  cases.push_back({"add", [shape](Backend& backend) {
                     Array y = Array::host(shape, DType::kF32);
                     backend.add(random_array("add a", shape), random_array("add b", shape), y);
                     return y;
                   }});
  cases.push_back({"concat_channels", [](Backend& backend) {
                     const std::vector<Array> parts{random_array("cat a", {2, 3, 4, 1}),
                                                    random_array("cat b", {2, 3, 4, 5}),
                                                    random_array("cat c", {2, 3, 4, 2})};
                     Array y = Array::host({2, 3, 4, 8}, DType::kF32);
                     backend.concat_channels(parts, y);
                     return y;
                   }});
}

template <typename T>
void add_input_rules(std::vector<OperationCase>& cases, T bad) {
  const InputRule rules[] = {{},
                             {InputQuantity::kIntensity, InputScale::kNone},
                             {InputQuantity::kAmplitude, InputScale::kScanMax, 0, 1e4F, 190.0F}};
  for (const InputRule& rule : rules) {
    for (const bool masked : {false, true}) {
      const std::string name =
          text("input_rule ", name_of(DTypeOf<T>::kValue), " ", static_cast<int>(rule.scale),
               " bad ", +bad, masked ? " masked" : "");
      cases.push_back({name, [rule, masked, bad, name](Backend& backend) {
                         Array frames = random_counts<T>(name, {3, 6, 5}, bad);
                         // One frame without a single good count.
                         std::fill_n(frames.data<T>() + 30, 30, T{0});
                         Array mask;
                         if (masked) {
                           mask = random_counts<std::uint8_t>("mask", {6, 5}, 0);
                         }
                         Array y = Array::host({3, 6, 5, 1}, DType::kF32);
                         backend.input_rule(frames, mask, rule, y);
                         return y;
                       }});
    }
  }
}

void add_physics(std::vector<OperationCase>& cases) {
  cases.push_back({"output_heads", [](Backend& backend) {
                     Array amplitude = Array::host({2, 4, 3}, DType::kF32);
                     Array phase = Array::host({2, 4, 3}, DType::kF32);
                     backend.output_heads(random_array("heads", {2, 4, 3, 2}), {0, 0.5F, 0.5F},
                                          {1, 3.14F, 0}, amplitude, phase);
                     return amplitude;
                   }});
  cases.push_back({"output_heads without amplitude", [](Backend& backend) {
                     Array amplitude = Array::host({2, 4, 3}, DType::kF32);
                     Array phase = Array::host({2, 4, 3}, DType::kF32);
                     backend.output_heads(random_array("heads", {2, 4, 3, 1}), {}, {0, 3.14F, 0},
                                          amplitude, phase);
                     return phase;
                   }});
  cases.push_back({"compose_object", [](Backend& backend) {
                     Array object = Array::host({2, 4, 3}, DType::kC64);
                     backend.compose_object(random_array("amplitude", {2, 4, 3}),
                                            random_array("phase", {2, 4, 3}, -4, 4), object);
                     return object;
                   }});
  for (const FftDirection direction : {FftDirection::kForward, FftDirection::kInverse}) {
    for (const Shape& shape : {Shape{2, 8, 8}, Shape{1, 5, 12}}) {
      cases.push_back({text("fft2 ", static_cast<int>(direction), to_string(shape)),
                       [direction, shape](Backend& backend) {
                         Array y = Array::host(shape, DType::kC64);
                         backend.fft2(random_complex("fft", shape), direction, y);
                         return y;
                       }});
    }
  }
  for (const std::int64_t modes : {1, 3}) {
    cases.push_back({text("far_field_intensity ", modes), [modes](Backend& backend) {
                       Array y = Array::host({3, 8, 7}, DType::kF32);
                       backend.far_field_intensity(random_complex("object", {3, 8, 7}),
                                                   random_complex("probe", {modes, 8, 7}), y);
                       return y;
                     }});
  }
  cases.push_back(
      {"r_factor_sums", [](Backend& backend) {
         Array sums = Array::host({3, 2}, DType::kF64);
         Array measured = random_array("measured", {3, 6, 5}, -1, 9);
         measured.data<float>()[7] = std::numeric_limits<float>::infinity();
         measured.data<float>()[31] = std::numeric_limits<float>::quiet_NaN();
         backend.r_factor_sums(random_array("predicted", {3, 6, 5}, 0, 9), measured, sums);
         return sums;
       }});
  cases.push_back({"random_uniform", [](Backend& backend) {
                     Array y = Array::host({1000}, DType::kF32);
                     backend.random_uniform(3, "noise", -2, 5, y);
                     return y;
                   }});
}

}  // namespace

std::vector<OperationCase> operation_cases() {
  std::vector<OperationCase> cases;
  add_convolutions(cases);
  add_pointwise(cases);
  add_input_rules<std::uint8_t>(cases, 255);
  add_input_rules<std::uint16_t>(cases, 65535);
  add_input_rules<std::uint32_t>(cases, 4294967295U);
  for (const std::int32_t bad : {-1, std::numeric_limits<std::int32_t>::max()}) {
    add_input_rules<std::int32_t>(cases, bad);
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, -1.0F}) {
    add_input_rules<float>(cases, bad);
  }
  add_physics(cases);
  return cases;
}

}  // namespace ptynet::tests
