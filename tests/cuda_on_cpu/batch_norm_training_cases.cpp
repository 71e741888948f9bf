#include <algorithm>
#include <cmath>

#include "kernels/backend.h"
#include "kernels/cuda/batch_norm_training.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr Activation kNone{};
constexpr Activation kLeaky{ActivationKind::kLeakyRelu, 0.2F, 0};
constexpr Activation kClamp{ActivationKind::kHardtanh, -1, 1};
constexpr Activation kActivations[] = {kNone,
                                       kLeaky,
                                       {ActivationKind::kRelu, 0, 0},
                                       kClamp,
                                       {ActivationKind::kSigmoid, 0, 0},
                                       {ActivationKind::kTanh, 0, 0}};
constexpr Precision kArrayTypes[] = {Precision::kF32, Precision::kBf16, Precision::kF16};
// Of accesses of 8 elements, of 4 or of neither, of rows that do not fill a block, of columns that
// do not fit into one.
constexpr int kChannels[] = {1, 2, 3, 4, 8, 12, 16, 20, 64, 65, 301, 1028};
constexpr double kRounding = 0x1p-24;

struct Variant {
  Precision precision;
  std::int64_t pixels;
  int channels;
  Activation activation;
  double mean = 0;       // the channels' are up to 1 from it
  double first_off = 0;  // how many spreads the first pixel lies away from the others
  const char* unaligned = "";
  const char* wanted = "xwb";
  int off_by = 1;  // elements that the unaligned array begins late
};

Shape shape_of(const Variant& v) { return {1, 1, v.pixels, v.channels}; }
std::int64_t count_of(const Variant& v) { return v.pixels * v.channels; }

// The values' distance from their mean: half the digits of an element around one far from 0.
double spread(const Variant& v) {
  return v.mean == 0 ? 1 : std::abs(v.mean) * std::sqrt(array_rounding(v.precision));
}

std::vector<float> make_x(const Variant& v) {
  const std::vector<float> centres = random_values("centre", v.channels, v.mean - 1, v.mean + 1);
  std::vector<float> x = random_values("x", count_of(v), -2, 2);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % centres.size();
    const double off = double{x[i]} + (i == c ? v.first_off : 0);
    x[i] = static_cast<float>(double{centres[c]} + off * spread(v));
  }
  return rounded(std::move(x), v.precision);
}

std::size_t offset_of(const Variant& v, const char* array) {
  const auto late = static_cast<std::size_t>(v.off_by) * element_bytes(v.precision);
  return std::string_view(v.unaligned) == array ? late : 0;
}

Placed place_elements(const std::vector<float>& values, const Variant& v, const char* array) {
  return placed(values, v.precision, offset_of(v, array));
}
Placed room_for_elements(const Variant& v, const char* array) {
  return unwritten(static_cast<std::size_t>(count_of(v)) * element_bytes(v.precision),
                   offset_of(v, array));
}

// What an array's element may be off by, from what the float may be that is rounded to it. Below
// 2^-14 numbers of fp16 lie 2^-24 apart.
Tolerance stored(const Tolerance& of_float, Precision precision) {
  if (precision == Precision::kF32) return of_float;
  const double rounding = array_rounding(precision);
  const double least = precision == Precision::kF16 ? 0x1p-25 : 0;
  return {of_float.absolute * (1 + rounding) + least,
          of_float.relative * (1 + rounding) + rounding};
}

std::vector<double> doubles(const Array& a) {
  return {a.data<double>(), a.data<double>() + a.elements()};
}

Array copied(const std::vector<float>& values) {
  return Array::copy_of(values, {std::ssize(values)});
}

double largest(const std::vector<double>& values) {
  double out = 0;
  for (const double v : values) out = std::max(out, std::abs(v));
  return out;
}

// Of (x - mean) * factor.
double farthest(const std::vector<float>& x, const std::vector<double>& mean,
                const std::vector<double>& factor) {
  double out = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % mean.size();
    out = std::max(out, std::abs((double{x[i]} - mean[c]) * factor[c]));
  }
  return out;
}

// What one run of the forward pass wrote.
struct Trained {
  std::vector<float> y, mean, inverse_std, scale, shift, running_mean, running_var;
  bool operator==(const Trained&) const = default;
};

struct Channels {
  std::vector<float> weight, bias, running_mean, running_var;
};

Channels make_channels(const Variant& v) {
  const int c = v.channels;
  return {random_values("weight", c, -1.5, 1.5), random_values("bias", c, -1, 1),
          random_values("running mean", c, -1, 1), random_values("running var", c, 0.5, 2)};
}

constexpr float kEpsilon = 0.01F;
constexpr float kMomentum = 0.1F;

float* floats(const Placed& array) { return static_cast<float*>(array.data()); }

