#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/backend.h"
#include "kernels/cuda/fused_first.h"
#include "kernels/cuda/fused_thin.h"
#include "kernels/cuda/thin_conv.h"
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
constexpr Activation kRelu{ActivationKind::kRelu, 0, 0};

// What a stride of 1 adds to an extent.
constexpr int grown(int padding, int kernel) { return 2 * padding - kernel + 1; }

// For fused_thin.
struct LastLayers {
  int n, h, w, ci, padding, groups;
  Activation activation;
  int kernel, transposed_padding, transposed_groups;  // of the transposed convolution
  Activation last;

  ConvPairShape shape() const {
    constexpr int kConvKernel = 3;
    const int more = grown(padding, kConvKernel);
    return {{n, h, w, ci, 2, kConvKernel, 1, padding, groups, activation},
            {n, h + more, w + more, 2, 2, kernel, 2, transposed_padding, transposed_groups, last}};
  }
};

// PtyNet-S in small; its tiles' edges; then odd ones.
constexpr LastLayers kLastLayers[] = {
    {1, 16, 20, 16, 1, 2, kLeaky, 4, 1, 2, kClip},  {2, 13, 27, 16, 1, 2, kLeaky, 4, 1, 2, kPlain},
    {5, 5, 7, 16, 1, 2, kPlain, 4, 1, 2, kTanh},    {1, 1, 30, 32, 1, 1, kLeaky, 2, 0, 1, kPlain},
    {1, 28, 1, 12, 1, 2, kTanh, 3, 1, 1, kLeaky},   {2, 14, 12, 8, 1, 1, kSigmoid, 4, 2, 1, kPlain},
    {1, 15, 16, 64, 0, 1, kLeaky, 4, 0, 2, kLeaky}, {1, 9, 14, 2, 2, 2, kPlain, 3, 2, 2, kPlain},
};

// For fused_first.
struct FirstLayers {
  int n, h, w, channels, kernel, padding;
  Activation activation;
  int co, next_kernel, stride, next_padding;  // of the second
  Activation last;

  ConvPairShape shape() const {
    const int more = grown(padding, kernel);
    return {{n, h, w, 1, channels, kernel, 1, padding, 1, activation},
            {n, h + more, w + more, channels, co, next_kernel, stride, next_padding, 1, last}};
  }
};

// PtyNet-S in small, and small images that share a tile; odd ones; then PtyNet-B's, 16-bit alone.
// A sigmoid makes 0.5 of what the second layer must see as zero.
constexpr FirstLayers kFirstLayers[] = {
    {1, 32, 40, 16, 3, 1, kLeaky, 16, 3, 2, 1, kLeaky},
    {2, 13, 27, 16, 3, 1, kLeaky, 16, 3, 2, 1, kPlain},
    {5, 5, 7, 16, 3, 1, kSigmoid, 16, 3, 2, 1, kTanh},
    {1, 1, 30, 16, 3, 1, kLeaky, 8, 3, 1, 1, kPlain},
    {1, 28, 1, 16, 5, 2, kTanh, 5, 1, 1, 0, kLeaky},
    {2, 14, 12, 16, 1, 0, kPlain, 16, 5, 2, 2, kClip},
    {1, 15, 16, 16, 5, 0, kRelu, 16, 3, 1, 0, kSigmoid},
    {1, 9, 14, 16, 3, 3, kSigmoid, 16, 4, 2, 3, kPlain},
    {1, 16, 24, 32, 5, 2, kLeaky, 32, 1, 1, 0, kLeaky},
    {3, 9, 7, 32, 3, 1, kClip, 20, 3, 2, 1, kPlain},
};

struct Variant {
  ConvPairShape shape;
  bool transposed;  // the second: fused_thin, else fused_first
  Precision precision;
  bool bias;
  bool f32_result;
  bool misaligned;  // by one element: of fused_thin all arrays but y, of fused_first all but
                    // second_w
  ConvTile tile;    // of fused_first
};

struct Numbers {
  Shape x_shape, first_w_shape, middle_shape, second_w_shape, y_shape;
  std::vector<float> x, first_w, first_b, second_w, second_b;
};

int extent_of(const ConvShape& s, bool transposed, int extent) {
  return transposed ? (extent - 1) * s.stride - 2 * s.padding + s.kernel
                    : (extent + 2 * s.padding - s.kernel) / s.stride + 1;
}

