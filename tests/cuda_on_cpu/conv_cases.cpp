#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/conv_wgmma.h"
#include "kernels/cuda/thin_conv.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/device_memory.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr Activation kLeaky{ActivationKind::kLeakyRelu, 0.2F, 0};
constexpr Activation kPlain{};
constexpr Activation kClip{ActivationKind::kHardtanh, -1, 1};
constexpr Activation kSigmoid{ActivationKind::kSigmoid, 0, 0};
constexpr Activation kTanh{ActivationKind::kTanh, 0, 0};
constexpr Activation kRelu{ActivationKind::kRelu, 0, 0};

// n, h, w, ci, co, kernel, stride, padding, groups. PtyNet's layers in small, then odd ones.
constexpr ConvShape kConvolutions[] = {
    {1, 16, 16, 16, 16, 3, 2, 1, 1, kLeaky}, {5, 8, 8, 16, 32, 3, 2, 1, 1, kLeaky},
    {1, 16, 16, 64, 64, 3, 1, 1, 2, kLeaky}, {2, 9, 11, 64, 128, 3, 2, 1, 1, kLeaky},
    {1, 8, 8, 128, 64, 3, 1, 1, 1, kLeaky},  {5, 8, 8, 64, 16, 3, 1, 1, 1, kLeaky},
    {1, 10, 12, 32, 32, 5, 1, 2, 1, kLeaky}, {2, 8, 8, 64, 32, 5, 1, 2, 2, kPlain},
    {1, 12, 12, 96, 64, 1, 1, 0, 1, kPlain}, {1, 16, 16, 64, 64, 2, 2, 0, 1, kPlain},
    {1, 1, 40, 32, 32, 3, 1, 1, 1, kRelu},   {1, 17, 1, 16, 24, 3, 1, 1, 1, kClip},
    {1, 1, 1, 40, 40, 3, 1, 1, 1, kSigmoid}, {3, 7, 5, 48, 48, 3, 1, 0, 3, kTanh},
    {1, 9, 9, 32, 32, 3, 3, 2, 1, kLeaky},   {5, 5, 7, 8, 8, 3, 1, 1, 1, kLeaky},
    {1, 40, 36, 32, 64, 3, 1, 1, 1, kLeaky}, {1, 16, 16, 1, 16, 3, 1, 1, 1, kLeaky},
    {2, 9, 10, 16, 2, 3, 1, 1, 2, kLeaky},   {5, 6, 7, 12, 20, 3, 1, 1, 1, kLeaky},
    {1, 5, 5, 6, 9, 3, 1, 0, 3, kRelu},      {1, 10, 10, 12, 12, 3, 1, 1, 12, kPlain},
    {1, 13, 9, 3, 5, 5, 2, 2, 1, kSigmoid},  {2, 7, 9, 34, 38, 3, 2, 1, 2, kLeaky},
};

constexpr ConvShape kTransposed[] = {
    {1, 16, 16, 64, 64, 4, 2, 1, 2, kLeaky}, {5, 5, 7, 64, 32, 4, 2, 1, 1, kRelu},
    {1, 12, 12, 32, 32, 2, 2, 0, 1, kPlain}, {2, 1, 9, 128, 128, 2, 2, 0, 1, kPlain},
    {1, 8, 8, 2, 2, 4, 2, 1, 2, kClip},      {2, 6, 6, 2, 2, 2, 2, 0, 1, kPlain},
    {1, 5, 4, 6, 9, 3, 1, 1, 3, kLeaky},     {1, 6, 5, 16, 24, 3, 2, 1, 1, kTanh},
    {1, 3, 3, 4, 6, 5, 3, 0, 2, kPlain},     {1, 1, 1, 32, 16, 4, 2, 1, 1, kSigmoid},
};

