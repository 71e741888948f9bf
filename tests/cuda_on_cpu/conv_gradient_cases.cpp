#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/add_parts.h"
#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/conv_weight_gradient.h"
#include "kernels/cuda/sum_gradient.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/device_memory.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

// Convolutions: n, h, w, ci, co, kernel, stride, padding, groups. The channels of the five
// networks' layers on few pixels, then odd ones. A transposed layer stands as the convolution that
// has its weights.
constexpr ConvShape kConvolutions[] = {
    {2, 16, 16, 1, 16, 3, 1, 1, 1, {}},   {5, 9, 11, 16, 16, 3, 2, 1, 1, {}},
    {1, 16, 16, 16, 32, 3, 2, 1, 1, {}},  {1, 8, 8, 32, 64, 3, 1, 1, 1, {}},
    {2, 8, 6, 64, 128, 3, 2, 1, 1, {}},   {1, 4, 4, 128, 64, 3, 1, 1, 1, {}},
    {1, 9, 7, 64, 64, 3, 1, 1, 2, {}},    {2, 9, 10, 16, 2, 3, 1, 1, 2, {}},
    {1, 16, 16, 64, 64, 4, 2, 1, 2, {}},  {2, 16, 12, 2, 2, 4, 2, 1, 2, {}},
    {1, 9, 13, 64, 16, 3, 1, 1, 1, {}},   {1, 12, 12, 1, 32, 5, 1, 2, 1, {}},
    {1, 9, 8, 32, 32, 5, 1, 2, 1, {}},    {2, 7, 8, 64, 32, 5, 1, 2, 2, {}},
    {1, 8, 8, 32, 2, 5, 1, 2, 2, {}},     {5, 6, 6, 2, 2, 1, 1, 0, 2, {}},
    {1, 8, 8, 32, 64, 1, 1, 0, 1, {}},    {1, 9, 8, 64, 64, 2, 2, 0, 1, {}},
    {1, 16, 16, 1, 64, 4, 2, 1, 1, {}},   {1, 4, 4, 128, 128, 5, 1, 2, 1, {}},
    {1, 8, 8, 16, 1, 3, 1, 1, 1, {}},     {1, 2, 2, 256, 512, 1, 1, 0, 1, {}},
    {1, 1, 40, 32, 32, 3, 1, 1, 1, {}},   {1, 17, 1, 16, 24, 3, 2, 1, 1, {}},
    {1, 1, 1, 40, 40, 3, 1, 1, 1, {}},    {3, 7, 5, 48, 48, 3, 1, 0, 3, {}},
    {1, 10, 9, 32, 32, 3, 3, 2, 1, {}},   {5, 5, 7, 8, 8, 3, 1, 1, 1, {}},
    {5, 6, 7, 12, 20, 3, 1, 1, 1, {}},    {1, 5, 5, 6, 9, 3, 1, 0, 3, {}},
    {1, 10, 10, 12, 12, 3, 1, 1, 12, {}}, {1, 14, 9, 3, 5, 5, 2, 2, 1, {}},
    {2, 7, 9, 34, 38, 3, 2, 1, 2, {}},    {5, 7, 6, 8, 24, 1, 2, 0, 1, {}},
    {1, 8, 9, 10, 6, 1, 2, 1, 2, {}},     {1, 11, 10, 9, 7, 7, 1, 3, 1, {}},
    {1, 23, 23, 4, 16, 11, 2, 0, 1, {}},  {1, 5, 6, 24, 40, 2, 1, 1, 1, {}},
};

// Blocks that split the sums, and what one would do.
constexpr int kMultiprocessors[] = {132, 1, 3, 16};

enum class Wanted { kX, kW };

struct Variant {
  Wanted wanted;
  ConvShape shape;
  Precision precision;
  ConvTile tile;            // kX
  int multiprocessors = 1;  // kW
  bool misaligned = false;  // every array by one element
  // Sums of terms of one sign: there rounding averages out, and dropping bits would not.
  bool positive = false;
};

std::string describe_shape(const Variant& v) {
  const ConvShape& s = v.shape;
  return text("n", s.n, " ", s.h, "x", s.w, " ", s.ci, "->", s.co, " k", s.kernel, " s", s.stride,
              " p", s.padding, " g", s.groups, v.misaligned ? " misaligned" : "",
              v.positive ? " positive" : "",
              v.wanted == Wanted::kX ? text(" tile ", v.tile.pixels_per_warp, "x", v.tile.channels)
                                     : text(" for ", v.multiprocessors));
}