Numbers make_numbers(const Variant& v) {
  const auto& [first, second] = v.shape;
  Numbers out;
  out.x_shape = {first.n, first.h, first.w, first.ci};
  out.first_w_shape = {first.co, first.kernel, first.kernel, first.ci / first.groups};
  out.middle_shape = {second.n, second.h, second.w, second.ci};
  const int kernel = second.kernel;
  out.second_w_shape = v.transposed ? Shape{second.ci, kernel, kernel, second.co / second.groups}
                                    : Shape{second.co, kernel, kernel, second.ci / second.groups};
  out.y_shape = {second.n, extent_of(second, v.transposed, second.h),
                 extent_of(second, v.transposed, second.w), second.co};
  const auto values = [&](const char* name, const Shape& shape) {
    return rounded(random_values(name, shape.elements(), -1, 1), v.precision);
  };
  out.x = values("x", out.x_shape);
  out.first_w = values("first w", out.first_w_shape);
  out.second_w = values("second w", out.second_w_shape);
  if (v.bias) {
    out.first_b = random_values("first b", first.co, -1, 1);
    out.second_b = random_values("second b", second.co, -1, 1);
  }
  return out;
}

// One operation after the other, in f64.
std::vector<double> reference(const Variant& v, const Numbers& numbers) {
  const auto backend = make_reference_backend();
  const auto& [first, second] = v.shape;
  const auto options = [](const ConvShape& s) {
    return ConvOptions{s.stride, s.padding, s.groups, s.activation};
  };
  const auto bias = [&](const std::vector<float>& b) {
    return v.bias ? Array::copy_of(b, {static_cast<std::int64_t>(b.size())}) : Array();
  };
  Array middle = Array::host(numbers.middle_shape, DType::kF64);
  backend->conv2d(
      Array::copy_of(std::vector<double>(numbers.x.begin(), numbers.x.end()), numbers.x_shape),
      Array::copy_of(numbers.first_w, numbers.first_w_shape), bias(numbers.first_b), options(first),
      middle);
  Array y = Array::host(numbers.y_shape, DType::kF64);
  const Array w = Array::copy_of(numbers.second_w, numbers.second_w_shape);
  if (v.transposed) {
    backend->conv_transpose2d(middle, w, bias(numbers.second_b), options(second), y);
  } else {
    backend->conv2d(middle, w, bias(numbers.second_b), options(second), y);
  }
  return {y.data<double>(), y.data<double>() + y.elements()};
}

using Launch = std::function<void(const Variant&, const ConvPairOperands&)>;

void fused(const Variant& v, const ConvPairOperands& operands) {
  if (v.transposed) {
    fused_thin(v.shape, v.precision, operands, nullptr);
  } else {
    fused_first(v.shape, v.precision, operands, v.tile, nullptr);
  }
}

// By the kernels that fused_first is made of.
void one_by_one(const Variant& v, const ConvPairOperands& operands) {
  const ConvShape& second = v.shape.second;
  const auto middle = static_cast<std::size_t>(second.n) * second.h * second.w * second.ci;
  const Placed between = unwritten(middle * element_bytes(v.precision));
  thin_conv2d(v.shape.first, v.precision,
              {operands.x, operands.first_w, operands.first_b, between.data()}, nullptr);
  conv2d(second, v.precision, {between.data(), operands.second_w, operands.second_b, operands.y},
         v.tile, nullptr);
}

std::vector<float> computed(const Variant& v, const Numbers& numbers, const Launch& launch,
                            std::size_t second_w_offset) {
  const Precision result = v.f32_result ? Precision::kF32 : v.precision;
  const std::size_t size = element_bytes(result);
  const std::size_t offset = v.misaligned ? element_bytes(v.precision) : 0;
  const std::size_t bias_offset = v.misaligned ? sizeof(float) : 0;
  const Placed x = placed(numbers.x, v.precision, offset);
  const Placed first_w = placed(numbers.first_w, v.precision, offset);
  const Placed first_b = placed(numbers.first_b, Precision::kF32, bias_offset);
  const Placed second_w = placed(numbers.second_w, v.precision, second_w_offset);
  const Placed second_b = placed(numbers.second_b, Precision::kF32, bias_offset);
  const Placed y = unwritten(static_cast<std::size_t>(numbers.y_shape.elements()) * size,
                             v.misaligned && !v.transposed ? size : 0);
  const auto bias = [&](const Placed& at) {
    return v.bias ? static_cast<const float*>(at.data()) : nullptr;
  };
  launch(v, {x.data(), first_w.data(), bias(first_b), second_w.data(), bias(second_b), y.data(),
             v.f32_result});
  return floats_of(y, result);
}

// As conv_cases.cpp for one operation: K products of size 1/3 add up to sqrt(K) / 3, each addition
// rounds to 2^-24 of that. The second sum takes what the first was off by, which of fused_first is
// rounded twice: to its array's type, and with the weights to what its products take.
Tolerance tolerance_of(const Variant& v) {
  constexpr double kSafety = 8;
  const auto& [first, second] = v.shape;
  const double taps = v.transposed ? 4.0 : second.kernel * second.kernel;
  const double root = std::sqrt(first.kernel * first.kernel * first.ci / first.groups);
  const double next = std::sqrt(taps * second.ci / second.groups);
  const double middle = root / 3 + 1;
  const double rounding =
      v.transposed ? 0 : array_rounding(v.precision) + 2 * operand_rounding(v.precision);
  const double first_error = root * 0x1p-24 * middle + rounding * middle;
  const double second_error = next * 0x1p-24 * (next * middle + 1) + next * first_error;
  return {kSafety * second_error,
          1.01 * array_rounding(v.f32_result ? Precision::kF32 : v.precision)};
}