// Those that is_thin_conv2d() and is_thin_conv_transpose2d() take.
constexpr ConvShape kThinInputs[] = {
    {1, 16, 40, 1, 16, 3, 1, 1, 1, kLeaky}, {5, 9, 33, 1, 32, 5, 1, 2, 1, kLeaky},
    {2, 7, 5, 1, 32, 1, 1, 0, 1, kPlain},   {1, 11, 70, 1, 64, 4, 2, 1, 1, kRelu},
    {1, 1, 9, 1, 16, 3, 1, 1, 1, kSigmoid}, {1, 17, 1, 1, 16, 3, 2, 1, 1, kClip},
    {1, 17, 40, 1, 8, 3, 1, 1, 1, kLeaky},
};
// Few outputs: the last layers of the networks in small, then odd ones.
constexpr ConvShape kThinOutputs[] = {
    {1, 16, 20, 16, 2, 3, 1, 1, 2, kLeaky}, {5, 9, 13, 32, 2, 5, 1, 2, 2, kPlain},
    {1, 33, 16, 2, 2, 1, 1, 0, 2, kPlain},  {5, 6, 7, 32, 2, 1, 1, 0, 1, kLeaky},
    {1, 15, 30, 64, 1, 3, 1, 1, 1, kTanh},  {1, 1, 40, 16, 4, 3, 1, 1, 1, kRelu},
    {1, 29, 1, 24, 4, 5, 1, 2, 2, kClip},   {1, 5, 6, 6, 3, 3, 1, 0, 3, kSigmoid},
    {2, 18, 17, 8, 4, 3, 1, 2, 4, kLeaky},  {1, 13, 26, 40, 1, 5, 1, 0, 1, kPlain},
};
constexpr ConvShape kThinTransposed[] = {
    {1, 16, 16, 2, 2, 4, 2, 1, 2, kClip},  {5, 6, 7, 2, 2, 2, 2, 0, 1, kPlain},
    {2, 1, 9, 2, 2, 4, 2, 1, 1, kLeaky},   {1, 5, 4, 2, 2, 3, 2, 1, 2, kTanh},
    {1, 3, 3, 2, 2, 5, 2, 0, 1, kSigmoid},
};

// For wgmma: images below 8 x 8 pixels, rows and columns left over, batches that fill a tile in
// part, groups, 8 to 136 output channels of a group, as they are or cut, chunks of 32 and 64 bytes.
constexpr ConvShape kWgmmaConvolutions[] = {
    {1, 5, 7, 16, 8, 3, 1, 1, 1, kLeaky},    {5, 3, 2, 64, 32, 5, 1, 2, 2, kRelu},
    {5, 8, 8, 32, 24, 3, 1, 1, 1, kLeaky},   {1, 19, 21, 64, 160, 3, 1, 1, 4, kLeaky},
    {2, 9, 17, 32, 128, 1, 1, 0, 1, kPlain}, {1, 1, 40, 48, 136, 3, 1, 1, 1, kTanh},
    {1, 17, 1, 96, 64, 1, 1, 0, 2, kClip},   {3, 12, 10, 64, 48, 3, 1, 0, 2, kSigmoid},
    {1, 33, 18, 32, 64, 3, 2, 1, 1, kLeaky}, {2, 16, 24, 32, 32, 5, 1, 2, 1, kLeaky},
    {5, 8, 8, 128, 32, 5, 1, 2, 4, kLeaky},  {1, 9, 9, 32, 16, 2, 2, 0, 1, kPlain},
};
constexpr ConvShape kWgmmaTransposed[] = {
    {1, 9, 8, 64, 64, 4, 2, 1, 2, kLeaky},
    {5, 3, 5, 32, 128, 2, 2, 0, 1, kRelu},
    {2, 11, 6, 32, 24, 3, 2, 1, 1, kTanh},
};

constexpr Precision kArrayPrecisions[] = {Precision::kF32, Precision::kBf16, Precision::kF16};

enum class Kernel : std::uint8_t { kTiled, kThin, kWgmma };

struct Variant {
  bool transposed;
  Kernel kernel;
  ConvShape shape;
  Precision precision;
  ConvTile tile;
  bool bias;
  // Sums of terms of one sign: there rounding averages out, and dropping bits would not.
  bool positive;
  bool f32_result = false;
  bool misaligned = false;  // every array by one element
};

Precision result_precision(const Variant& v) {
  return v.f32_result ? Precision::kF32 : v.precision;
}