std::string kernel_of(const Variant& v) {
  return v.wanted == Wanted::kX ? "input_gradient" : "weight_gradient";
}

struct Operands {
  Shape x_shape, w_shape, dz_shape;
  std::vector<float> x, w, dz;
};

Operands make_operands(const Variant& v) {
  const ConvShape& s = v.shape;
  const ConvShape back = input_gradient_of(s);
  Operands out;
  out.x_shape = {s.n, s.h, s.w, s.ci};
  out.w_shape = {s.co, s.kernel, s.kernel, s.ci / s.groups};
  out.dz_shape = {s.n, back.h, back.w, s.co};
  const double low = v.positive ? 0 : -1;
  out.x = rounded(random_values("x", out.x_shape.elements(), low, 1), v.precision);
  out.w = rounded(random_values("w", out.w_shape.elements(), low, 1), v.precision);
  out.dz = rounded(random_values("dz", out.dz_shape.elements(), low, 1), v.precision);
  return out;
}

std::vector<double> doubles_of(const Array& a) {
  return {a.data<double>(), a.data<double>() + a.elements()};
}

std::vector<double> reference(const Variant& v, const Operands& operands) {
  const Array dz = Array::copy_of(operands.dz, operands.dz_shape);
  OperandGradients d;
  Array& wanted = v.wanted == Wanted::kX ? d.x : d.w;
  wanted = Array::host(v.wanted == Wanted::kX ? operands.x_shape : operands.w_shape, DType::kF64);
  make_reference_backend()->conv2d_gradient(
      Array::copy_of(operands.x, operands.x_shape), Array::copy_of(operands.w, operands.w_shape),
      {dz, dz}, {v.shape.stride, v.shape.padding, v.shape.groups, {}}, d);
  return doubles_of(wanted);
}

// Where operand gradients lie, by one element off where that is asked for.
std::size_t offset_of(const Variant& v, Precision precision) {
  return v.misaligned ? element_bytes(precision) : 0;
}

std::vector<float> computed_x(const Variant& v, const Operands& operands) {
  const std::size_t offset = offset_of(v, v.precision);
  const std::size_t size = element_bytes(v.precision);
  const ConvShape back = input_gradient_of(v.shape);
  const Placed dz = placed(operands.dz, v.precision, offset);
  const Placed w = placed(operands.w, v.precision, offset);
  const Placed dx = unwritten(static_cast<std::size_t>(operands.x_shape.elements()) * size, offset);
  const Placed packed = unwritten(static_cast<std::size_t>(packed_weights(back)) * size, offset);
  pack_weights(back, v.precision, w.data(), packed.data(), nullptr);
  conv_transpose2d(back, v.precision, {dz.data(), packed.data(), nullptr, dx.data()}, v.tile,
                   nullptr);
  return floats_of(dx, v.precision);
}

std::vector<float> computed_w(const Variant& v, const Operands& operands) {
  const std::size_t offset = offset_of(v, v.precision);
  const std::size_t sum_offset = offset_of(v, Precision::kF32);
  const Placed x = placed(operands.x, v.precision, offset);
  const Placed dz = placed(operands.dz, v.precision, offset);
  const Placed dw =
      unwritten(static_cast<std::size_t>(operands.w_shape.elements()) * sizeof(float), sum_offset);
  const Placed parts = unwritten(
      static_cast<std::size_t>(weight_gradient_parts(v.shape, v.precision, v.multiprocessors)) *
          sizeof(float),
      sum_offset);
  weight_gradient(
      v.shape, v.precision,
      {x.data(), dz.data(), static_cast<float*>(dw.data()), static_cast<float*>(parts.data())},
      v.multiprocessors, nullptr);
  return floats_of(dw, Precision::kF32);
}

std::vector<float> computed(const Variant& v, const Operands& operands) {
  return v.wanted == Wanted::kX ? computed_x(v, operands) : computed_w(v, operands);
}

Tolerance tolerance_of(const Variant& v, const Operands& operands) {
  const ConvShape& s = v.shape;
  if (v.wanted == Wanted::kW) {
    const std::int64_t pixels = operands.dz_shape.elements() / s.co;
    return {sum_rounding(pixels, v.precision, v.positive), 0x1.04p-24};
  }
  const std::int64_t taps = (s.kernel + s.stride - 1) / s.stride;  // that meet one pixel of x
  return {sum_rounding(taps * taps * s.co / s.groups, v.precision, v.positive),
          1.01 * array_rounding(v.precision)};
}