Outcome run_variant(const Variant& v) {
  const Numbers numbers = make_numbers(v);
  const std::size_t offset = v.misaligned && v.transposed ? element_bytes(v.precision) : 0;
  const std::vector<float> found = computed(v, numbers, fused, offset);
  const Outcome close = compare(reference(v, numbers), found, tolerance_of(v));
  if (v.transposed) return close;
  const std::vector<float> unfused = computed(v, numbers, one_by_one, offset);
  const Outcome same = compare({unfused.begin(), unfused.end()}, found, {0, 0});
  return same.worst > 0 ? same : close;
}

std::string describe(const Variant& v) {
  const auto& [first, second] = v.shape;
  return text("n", first.n, " ", first.h, "x", first.w, " ", first.ci, "->", first.co, " k",
              first.kernel, " p", first.padding, " g", first.groups, " then ->", second.co, " k",
              second.kernel, " s", second.stride, " p", second.padding, " g", second.groups,
              v.bias ? " bias" : "", v.f32_result ? " f32 result" : "",
              v.misaligned ? " misaligned" : "",
              v.transposed ? "" : text(" tile ", v.tile.pixels_per_warp, "x", v.tile.channels));
}

void add_case(const Variant& v, std::vector<Case>& cases) {
  cases.push_back({v.transposed ? "fused_thin" : "fused_first", std::string(name_of(v.precision)),
                   describe(v), [v] { return run_variant(v); }});
}

void add_last_layers(std::vector<Case>& cases) {
  for (std::size_t i = 0; i < std::size(kLastLayers); ++i) {
    const ConvPairShape shape = kLastLayers[i].shape();
    for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kF16}) {
      add_case({shape, true, precision, i % 3 != 1, false, false, {}}, cases);
      add_case({shape, true, precision, i % 3 != 0, true, i % 2 == 0, {}}, cases);
    }
  }
}

// The first pair with every tile there is, the others with two.
void add_first_layers(std::vector<Case>& cases) {
  for (std::size_t i = 0; i < std::size(kFirstLayers); ++i) {
    const ConvPairShape shape = kFirstLayers[i].shape();
    for (std::size_t p = 0; p < std::size(kPrecisions); ++p) {
      const std::vector<ConvTile> tiles = fused_first_tiles(shape, kPrecisions[p]);
      for (std::size_t t = 0; t < (i == 0 ? tiles.size() : std::min<std::size_t>(2, tiles.size()));
           ++t) {
        add_case({shape, false, kPrecisions[p], (i + t) % 3 != 1, false, t % 2 == 1,
                  tiles[(i + p + t) % tiles.size()]},
                 cases);
      }
    }
  }
}

Outcome expect_refusal(const Variant& v, std::size_t second_w_offset) {
  try {
    computed(v, make_numbers(v), fused, second_w_offset);
  } catch (const Error&) {
    return {};
  }
  return {0, HUGE_VAL, "expected an error, found none"};
}

// What fused_first is not made for.
void add_refused(std::vector<Case>& cases) {
  const auto add = [&](const std::string& why, const Variant& v, std::size_t second_w_offset) {
    cases.push_back({"fused_first", std::string(name_of(v.precision)), "refused: " + why,
                     [v, second_w_offset] { return expect_refusal(v, second_w_offset); }});
  };
  const Variant good{kFirstLayers[0].shape(), false, Precision::kF16, true, false, false, {16, 16}};
  add("second_w not aligned", good, element_bytes(good.precision));
  Variant v = good;
  v.f32_result = true;
  add("f32 result", v, 0);
  v = good;
  v.tile = {16, 32};
  add("a tile of other channels", v, 0);
  v = good;
  v.shape.first.stride = 2;
  add("first layer with a stride", v, 0);
  v = good;
  v.shape.second.w -= 1;
  add("second layer of another array", v, 0);
  v = good;
  v.shape.second.co = 17;
  add("more channels than the first layer has", v, 0);
  const Variant wide{kFirstLayers[8].shape(), false, Precision::kF32, true, false, false, {16, 32}};
  add("32 channels of f32", wide, 0);
}

}  // namespace

std::vector<Case> fused_cases() {
  std::vector<Case> cases;
  add_last_layers(cases);
  add_first_layers(cases);
  add_refused(cases);
  return cases;
}

}  // namespace ptynet::cuda::tests
