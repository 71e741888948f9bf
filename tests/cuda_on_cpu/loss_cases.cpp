#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cuda/losses.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr double kUnitRoundoff = 0x1p-24;
constexpr double kFactor = 0.7;
// From one vector to several parts of a frame.
constexpr PatchShape kShapes[] = {{1, 16, 16}, {5, 9, 11},  {2, 1, 40},  {1, 33, 1},
                                  {1, 70, 66}, {5, 50, 45}, {1, 1, 1025}};
constexpr PatchShape kManyFrames{600, 2, 2};  // more than the parts of a batch

enum class BadPixels : std::uint8_t { kNone, kSome, kOneFrame, kAll };
constexpr const char* kBadNames[] = {"", " some bad", " a bad frame", " all bad"};
constexpr const char* kKindNames[] = {"l1", "amplitude", "poisson"};

std::int64_t pixels_of(const PatchShape& s) { return std::int64_t{s.h} * s.w; }
Shape frames_of(const PatchShape& s) { return {s.n, s.h, s.w}; }

std::vector<double> doubles(const Array& y) {
  return y.empty() ? std::vector<double>()
                   : std::vector<double>(y.data<double>(), y.data<double>() + y.elements());
}

float* floats(const Placed& memory) { return static_cast<float*>(memory.data()); }
float* floats_or_null(const Placed& memory, bool wanted) {
  return wanted ? floats(memory) : nullptr;
}

// What a loss leaves in memory.
struct Results {
  Placed sums;
  Placed scratch;
  std::vector<Placed> derivatives;

  LossSums out() const {
    return {static_cast<double*>(sums.data()), static_cast<double*>(scratch.data())};
  }
};

Results room_for(const PatchShape& s, int columns, const std::vector<bool>& wanted, bool aligned) {
  Results out{unwritten(static_cast<std::size_t>(s.n * columns) * sizeof(double)),
              unwritten(static_cast<std::size_t>(loss_scratch(s)) * sizeof(double)),
              {}};
  for (const bool is_wanted : wanted) {
    const auto count = is_wanted ? static_cast<std::size_t>(s.n * pixels_of(s)) : 0;
    out.derivatives.push_back(unwritten(count * sizeof(float), aligned ? 0 : sizeof(float)));
  }
  return out;
}

Outcome same_results(const Results& a, const Results& b) {
  Outcome out = same_bytes(a.sums, b.sums);
  for (std::size_t i = 0; i < a.derivatives.size(); ++i) {
    out = worse(out, same_bytes(a.derivatives[i], b.derivatives[i]));
  }
  return out;
}

// Every `stride`-th value from `first` on.
template <typename T>
std::vector<T> column(const std::vector<T>& table, std::size_t first, std::size_t stride) {
  std::vector<T> out;
  for (std::size_t i = first; i < table.size(); i += stride) out.push_back(table[i]);
  return out;
}

struct IntensityVariant {
  PatchShape shape;
  IntensityLoss kind;
  BadPixels bad;
  bool gradient;
  bool aligned;
};

std::vector<float> measured_counts(const IntensityVariant& v) {
  const std::int64_t pixels = pixels_of(v.shape);
  std::vector<float> out = random_values("measured", v.shape.n * pixels, 0, 9);
  out[out.size() / 2] = 0;  // dark, not bad
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kBad[] = {std::numeric_limits<float>::infinity(), kNan, -1};
  for (std::size_t i = 2; v.bad == BadPixels::kSome && i < out.size(); i += 7) {
    out[i] = kBad[i % 3];
  }
  if (v.bad == BadPixels::kOneFrame) std::fill_n(out.end() - pixels, pixels, kNan);
  if (v.bad == BadPixels::kAll) std::fill(out.begin(), out.end(), kNan);
  return out;
}

std::vector<float> predicted_counts(const std::vector<float>& measured) {
  std::vector<float> out =
      random_values("predicted", static_cast<std::int64_t>(measured.size()), 0.1, 9);
  out[0] = is_count(measured[0]) ? measured[0] : out[0];  // met exactly
  out[1] = 0;                                             // two of the losses are steep there
  return out;
}

// Per frame: a bound of what meets in the loss's sum, and in those of the R factor.
struct Sizes {
  std::vector<double> loss, roots;
};

Sizes sizes_of(const IntensityVariant& v, const std::vector<float>& predicted,
               const std::vector<float>& measured) {
  const auto pixels = static_cast<std::size_t>(pixels_of(v.shape));
  Sizes out{std::vector<double>(predicted.size() / pixels),
            std::vector<double>(predicted.size() / pixels)};
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    if (!is_count(measured[i])) continue;
    const double p = double{predicted[i]};
    const double m = double{measured[i]};
    const double roots = std::sqrt(p) + std::sqrt(m);
    out.roots[i / pixels] += roots;
    switch (v.kind) {
      case IntensityLoss::kL1:
        out.loss[i / pixels] += p + m;
        break;
      case IntensityLoss::kAmplitude:
        out.loss[i / pixels] += roots;
        break;
      case IntensityLoss::kPoisson:
        out.loss[i / pixels] += p + m * (1 + std::abs(std::log(p + kPoissonFloor)));
        break;
    }
  }
  return out;
}