Trained train(const Variant& v, const std::vector<float>& values, const Channels& channels) {
  const BatchShape shape{v.pixels, v.channels};
  const Placed x = place_elements(values, v, "x");
  const Placed y = room_for_elements(v, "y");
  const Placed scratch =
      unwritten(static_cast<std::size_t>(batch_norm_scratch(shape)) * sizeof(double));
  const Placed weight = placed(channels.weight, sizeof(float));
  const Placed bias = placed(channels.bias);
  const Placed running_mean = placed(channels.running_mean);
  const Placed running_var = placed(channels.running_var);
  const auto room = [&] { return unwritten(static_cast<std::size_t>(v.channels) * sizeof(float)); };
  const Placed batch[] = {room(), room(), room(), room()};
  const BatchTraining training{
      floats(weight),
      floats(bias),
      floats(running_mean),
      floats(running_var),
      {floats(batch[0]), floats(batch[1]), floats(batch[2]), floats(batch[3])},
      double{kEpsilon},
      double{kMomentum},
      v.activation};
  batch_norm_training(shape, v.precision, x.data(), training, static_cast<double*>(scratch.data()),
                      y.data(), nullptr);
  return {floats_of(y, v.precision),    values_of<float>(batch[0]), values_of<float>(batch[1]),
          values_of<float>(batch[2]),   values_of<float>(batch[3]), values_of<float>(running_mean),
          values_of<float>(running_var)};
}

Outcome differing_runs() { return {HUGE_VAL, HUGE_VAL, "two runs left different bytes"}; }

Outcome run_training(const Variant& v) {
  const std::vector<float> x = make_x(v);
  const Channels channels = make_channels(v);
  const Trained found = train(v, x, channels);
  if (!(found == train(v, x, channels))) return differing_runs();

  const auto wide = [&](const std::vector<float>& values) {
    return Array::copy_of(std::vector<double>(values.begin(), values.end()), {v.channels});
  };
  BatchNormParameters p{wide(channels.weight), wide(channels.bias), wide(channels.running_mean),
                        wide(channels.running_var)};
  p.epsilon = kEpsilon;
  p.momentum = kMomentum;
  p.activation = v.activation;
  const auto room = [&] { return Array::host({v.channels}, DType::kF64); };
  BatchStatistics batch{room(), room(), room(), room()};
  Array y = Array::host(shape_of(v), DType::kF64);
  make_reference_backend()->batch_norm_training(Array::copy_of(x, shape_of(v)), p, batch, y);

  // All from doubles: each rounds once, the scale is a product of a float that did.
  const Tolerance once{0, 1.01 * kRounding};
  const Tolerance twice{0, 2.02 * kRounding};
  Outcome out = compare(doubles(batch.mean), found.mean, {kRounding * 1e-6, 1.01 * kRounding});
  out = worse(out, compare(doubles(batch.inverse_std), found.inverse_std, once));
  out = worse(out, compare(doubles(batch.scale), found.scale, twice));
  out = worse(out, compare(doubles(p.running_mean), found.running_mean,
                           {kRounding * 1e-6, 1.01 * kRounding}));
  out = worse(out, compare(doubles(p.running_var), found.running_var, once));
  // The shift makes up for what the mean lost.
  const std::vector<double> mean = doubles(batch.mean);
  const std::vector<double> scale = doubles(batch.scale);
  std::vector<double> shift = doubles(p.bias);
  for (std::size_t c = 0; c < shift.size(); ++c) {
    shift[c] += (double{found.mean[c]} - mean[c]) * scale[c];
  }
  const double lost = largest(mean) * largest(scale) * kRounding;
  out = worse(out, compare(shift, found.shift, {3 * kRounding * lost + 0x1p-50, 1.01 * kRounding}));
  // Difference, both roundings of the scale, product, shift and sum; a sigmoid or tanh rounds four
  // times what is up to 1.
  const double reach = farthest(x, mean, scale);
  const Tolerance of_float{kRounding * (5 * reach + 2) + 4 * kRounding, kRounding};
  return worse(out, compare(doubles(y), found.y, stored(of_float, v.precision)));
}

std::string unaligned(const Variant& v) {
  return *v.unaligned == 0 ? "" : text(" ", v.unaligned, " off by ", v.off_by);
}

void add_training(const Variant& v, std::vector<Case>& cases) {
  cases.push_back({"batch_norm_training", std::string(name_of(v.precision)),
                   text(v.pixels, " px ", v.channels, " a", static_cast<int>(v.activation.kind),
                        " mean ", v.mean, " first off ", v.first_off, unaligned(v)),
                   [v] { return run_training(v); }});
}

// What normalised a batch, as the forward pass would have left it: any floats would do.
struct Batch {
  std::vector<float> mean, inverse_std, scale, shift;
};