std::string describe_shape(const Variant& v) {
  const ConvShape& s = v.shape;
  return text("n", s.n, " ", s.h, "x", s.w, " ", s.ci, "->", s.co, " k", s.kernel, " s", s.stride,
              " p", s.padding, " g", s.groups, " a", static_cast<int>(s.activation.kind),
              v.bias ? " bias" : "", v.positive ? " positive" : "",
              v.f32_result ? " f32 result" : "", v.misaligned ? " misaligned" : "",
              v.kernel == Kernel::kThin
                  ? ""
                  : text(" tile ", v.tile.pixels_per_warp, "x", v.tile.channels));
}

struct Operands {
  Shape x_shape, w_shape, y_shape;
  std::vector<float> x, w, b;
  std::int64_t terms;  // that one output sums, at most
};

Operands make_operands(const Variant& v) {
  const ConvShape& s = v.shape;
  const std::int64_t taps = std::int64_t{s.kernel} * s.kernel;
  const auto extent = [&](int in) {
    return v.transposed ? (in - 1) * s.stride - 2 * s.padding + s.kernel
                        : (in + 2 * s.padding - s.kernel) / s.stride + 1;
  };
  Operands out;
  out.x_shape = {s.n, s.h, s.w, s.ci};
  out.w_shape = v.transposed ? Shape{s.ci, s.kernel, s.kernel, s.co / s.groups}
                             : Shape{s.co, s.kernel, s.kernel, s.ci / s.groups};
  out.y_shape = {s.n, extent(s.h), extent(s.w), s.co};
  const double low = v.positive ? 0 : -1;
  out.x = rounded(random_values("x", out.x_shape.elements(), low, 1), v.precision);
  out.w = rounded(random_values("w", out.w_shape.elements(), low, 1), v.precision);
  if (v.bias) out.b = random_values("b", s.co, -1, 1);
  out.terms = taps * (s.ci / s.groups);
  return out;
}

std::vector<double> reference(const Variant& v, const Operands& operands) {
  const auto backend = make_reference_backend();
  const Array x = Array::copy_of(operands.x, operands.x_shape);
  const Array w = Array::copy_of(operands.w, operands.w_shape);
  const Array b = v.bias ? Array::copy_of(operands.b, {v.shape.co}) : Array();
  Array y = Array::host(operands.y_shape, DType::kF64);
  const ConvOptions options{v.shape.stride, v.shape.padding, v.shape.groups, v.shape.activation};
  if (v.transposed) {
    backend->conv_transpose2d(x, w, b, options, y);
  } else {
    backend->conv2d(x, w, b, options, y);
  }
  return {y.data<double>(), y.data<double>() + y.elements()};
}

std::vector<float> computed(const Variant& v, const Operands& operands) {
  const std::size_t size = element_bytes(v.precision);
  const std::size_t result_size = element_bytes(result_precision(v));
  const auto offset = [&](std::size_t bytes) { return v.misaligned ? bytes : 0; };
  const Placed x = placed(operands.x, v.precision, offset(size));
  const Placed w = placed(operands.w, v.precision, offset(size));
  const Placed b = placed(operands.b, Precision::kF32, offset(sizeof(float)));
  const Placed y = unwritten(static_cast<std::size_t>(operands.y_shape.elements()) * result_size,
                             offset(result_size));
  const auto* bias = v.bias ? static_cast<const float*>(b.data()) : nullptr;
  const ConvOperands pointers{x.data(), w.data(), bias, y.data(), v.f32_result};
  if (v.kernel == Kernel::kThin) {
    (v.transposed ? thin_conv_transpose2d : thin_conv2d)(v.shape, v.precision, pointers, nullptr);
  } else if (v.transposed) {
    DeviceMemory packed(static_cast<std::size_t>(packed_weights(v.shape)) * size);
    packed.fill(0xFF);
    pack_weights(v.shape, v.precision, w.data(), packed.data(), nullptr);
    const ConvOperands of_packed{x.data(), packed.data(), bias, y.data(), v.f32_result};
    const auto run = v.kernel == Kernel::kWgmma ? wgmma_conv_transpose2d : conv_transpose2d;
    run(v.shape, v.precision, of_packed, v.tile, nullptr);
  } else {
    (v.kernel == Kernel::kWgmma ? wgmma_conv2d : conv2d)(v.shape, v.precision, pointers, v.tile,
                                                         nullptr);
  }
  return floats_of(y, result_precision(v));
}

