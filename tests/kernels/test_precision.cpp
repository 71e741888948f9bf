#include <algorithm>
#include <string_view>
#include <vector>

#include "kernels/context.h"
#include "tests/catch.h"
#include "tests/kernels/cases.h"

using namespace ptynet;
using namespace ptynet::tests;

namespace {

Array narrowed(const Array& values) {
  Array out = Array::host(values.shape(), DType::kF16);
  const auto* from = values.data<float>();
  std::transform(from, from + values.elements(), out.data<Half>(), narrow_f16);
  return out;
}

Array room(const Shape& shape) { return Array::host(shape, DType::kF16); }

std::vector<std::string_view> precisions_of(const Backend& backend) {
  std::vector<std::string_view> names;
  for (const Precision precision : kPrecisions) {
    if (backend.computes_in(precision)) names.push_back(name_of(precision));
  }
  return names;
}

// Every operation of a network's prediction that computes, on f16 arrays.
std::vector<std::function<void(Backend&)>> f16_operations() {
  const Shape shape{1, 4, 4, 8};
  const Array x = narrowed(random_array("x", shape));
  const Array w = random_array("w", {8, 3, 3, 8});
  const Array b = random_array("b", {8});
  const ConvOptions padded{1, 1, 1, kLeaky};
  Array y = room(shape);
  Array smaller = room({1, 2, 2, 8});
  Array larger = room({1, 8, 8, 8});
  Array input = room({1, 4, 4, 1});
  Array amplitude = Array::host({1, 4, 4}, DType::kF32);
  Array phase = amplitude.clone();
  const Array frames = random_array("frames", {1, 4, 4}, 0, 100);
  const Array variance = random_array("variance", {8}, 1, 2);
  return {[=](Backend& on) mutable { on.conv2d(x, w, b, padded, y); },
          [=](Backend& on) mutable { on.conv_transpose2d(x, w, b, padded, y); },
          [=](Backend& on) mutable {
            on.batch_norm(x, {b, b, b, variance}, y);
          },
          [=](Backend& on) mutable { on.activation(x, kLeaky, y); },
          [=](Backend& on) mutable { on.max_pool2d(x, 2, smaller); },
          [=](Backend& on) mutable { on.upsample_bilinear2d(x, 2, larger); },
          [=](Backend& on) mutable { on.add(x, x, y); },
          [=](Backend& on) mutable { on.input_rule(frames, {}, {}, input); },
          [=](Backend& on) mutable { on.output_heads(x, {0}, {1}, amplitude, phase); }};
}

}  // namespace

TEST_CASE("every precision has its own name and the arrays it computes on") {
  const std::vector<std::string_view> expected{"fp32", "tf32", "bf16", "fp16"};
  std::vector<std::string_view> names;
  std::vector<DType> types;
  for (const Precision precision : kPrecisions) {
    names.push_back(name_of(precision));
    types.push_back(array_type(precision));
  }
  CHECK(names == expected);
  CHECK(types == std::vector{DType::kF32, DType::kF32, DType::kBf16, DType::kF16});
}

TEST_CASE("backends say what they compute networks in, a check backend what both do") {
  using Names = std::vector<std::string_view>;
  CHECK(precisions_of(*make_cpu_backend(1)) == Names{"fp32", "bf16"});
  CHECK(precisions_of(*make_reference_backend()) == Names{"fp32"});
  CHECK(precisions_of(*make_check_backend(make_cpu_backend(1), make_cpu_backend(1), 0)) ==
        Names{"fp32", "bf16"});
  CHECK(precisions_of(*make_check_backend(make_cpu_backend(1), make_reference_backend(), 0)) ==
        Names{"fp32"});
  CHECK(precisions_of(*make_check_backend(make_reference_backend(), make_cpu_backend(1), 0)) ==
        Names{"fp32"});
}

TEST_CASE("the reference computes on f16 arrays, the check backend compares them") {
  const auto alike = make_check_backend(make_reference_backend(), make_reference_backend(), 0);
  for (const auto& operation : f16_operations()) CHECK_NOTHROW(operation(*alike));
  // Rounded once, from what f32 arrays give.
  const auto reference = make_reference_backend();
  const Array x = random_array("x", {1, 4, 4, 8});
  Array exact = Array::host(x.shape(), DType::kF32);
  Array found = room(x.shape());
  reference->activation(x, kTanh, exact);
  reference->activation(x, kTanh, found);
  for (std::int64_t i = 0; i < exact.elements(); ++i) {
    CHECK(found.data<Half>()[i].bits == narrow_f16(exact.data<float>()[i]).bits);
  }
}

TEST_CASE("the CPU refuses f16 arrays in words") {
  const auto cpu = make_cpu_backend(1);
  for (const auto& operation : f16_operations()) {
    CHECK_THROWS_WITH(operation(*cpu), "the CPU backend computes in f32 and bf16, found f16");
  }
}
