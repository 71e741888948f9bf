#include <cmath>

#include "kernels/backend.h"
#include "kernels/cuda/resize.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

// n, h, w, c, factor.
constexpr ResizeShape kPooled[] = {
    {1, 16, 16, 64, 2}, {5, 8, 10, 32, 2}, {1, 2, 40, 16, 2}, {2, 9, 11, 24, 2}, {1, 7, 5, 3, 2},
    {5, 10, 7, 1, 3},   {1, 13, 13, 8, 4}, {1, 2, 2, 12, 2},  {1, 6, 1, 10, 1},
};
constexpr ResizeShape kUpsampled[] = {
    {1, 8, 8, 64, 2}, {5, 5, 7, 32, 2}, {1, 1, 20, 16, 2}, {2, 9, 1, 24, 2}, {1, 1, 1, 8, 2},
    {1, 4, 5, 3, 2},  {5, 3, 4, 1, 3},  {1, 5, 3, 16, 4},  {1, 3, 3, 12, 5}, {2, 4, 3, 10, 1},
};

struct Variant {
  bool pools;
  ResizeShape shape;
  Precision precision;
  bool aligned;
};

Outcome run_variant(const Variant& v) {
  const ResizeShape& s = v.shape;
  const auto resized = [&](int extent) { return v.pools ? extent / s.factor : extent * s.factor; };
  const Shape x_shape{s.n, s.h, s.w, s.c};
  const std::vector<float> x = rounded(random_values("x", x_shape.elements(), -1, 1), v.precision);
  Array expected = Array::host({s.n, resized(s.h), resized(s.w), s.c}, DType::kF64);
  const auto backend = make_reference_backend();
  const Array input = Array::copy_of(x, x_shape);
  if (v.pools) {
    backend->max_pool2d(input, s.factor, expected);
  } else {
    backend->upsample_bilinear2d(input, s.factor, expected);
  }
  const std::size_t size = element_bytes(v.precision);
  const Placed x_memory = placed(x, v.precision, v.aligned ? 0 : size);
  const Placed y = unwritten(static_cast<std::size_t>(expected.elements()) * size);
  (v.pools ? max_pool2d : upsample_bilinear2d)(s, v.precision, x_memory.data(), y.data(), nullptr);
  const Tolerance tolerance =
      v.pools ? Tolerance{0, 0} : Tolerance{0x1p-22, 1.01 * array_rounding(v.precision)};
  return compare({expected.data<double>(), expected.data<double>() + expected.elements()},
                 floats_of(y, v.precision), tolerance);
}

void add_case(const Variant& v, std::vector<Case>& cases) {
  const ResizeShape& s = v.shape;
  cases.push_back({v.pools ? "max_pool2d" : "upsample_bilinear2d",
                   std::string(name_of(v.precision)),
                   text("n", s.n, " ", s.h, "x", s.w, " ", s.c, " by ", s.factor,
                        v.aligned ? "" : " unaligned"),
                   [v] { return run_variant(v); }});
}

// The gradients; kPooled and kUpsampled and more: odd sides, a single row of windows, what the
// edges leave of windows.
constexpr ResizeShape kMore[] = {{1, 3, 9, 2, 2},  {5, 7, 5, 20, 2}, {1, 5, 5, 16, 3},
                                 {1, 11, 4, 1, 4}, {2, 3, 3, 64, 1}, {5, 9, 7, 65, 2}};

struct GradientVariant {
  bool pools;
  ResizeShape shape;
  Precision precision;
  std::string_view unaligned = "";
  bool ties = false;  // windows hold their largest more than once
};

std::vector<double> doubles(const Array& a) {
  return {a.data<double>(), a.data<double>() + a.elements()};
}

Outcome run_gradient(const GradientVariant& v) {
  const ResizeShape& s = v.shape;
  const auto resized = [&](int extent) { return v.pools ? extent / s.factor : extent * s.factor; };
  const Shape x_shape{s.n, s.h, s.w, s.c};
  const Shape y_shape{s.n, resized(s.h), resized(s.w), s.c};
  std::vector<float> x = rounded(random_values("x", x_shape.elements(), -2, 3), v.precision);
  for (float& value : x) value = v.ties ? std::floor(value) : value;
  const std::vector<float> dy =
      rounded(random_values("dy", y_shape.elements(), -1, 1), v.precision);
  Array expected = Array::host(x_shape, DType::kF64);
  const Array upstream = Array::copy_of(dy, y_shape);
  const auto backend = make_reference_backend();
  if (v.pools) {
    backend->max_pool2d_gradient(Array::copy_of(x, x_shape), s.factor, upstream, expected);
  } else {
    backend->upsample_bilinear2d_gradient(upstream, s.factor, expected);
  }
  const std::size_t size = element_bytes(v.precision);
  const auto offset = [&](std::string_view array) { return v.unaligned == array ? size : 0; };
  const Placed x_memory = placed(x, v.precision, offset("x"));
  const Placed dy_memory = placed(dy, v.precision, offset("dy"));
  const Placed dx = unwritten(x.size() * size, offset("dx"));
  if (v.pools) {
    max_pool2d_gradient(s, v.precision, {x_memory.data(), dy_memory.data(), dx.data()}, nullptr);
  } else {
    upsample_bilinear2d_gradient(s, v.precision, dy_memory.data(), dx.data(), nullptr);
  }
  // A sum of 4 factor^2 terms of up to 1, each of which rounds by chance.
  const double sum = 3 * std::sqrt(4.0 * s.factor * s.factor) * 0x1p-24;
  return compare(doubles(expected), floats_of(dx, v.precision),
                 v.pools ? Tolerance{0, 0} : Tolerance{sum, 1.01 * array_rounding(v.precision)});
}

void add_gradient(const GradientVariant& v, std::vector<Case>& cases) {
  const ResizeShape& s = v.shape;
  cases.push_back(
      {v.pools ? "max_pool2d_gradient" : "upsample_bilinear2d_gradient",
       std::string(name_of(v.precision)),
       text("n", s.n, " ", s.h, "x", s.w, " ", s.c, " by ", s.factor, v.ties ? " ties" : "",
            v.unaligned.empty() ? "" : " unaligned ", v.unaligned),
       [v] { return run_gradient(v); }});
}

void add_gradients(Precision precision, std::vector<Case>& cases) {
  for (const ResizeShape& shape : kPooled) {
    add_gradient({true, shape, precision}, cases);
    add_gradient({true, shape, precision, "", true}, cases);
  }
  for (const ResizeShape& shape : kUpsampled) add_gradient({false, shape, precision}, cases);
  for (const ResizeShape& shape : kMore) {
    add_gradient({true, shape, precision}, cases);
    add_gradient({false, shape, precision}, cases);
  }
  for (const char* array : {"x", "dy", "dx"}) {
    add_gradient({true, kPooled[0], precision, array}, cases);
    add_gradient({false, kUpsampled[0], precision, array}, cases);
  }
}

}  // namespace

std::vector<Case> resize_cases() {
  std::vector<Case> cases;
  for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kF16}) {
    for (const ResizeShape& shape : kPooled) add_case({true, shape, precision, true}, cases);
    for (const ResizeShape& shape : kUpsampled) add_case({false, shape, precision, true}, cases);
    add_case({true, kPooled[0], precision, false}, cases);
    add_case({false, kUpsampled[0], precision, false}, cases);
    add_gradients(precision, cases);
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