Outcome run_variant(const Variant& v) {
  const Operands operands = make_operands(v);
  const std::vector<double> expected = reference(v, operands);
  const std::vector<float> found = computed(v, operands);
  const double allowed = sum_rounding(operands.terms, v.precision, v.positive);
  Outcome out;
  double squares = 0;
  double error_squares = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(double{found[i]} - expected[i]);
    const double ratio =
        error / (allowed + 1.01 * array_rounding(result_precision(v)) * std::abs(expected[i]));
    squares += expected[i] * expected[i];
    error_squares += error * error;
    if (!(ratio <= out.worst)) {  // NaN too
      out.worst = std::isnan(ratio) ? HUGE_VAL : ratio;
      out.where = text("element ", i, " of ", to_string(operands.y_shape), ": expected ",
                       expected[i], ", found ", found[i]);
    }
  }
  out.error = std::sqrt(error_squares / std::max(squares, 1e-30));
  return out;
}

std::string kernel_of(const Variant& v) {
  const char* prefix = v.kernel == Kernel::kThin    ? "thin_"
                       : v.kernel == Kernel::kWgmma ? "wgmma_"
                                                    : "";
  return text(prefix, v.transposed ? "conv_transpose2d" : "conv2d");
}

void add_case(const Variant& v, std::vector<Case>& cases) {
  cases.push_back({kernel_of(v), std::string(name_of(v.precision)), describe_shape(v),
                   [v] { return run_variant(v); }});
}

Outcome expect_refusal(const Variant& v) {
  try {
    computed(v, make_operands(v));
  } catch (const Error&) {
    return {};
  }
  return {0, HUGE_VAL, "expected an error, found none"};
}

// Kernels that write the array type alone say so.
void add_refused_results(std::vector<Case>& cases) {
  const ConvTile tile = conv_tiles(kConvolutions[0], Precision::kF16).front();
  for (const Variant& v :
       {Variant{false, Kernel::kTiled, kConvolutions[0], Precision::kF16, tile, true, false, true},
        Variant{true, Kernel::kTiled, kTransposed[0], Precision::kBf16, tile, true, false, true},
        Variant{false, Kernel::kThin, kThinInputs[0], Precision::kF16, {}, true, false, true}}) {
    cases.push_back({kernel_of(v), std::string(name_of(v.precision)),
                     describe_shape(v) + " refused", [v] { return expect_refusal(v); }});
  }
}

void add_shapes(std::span<const ConvShape> shapes, bool transposed, std::vector<Case>& cases) {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    // Every tile meets every precision somewhere in the table.
    for (std::size_t p = 0; p < std::size(kPrecisions); ++p) {
      const std::vector<ConvTile> tiles =
          (transposed ? transposed_tiles : conv_tiles)(shapes[i], kPrecisions[p]);
      const ConvTile tile = tiles[(i + p) % tiles.size()];
      add_case({transposed, Kernel::kTiled, shapes[i], kPrecisions[p], tile, i % 3 != 1, false},
               cases);
    }
  }
}

void add_thin_shapes(std::span<const ConvShape> shapes, bool transposed, std::vector<Case>& cases) {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (const Precision precision : kArrayPrecisions) {
      add_case({transposed, Kernel::kThin, shapes[i], precision, {}, i % 3 != 1, false}, cases);
    }
  }
}

// Those that can write f32.
void add_f32_results(std::span<const ConvShape> shapes, bool transposed, std::vector<Case>& cases) {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (const Precision precision : kArrayPrecisions) {
      add_case({transposed, Kernel::kThin, shapes[i], precision, {}, i % 3 != 0, false, true},
               cases);
    }
  }
}

void add_misaligned(std::span<const ConvShape> shapes, std::vector<Case>& cases) {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (const Precision precision : kArrayPrecisions) {
      add_case({false, Kernel::kThin, shapes[i], precision, {}, true, false, i % 2 != 0, true},
               cases);
    }
  }
}

constexpr Precision kWgmmaPrecisions[] = {Precision::kTf32, Precision::kBf16, Precision::kF16};

std::vector<ConvTile> wgmma_tiles_of(const ConvShape& shape, bool transposed, Precision precision) {
  return (transposed ? transposed_wgmma_tiles : wgmma_tiles)(shape, precision);
}