Results run_kernel(const IntensityVariant& v, const std::vector<float>& predicted,
                   const std::vector<float>& measured) {
  const std::size_t offset = v.aligned ? 0 : sizeof(float);
  const Placed model = placed(predicted, offset);
  const Placed data = placed(measured, offset);
  Results out = room_for(v.shape, 4, {v.gradient}, v.aligned);
  intensity_loss(v.shape,
                 {v.kind, floats(model), floats(data), kFactor,
                  floats_or_null(out.derivatives[0], v.gradient)},
                 out.out(), nullptr);
  return out;
}

Outcome run_intensity_loss(const IntensityVariant& v) {
  const std::vector<float> measured = measured_counts(v);
  const std::vector<float> predicted = predicted_counts(measured);
  Array sums = Array::host({v.shape.n, 4}, DType::kF64);
  Array d = v.gradient ? Array::host(frames_of(v.shape), DType::kF64) : Array();
  make_reference_backend()->intensity_loss(v.kind, Array::copy_of(predicted, frames_of(v.shape)),
                                           Array::copy_of(measured, frames_of(v.shape)), kFactor,
                                           sums, d);
  const Results found = run_kernel(v, predicted, measured);
  Outcome out = same_results(found, run_kernel(v, predicted, measured));
  const Sizes sizes = sizes_of(v, predicted, measured);
  // Four roundings at most of each pixel's: of roots or logarithm (2), products and differences.
  const double of_loss = *std::max_element(sizes.loss.begin(), sizes.loss.end());
  const double of_roots = *std::max_element(sizes.roots.begin(), sizes.roots.end());
  const double terms[] = {of_loss, 0, of_roots, of_roots};  // good pixels are counted exactly
  for (std::size_t i = 0; i < 4; ++i) {
    out =
        worse(out, compare(column(doubles(sums), i, 4), column(values_of<double>(found.sums), i, 4),
                           {4 * kUnitRoundoff * terms[i], 0}));
  }
  // A slope is rounded at most six times; that of poisson is the difference of 1 and a quotient.
  const auto good = std::count_if(measured.begin(), measured.end(), is_count<float>);
  const double one = kFactor / static_cast<double>(std::max<std::int64_t>(good, 1));
  return worse(out, compare(doubles(d), values_of<float>(found.derivatives[0]),
                            {6 * kUnitRoundoff * one, 6 * kUnitRoundoff}));
}

struct ErrorVariant {
  PatchShape shape;
  bool of_object;  // else amplitude and phase by themselves
  bool weighted;
  bool amplitude, phase;  // whose derivatives are wanted
  bool aligned;
};

struct ErrorOperands {
  std::vector<float> amplitude, phase, weight;
  std::vector<float> target_amplitude, target_phase, target;
};

ErrorOperands make_operands(const ErrorVariant& v) {
  const std::int64_t all = v.shape.n * pixels_of(v.shape);
  ErrorOperands out{random_values("amplitude", all, -0.2, 1.2),
                    random_values("phase", all, -4, 4),
                    {},
                    random_values("target amplitude", all, 0, 1),
                    random_values("target phase", all, -3, 3),
                    random_values("target", 2 * all, -1, 1)};
  if (v.weighted) out.weight = random_values("weight", pixels_of(v.shape), 0, 1);
  return out;
}

Results run_kernel(const ErrorVariant& v, const ErrorOperands& in) {
  const auto put = [&](const std::vector<float>& values, std::size_t element = sizeof(float)) {
    return placed(values, v.aligned ? 0 : element);
  };
  const Placed amplitude = put(in.amplitude);
  const Placed phase = put(in.phase);
  const Placed weight = put(in.weight);
  Results out = room_for(v.shape, v.of_object ? 1 : 2, {v.amplitude, v.phase}, v.aligned);
  const PatchErrorOptions options{floats_or_null(weight, v.weighted),
                                  kFactor,
                                  {floats_or_null(out.derivatives[0], v.amplitude),
                                   floats_or_null(out.derivatives[1], v.phase)}};
  const PolarPatches patches{floats(amplitude), floats(phase)};
  if (v.of_object) {
    const Placed target = put(in.target, 2 * sizeof(float));
    object_error(v.shape, patches, floats(target), options, out.out(), nullptr);
  } else {
    const Placed target[] = {put(in.target_amplitude), put(in.target_phase)};
    patch_error(v.shape, patches, {floats(target[0]), floats(target[1])}, options, out.out(),
                nullptr);
  }
  return out;
}

struct Expected {
  Array sums;
  ExitWave d;
};