Outcome run_variant(const Variant& v) {
  const Operands operands = make_operands(v);
  return compare(reference(v, operands), computed(v, operands), tolerance_of(v, operands));
}

void add_case(const Variant& v, std::vector<Case>& cases) {
  cases.push_back({kernel_of(v), std::string(name_of(v.precision)), describe_shape(v),
                   [v] { return run_variant(v); }});
}

// The same bytes again, whatever order the blocks ran in.
void add_repeated(const Variant& v, std::vector<Case>& cases) {
  cases.push_back(
      {kernel_of(v), std::string(name_of(v.precision)), describe_shape(v) + " repeated", [v] {
         const Operands operands = make_operands(v);
         const std::vector<float> first = computed(v, operands);
         return compare(std::vector<double>(first.begin(), first.end()), computed(v, operands),
                        {0, 0});
       }});
}

void add_convolutions(std::vector<Case>& cases) {
  for (std::size_t i = 0; i < std::size(kConvolutions); ++i) {
    const ConvShape& shape = kConvolutions[i];
    for (std::size_t p = 0; p < std::size(kPrecisions); ++p) {
      // Every tile and every number of multiprocessors meets every precision somewhere.
      const auto tiles = transposed_tiles(input_gradient_of(shape), kPrecisions[p]);
      const int multiprocessors = kMultiprocessors[(i + p) % std::size(kMultiprocessors)];
      const bool misaligned = (i + p) % 5 == 0;
      add_case({Wanted::kX, shape, kPrecisions[p], tiles[(i + p) % tiles.size()], 0, misaligned},
               cases);
      add_case({Wanted::kW, shape, kPrecisions[p], {}, multiprocessors, misaligned}, cases);
    }
  }
  for (const Precision precision : kPrecisions) {
    const ConvShape& shape = kConvolutions[3];
    const ConvTile tile = transposed_tiles(input_gradient_of(shape), precision).front();
    add_case({Wanted::kX, shape, precision, tile, 0, false, true}, cases);
    add_case({Wanted::kW, shape, precision, {}, 16, false, true}, cases);
    add_repeated({Wanted::kX, shape, precision, tile, 0}, cases);
    add_repeated({Wanted::kW, shape, precision, {}, 132}, cases);
  }
}

// Slopes and their sums.
constexpr Activation kActivations[] = {{},
                                       {ActivationKind::kLeakyRelu, 0.2F, 0},
                                       {ActivationKind::kRelu, 0, 0},
                                       {ActivationKind::kHardtanh, -1, 1},
                                       {ActivationKind::kSigmoid, 0, 0},
                                       {ActivationKind::kTanh, 0, 0}};
// Of which few, many and odd numbers of channels fill whole vectors.
constexpr int kChannels[] = {1, 2, 3, 6, 8, 16, 64, 65, 264, 2056};
constexpr Precision kArrayTypes[] = {Precision::kF32, Precision::kBf16, Precision::kF16};

struct SumVariant {
  Precision precision;
  SumShape shape;
  bool dz, bias;  // wanted
  int multiprocessors;
  bool misaligned;
};

std::string describe_sums(const SumVariant& v) {
  return text(v.shape.pixels, " x ", v.shape.channels, " a",
              static_cast<int>(v.shape.activation.kind), v.dz ? " dz" : "", v.bias ? " bias" : "",
              " for ", v.multiprocessors, v.misaligned ? " misaligned" : "");
}

// What an activation may have given: its kinks are met exactly here and there.
std::vector<float> activated(const SumVariant& v) {
  std::vector<float> y = random_values("y", v.shape.pixels * v.shape.channels, -2, 2);
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = i % 7 == 3 ? 0.0F : activate(y[i], v.shape.activation);
  }
  return rounded(std::move(y), v.precision);
}

std::vector<double> reference(const SumVariant& v, const std::vector<float>& y,
                              const std::vector<float>& dy) {
  const Shape shape{v.shape.pixels, v.shape.channels};
  Array dz = Array::host(shape, DType::kF64);
  make_reference_backend()->activation_gradient(
      {Array::copy_of(y, shape), Array::copy_of(dy, shape)}, v.shape.activation, dz);
  return doubles_of(dz);
}