// Those of a table that wgmma takes.
void add_wgmma_shapes(std::span<const ConvShape> shapes, bool transposed,
                      std::vector<Case>& cases) {
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (std::size_t p = 0; p < std::size(kWgmmaPrecisions); ++p) {
      const auto tiles = wgmma_tiles_of(shapes[i], transposed, kWgmmaPrecisions[p]);
      if (tiles.empty()) continue;
      const ConvTile tile = tiles[(i + 2 * p) % tiles.size()];
      add_case(
          {transposed, Kernel::kWgmma, shapes[i], kWgmmaPrecisions[p], tile, i % 3 != 1, false},
          cases);
    }
  }
}

// What stands for the cases of wgmma on a device or in a build without it.
void add_skipped_wgmma(std::vector<Case>& cases) {
  for (const char* kernel : {"wgmma_conv2d", "wgmma_conv_transpose2d"}) {
    cases.push_back({kernel, "", "every case", [] { return Outcome{}; },
                     "needs a device of compute capability 9.x, and a build for it"});
  }
}

void add_wgmma(std::vector<Case>& cases) {
  if (!has_wgmma()) return add_skipped_wgmma(cases);
  const ConvShape every_tile{2, 9, 19, 32, 128, 3, 1, 1, 1, kLeaky};
  for (const Precision precision : kWgmmaPrecisions) {
    const std::vector<ConvTile> tiles = wgmma_tiles(every_tile, precision);
    for (const ConvTile& tile : tiles) {
      add_case({false, Kernel::kWgmma, every_tile, precision, tile, true, false}, cases);
    }
    add_case({false, Kernel::kWgmma, every_tile, precision, tiles.back(), false, true}, cases);
    // The kernels for arrays that are not aligned step in.
    add_case({false, Kernel::kWgmma, kWgmmaConvolutions[0], precision, tiles.front(), true, false,
              false, true},
             cases);
    add_case({true, Kernel::kWgmma, kWgmmaTransposed[0], precision, tiles.front(), true, false,
              false, true},
             cases);
  }
  add_wgmma_shapes(kConvolutions, false, cases);
  add_wgmma_shapes(kWgmmaConvolutions, false, cases);
  add_wgmma_shapes(kTransposed, true, cases);
  add_wgmma_shapes(kWgmmaTransposed, true, cases);
  for (const Variant& v :
       {Variant{false, Kernel::kWgmma, every_tile, Precision::kF16, {64, 64}, true, false, true},
        Variant{false, Kernel::kWgmma, every_tile, Precision::kF16, {64, 128}, true, false},
        Variant{true, Kernel::kWgmma, kTransposed[7], Precision::kF16, {32, 128}, true, false}}) {
    cases.push_back({kernel_of(v), std::string(name_of(v.precision)),
                     describe_shape(v) + " refused", [v] { return expect_refusal(v); }});
  }
}

}  // namespace

std::vector<Case> convolution_cases() {
  std::vector<Case> cases;
  add_shapes(kConvolutions, false, cases);
  add_shapes(kTransposed, true, cases);
  add_thin_shapes(kThinInputs, false, cases);
  add_thin_shapes(kThinOutputs, false, cases);
  add_thin_shapes(kThinTransposed, true, cases);
  add_f32_results(kThinOutputs, false, cases);
  add_f32_results(kThinTransposed, true, cases);
  add_misaligned(kThinOutputs, cases);
  add_refused_results(cases);
  add_wgmma(cases);
  const ConvShape even{1, 8, 16, 64, 64, 3, 1, 1, 1, kPlain};
  const ConvShape big_steps{1, 8, 8, 64, 64, 5, 1, 2, 1, kLeaky};  // a ring of two stages
  for (const Precision precision : kPrecisions) {
    const std::vector<ConvTile> tiles = conv_tiles(even, precision);
    for (const ConvTile& tile : tiles) {
      add_case({false, Kernel::kTiled, even, precision, tile, true, false}, cases);
    }
    add_case({false, Kernel::kTiled, even, precision, tiles.front(), false, true}, cases);
    add_case({false, Kernel::kTiled, big_steps, precision, {32, 64}, true, false}, cases);
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