Batch make_batch(const Variant& v) {
  Batch out;
  const std::vector<float> weight = random_values("weight", v.channels, -1.5, 1.5);
  out.mean = random_values("centre", v.channels, v.mean - 1, v.mean + 1);
  out.shift = random_values("shift", v.channels, -1, 1);
  for (const float w : weight) {
    out.inverse_std.push_back(static_cast<float>(1 / spread(v)));
    out.scale.push_back(w * out.inverse_std.back());
  }
  return out;
}

bool is_near_kink(double y) {
  constexpr double kClearance = 0x1p-10;
  const double nearest = std::min({std::abs(y + 1), std::abs(y), std::abs(y - 1)});
  return nearest < kClearance;
}

// The same, no nearer to a kink of the activation than roundings go: there the slope is that of
// either side, as the device rounds. Steps grow until the array type takes them.
std::vector<float> clear_of_kinks(std::vector<float> x, const Variant& v, const Batch& batch) {
  if (v.activation.kind == ActivationKind::kNone) return x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t c = i % batch.mean.size();
    const double scale = double{batch.scale[c]};
    const auto normalised = [&] {
      return (double{x[i]} - double{batch.mean[c]}) * scale + double{batch.shift[c]};
    };
    for (double step = 0x1p-9 / scale; is_near_kink(normalised()); step *= 2) {
      x[i] = rounded({static_cast<float>(double{x[i]} + step)}, v.precision).front();
    }
  }
  return x;
}

struct Gradients {
  std::vector<float> dx, dw, db;
  bool operator==(const Gradients&) const = default;
};

bool wants(const Variant& v, char which) {
  return std::string_view(v.wanted).find(which) != std::string_view::npos;
}

Gradients pull_back(const Variant& v, const std::vector<float>& x_values,
                    const std::vector<float>& dy_values, const Batch& batch) {
  const BatchShape shape{v.pixels, v.channels};
  const Placed x = place_elements(x_values, v, "x");
  const Placed dy = place_elements(dy_values, v, "dy");
  const Placed scratch =
      unwritten(static_cast<std::size_t>(batch_norm_scratch(shape)) * sizeof(double));
  const Placed mean = placed(batch.mean);
  const Placed inverse_std = placed(batch.inverse_std);
  const Placed scale = placed(batch.scale, sizeof(float));
  const Placed shift = placed(batch.shift);
  const std::size_t bytes = batch.mean.size() * sizeof(float);
  const Placed dx = room_for_elements(v, "dx");
  const Placed dw = unwritten(bytes);
  const Placed db = unwritten(bytes);
  const Placed terms = unwritten(2 * bytes);
  const BatchNormResult result{x.data(),
                               dy.data(),
                               {floats(mean), floats(inverse_std), floats(scale), floats(shift)},
                               v.activation};
  const auto wanted = [&](char which, const Placed& array) {
    return wants(v, which) ? floats(array) : nullptr;
  };
  batch_norm_gradient(shape, v.precision, result, static_cast<double*>(scratch.data()),
                      {wanted('x', dx), wanted('w', dw), wanted('b', db), floats(terms)}, nullptr);
  const auto written = [&](char which, const Placed& array, Precision type) {
    return wants(v, which) ? floats_of(array, type) : std::vector<float>();
  };
  return {written('x', dx, v.precision), written('w', dw, Precision::kF32),
          written('b', db, Precision::kF32)};
}

struct GradientErrors {
  Tolerance dx, dw, db;
};

// |dy| is at most 1. A sum's roundings are as many random steps: three times the root of their
// number is what they may add up to.
GradientErrors gradient_errors(const Variant& v, const std::vector<float>& x, const Batch& batch,
                               const std::vector<double>& dw, const std::vector<double>& db) {
  const auto doubled = [](const std::vector<float>& values) {
    return std::vector<double>(values.begin(), values.end());
  };
  const std::vector<double> mean = doubled(batch.mean);
  const std::vector<double> scale = doubled(batch.scale);
  const double narrow = largest(doubled(batch.inverse_std));
  const double reach = farthest(x, mean, doubled(batch.inverse_std));  // in standard deviations
  const bool bends =
      v.activation.kind == ActivationKind::kSigmoid || v.activation.kind == ActivationKind::kTanh;
  // Of a slope that is a function of y: y's roundings, as in run_training(), and those of the
  // function and its slope in each of both computations.
  const double slope = bends ? kRounding * (5 * farthest(x, mean, scale) + 2 + 8) : 0;
  const double g = kRounding + slope;
  const double weighted = reach * (3 * kRounding + slope);  // g * (x - mean), two products more
  const auto count = static_cast<double>(v.pixels);
  const double steps = 3 * std::sqrt(count);
  // Five operations on g - offset - (x - mean) * tilt and its parts.
  const double parts = 1 + largest(db) / count + largest(dw) / count * reach;
  const double dx =
      largest(scale) * (g + steps / count * (g + reach * weighted) + 5 * kRounding * parts);
  return {stored({dx, 0}, v.precision),
          {steps * weighted * narrow * spread(v), 1.01 * kRounding},
          {steps * g, 1.01 * kRounding}};
}