std::vector<double> summed(const std::vector<double>& dz, int channels) {
  std::vector<double> out(static_cast<std::size_t>(channels));
  for (std::size_t i = 0; i < dz.size(); ++i) out[i % out.size()] += dz[i];
  return out;
}

Outcome run_sums(const SumVariant& v) {
  const std::size_t offset = v.misaligned ? element_bytes(v.precision) : 0;
  const std::int64_t count = v.shape.pixels * v.shape.channels;
  const std::vector<float> y = activated(v);
  const std::vector<float> dy = rounded(random_values("dy", count, -1, 1), v.precision);
  const Placed result = placed(y, v.precision, offset);
  const Placed slopes = placed(dy, v.precision, offset);
  const Placed dz = unwritten(static_cast<std::size_t>(count) * element_bytes(v.precision), offset);
  const Placed bias = unwritten(static_cast<std::size_t>(v.shape.channels) * sizeof(float));
  const Placed parts = unwritten(
      static_cast<std::size_t>(sum_gradient_parts(v.shape, v.multiprocessors)) * sizeof(float));
  const bool sloped = v.shape.activation.kind != ActivationKind::kNone;
  sum_gradient(v.shape, v.precision,
               {sloped ? result.data() : nullptr, slopes.data(), v.dz ? dz.data() : nullptr,
                v.bias ? static_cast<float*>(bias.data()) : nullptr,
                v.bias ? static_cast<float*>(parts.data()) : nullptr},
               v.multiprocessors, nullptr);
  const std::vector<double> expected = reference(v, y, dy);
  // A slope and its product: three roundings of numbers up to 1 at most.
  constexpr double kSlope = 3 * 0x1p-24;
  Outcome out;
  if (v.dz) {
    out =
        compare(expected, floats_of(dz, v.precision), {kSlope, 1.01 * array_rounding(v.precision)});
  }
  if (!v.bias) return out;
  const double root = std::sqrt(static_cast<double>(v.shape.pixels));
  return worse(out,
               compare(summed(expected, v.shape.channels), floats_of(bias, Precision::kF32),
                       {sum_rounding(v.shape.pixels, Precision::kF32, false) + 2 * root * kSlope,
                        0x1.04p-24}));
}

// Activations, what is wanted, splits and places go round at speeds of their own.
void add_sums(std::vector<Case>& cases) {
  std::size_t i = 0;
  for (std::size_t c = 0; c < std::size(kChannels); ++c) {
    const int channels = kChannels[c];
    for (const Precision precision : kArrayTypes) {
      for (const std::int64_t pixels : {std::int64_t{1}, std::int64_t{4000} / channels + 5}) {
        const std::size_t wanted = (i / 2 + c) % 3;
        const SumVariant v{precision,
                           {pixels, channels, kActivations[(i + c) % 6]},
                           wanted != 2,
                           wanted != 1,
                           (i + c / 2) % 2 == 0 ? 3 : 132,
                           i % 5 == 4};
        cases.push_back({"sum_gradient", std::string(name_of(precision)), describe_sums(v),
                         [v] { return run_sums(v); }});
        ++i;
      }
    }
  }
}

Outcome run_parts(int count, std::int64_t width) {
  const std::vector<float> parts = random_values("parts", count * width, -1, 1);
  std::vector<double> expected(static_cast<std::size_t>(width));
  for (std::size_t i = 0; i < parts.size(); ++i) expected[i % expected.size()] += double{parts[i]};
  const Placed from = placed(parts);
  const Placed sums = unwritten(expected.size() * sizeof(float));
  add_parts(static_cast<const float*>(from.data()), count, width, static_cast<float*>(sums.data()),
            nullptr);
  return compare(expected, floats_of(sums, Precision::kF32),
                 {sum_rounding(count, Precision::kF32, false), 0x1.04p-24});
}

void add_part_sums(std::vector<Case>& cases) {
  for (const int count : {1, 2, 17, 600}) {
    for (const std::int64_t width : {1, 3, 4, 31, 32, 33, 100}) {
      cases.push_back({"add_parts", "", text(count, " x ", width),
                       [count, width] { return run_parts(count, width); }});
    }
  }
}

}  // namespace

std::vector<Case> conv_gradient_cases() {
  std::vector<Case> cases;
  add_convolutions(cases);
  add_sums(cases);
  add_part_sums(cases);
  return cases;
}

}  // namespace ptynet::cuda::tests