Expected reference(const ErrorVariant& v, const ErrorOperands& in) {
  const PatchShape& s = v.shape;
  const Shape frames = frames_of(s);
  const auto array = [&](const std::vector<float>& values) {
    return Array::copy_of(values, frames);
  };
  const auto room = [&](bool wanted) {
    return wanted ? Array::host(frames, DType::kF64) : Array();
  };
  const ExitWave patch{array(in.amplitude), array(in.phase), {}};
  const Array weight = v.weighted ? Array::copy_of(in.weight, {s.h, s.w}) : Array();
  Expected out{Array::host({s.n, v.of_object ? 1 : 2}, DType::kF64),
               {room(v.amplitude), room(v.phase), {}}};
  const auto backend = make_reference_backend();
  if (v.of_object) {
    backend->object_error(patch, Array::copy_of(in.target, {s.n, s.h, s.w, 2}), weight, kFactor,
                          out.sums, out.d);
  } else {
    backend->patch_error(patch, {array(in.target_amplitude), array(in.target_phase), {}}, weight,
                         kFactor, out.sums, out.d);
  }
  return out;
}

Outcome run_error(const ErrorVariant& v) {
  const ErrorOperands in = make_operands(v);
  const Expected expected = reference(v, in);
  const Results found = run_kernel(v, in);
  // Of patches all is relative: a difference, two products, the scale and the factor of 2. Of
  // objects the difference is of what is up to 1.2 (a phasor off by 2 roundings, and a product)
  // and sqrt 2, and comes from there with four roundings; the rest is six more.
  double of_sums = 0;
  double of_slopes = 0;
  if (v.of_object) {
    constexpr double kMost = 1.2 + 1.42;
    double whole = 0;
    for (const float w : in.weight) whole += double{w};
    if (!v.weighted) whole = static_cast<double>(pixels_of(v.shape));
    of_sums = 2 * (4 + 3) * kUnitRoundoff * kMost * kMost;
    of_slopes = (4 + 6) * kUnitRoundoff * kMost * 1.2 * 2 * kFactor / (v.shape.n * whole);
  }
  const Tolerance slopes{of_slopes, 6 * kUnitRoundoff};
  Outcome out = same_results(found, run_kernel(v, in));
  out = worse(out, compare(doubles(expected.sums), values_of<double>(found.sums),
                           {of_sums, 6 * kUnitRoundoff}));
  out = worse(
      out, compare(doubles(expected.d.amplitude), values_of<float>(found.derivatives[0]), slopes));
  return worse(out,
               compare(doubles(expected.d.phase), values_of<float>(found.derivatives[1]), slopes));
}

std::string describe(const PatchShape& s) { return text("n", s.n, " ", s.h, "x", s.w); }

void add_intensity(const IntensityVariant& v, std::vector<Case>& cases) {
  cases.push_back({"intensity_loss", "",
                   text(describe(v.shape), " ", kKindNames[static_cast<std::size_t>(v.kind)],
                        kBadNames[static_cast<std::size_t>(v.bad)], v.gradient ? "" : " sums only",
                        v.aligned ? "" : " unaligned"),
                   [v] { return run_intensity_loss(v); }});
}

void add_error(const ErrorVariant& v, std::vector<Case>& cases) {
  cases.push_back(
      {v.of_object ? "object_error" : "patch_error", "",
       text(describe(v.shape), v.weighted ? " weighted" : "", v.amplitude ? " amplitude" : "",
            v.phase ? " phase" : "", v.aligned ? "" : " unaligned"),
       [v] { return run_error(v); }});
}

}  // namespace

std::vector<Case> loss_cases() {
  std::vector<Case> cases;
  for (const PatchShape& s : kShapes) {
    for (const IntensityLoss kind :
         {IntensityLoss::kL1, IntensityLoss::kAmplitude, IntensityLoss::kPoisson}) {
      add_intensity({s, kind, BadPixels::kNone, true, true}, cases);
      add_intensity({s, kind, BadPixels::kSome, true, true}, cases);
      add_intensity({s, kind, BadPixels::kSome, true, false}, cases);
      add_intensity({s, kind, BadPixels::kOneFrame, true, true}, cases);
      add_intensity({s, kind, BadPixels::kAll, true, true}, cases);
      add_intensity({s, kind, BadPixels::kSome, false, true}, cases);
    }
    for (const bool of_object : {false, true}) {
      for (const bool weighted : {false, true}) {
        add_error({s, of_object, weighted, true, true, true}, cases);
        add_error({s, of_object, weighted, true, true, false}, cases);
        add_error({s, of_object, weighted, true, false, true}, cases);
        add_error({s, of_object, weighted, false, true, true}, cases);
        add_error({s, of_object, weighted, false, false, true}, cases);
      }
    }
  }
  add_intensity({kManyFrames, IntensityLoss::kL1, BadPixels::kSome, true, true}, cases);
  add_error({kManyFrames, true, true, true, true, true}, cases);
  return cases;
}

}  // namespace ptynet::cuda::tests