Outcome run_gradient(const Variant& v) {
  const Batch batch = make_batch(v);
  const std::vector<float> x = clear_of_kinks(make_x(v), v, batch);
  const std::vector<float> dy = rounded(random_values("dy", count_of(v), -1, 1), v.precision);
  const Gradients found = pull_back(v, x, dy, batch);
  if (!(found == pull_back(v, x, dy, batch))) return differing_runs();

  const auto room = [](const Shape& shape) { return Array::host(shape, DType::kF64); };
  OperandGradients d{room(shape_of(v)), room({v.channels}), room({v.channels})};
  make_reference_backend()->batch_norm_gradient(
      Array::copy_of(x, shape_of(v)),
      {copied(batch.mean), copied(batch.inverse_std), copied(batch.scale), copied(batch.shift)},
      v.activation, Array::copy_of(dy, shape_of(v)), d);

  const GradientErrors allowed = gradient_errors(v, x, batch, doubles(d.w), doubles(d.b));
  Outcome out;
  if (wants(v, 'x')) out = worse(out, compare(doubles(d.x), found.dx, allowed.dx));
  if (wants(v, 'w')) out = worse(out, compare(doubles(d.w), found.dw, allowed.dw));
  if (wants(v, 'b')) out = worse(out, compare(doubles(d.b), found.db, allowed.db));
  return out;
}

void add_gradient(const Variant& v, std::vector<Case>& cases) {
  cases.push_back({"batch_norm_gradient", std::string(name_of(v.precision)),
                   text(v.pixels, " px ", v.channels, " a", static_cast<int>(v.activation.kind),
                        " mean ", v.mean, " d", v.wanted, unaligned(v)),
                   [v] { return run_gradient(v); }});
}

void add_both(const Variant& v, std::vector<Case>& cases) {
  add_training(v, cases);
  add_gradient(v, cases);
}

void add_channels(Precision precision, int channels, std::vector<Case>& cases) {
  // The fewest pixels that have a variance, and a single one.
  add_training({precision, 2, channels, kLeaky}, cases);
  add_gradient({precision, 1, channels, kLeaky}, cases);
  // A single row of one frame, and five frames of odd sides.
  for (const std::int64_t pixels : {7, 5 * 3 * 5}) {
    add_both({precision, pixels, channels, kLeaky}, cases);
  }
  for (const double mean : {-1000.0, 30000.0}) {
    add_both({precision, 35, channels, kNone, mean}, cases);
  }
  const double far = precision == Precision::kF16 ? 3e4 : 1e6;  // fp16 ends at 65504
  add_training({precision, 999, channels, kNone, 0, far}, cases);
}

void add_places(Precision precision, std::vector<Case>& cases) {
  // Late by half an access, 16-bit elements still move at once into the sums.
  const int half_access = 8 / static_cast<int>(element_bytes(precision));
  for (const int off_by : {1, half_access}) {
    const auto unaligned = [&](const char* array) {
      return Variant{precision, 77, 64, kLeaky, 0, 0, array, "xwb", off_by};
    };
    for (const char* array : {"x", "y"}) add_training(unaligned(array), cases);
    for (const char* array : {"x", "dy", "dx"}) add_gradient(unaligned(array), cases);
  }
}

}  // namespace

std::vector<Case> batch_norm_training_cases() {
  std::vector<Case> cases;
  for (const Precision precision : kArrayTypes) {
    for (const int channels : kChannels) add_channels(precision, channels, cases);
    for (const Activation& a : kActivations) {
      for (const int channels : {3, 20, 24}) add_both({precision, 45, channels, a}, cases);
    }
    add_places(precision, cases);
    for (const char* wanted : {"x", "wb", "w", "b"}) {
      add_gradient({precision, 77, 20, kLeaky, 0, 0, "", wanted}, cases);
      add_gradient({precision, 77, 3, kClamp, 0, 0, "", wanted}, cases);
    }
    // Several parts.
    for (const int channels : {1, 2, 16, 20, 64}) {
      add_both({precision, 2500, channels, kLeaky}, cases);
    }
  }
  // As many as there may be, whatever the type.
  add_both({Precision::kF32, 4100, 1024, kLeaky}, cases);
  return cases;
}

}  // namespace ptynet::cuda::tests
