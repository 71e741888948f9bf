#include <limits>
#include <optional>

#include "tests/kernels/cases.h"

namespace ptynet::tests {

namespace {

const Shape kFrames{3, 6, 5};
constexpr std::int64_t kPixels = 30;
constexpr double kFactor = 0.7;

enum class BadPixels { kNone, kSome, kOneFrame, kAll };

Array measured_counts(BadPixels bad) {
  Array out = random_array("loss measured", kFrames, 0, 9);
  float* counts = out.data<float>();
  counts[3] = 0;  // dark, not bad
  if (bad == BadPixels::kSome) {
    counts[7] = std::numeric_limits<float>::infinity();
    counts[31] = std::numeric_limits<float>::quiet_NaN();
    counts[62] = -1;
  }
  constexpr float kBad = std::numeric_limits<float>::quiet_NaN();
  if (bad == BadPixels::kOneFrame) std::fill_n(counts + kPixels, kPixels, kBad);
  if (bad == BadPixels::kAll) std::fill_n(counts, 3 * kPixels, kBad);
  return out;
}

void add_intensity_losses(OperationCases& cases, IntensityLoss kind) {
  struct Variant {
    const char* name;
    BadPixels bad;
    bool dark;      // nothing predicted in places, where two of the losses have steep slopes
    bool gradient;  // wanted
  };
  const Variant variants[] = {{"", BadPixels::kNone, false, true},
                              {" some bad", BadPixels::kSome, false, true},
                              {" a bad frame", BadPixels::kOneFrame, false, true},
                              {" all bad", BadPixels::kAll, false, true},
                              {" dark", BadPixels::kSome, true, true},
                              {" no gradient", BadPixels::kSome, false, false}};
  for (const Variant& v : variants) {
    cases.push_back(
        {text("intensity_loss ", static_cast<int>(kind), v.name), [=](Backend& backend) {
           const Array measured = measured_counts(v.bad);
           Array predicted = random_array("loss predicted", kFrames, 0.1, 9);
           predicted.data<float>()[5] = measured.data<float>()[5];  // met exactly
           if (v.dark) std::fill_n(predicted.data<float>(), 10, 0.0F);
           Array sums = Array::host({3, 4}, DType::kF64);
           Array d = v.gradient ? Array::host(kFrames, DType::kF32) : Array();
           backend.intensity_loss(kind, predicted, measured, kFactor, sums, d);
           std::vector<Output> outputs{{sums, kPixels}};
           if (v.gradient) outputs.push_back({d});
           return outputs;
         }});
  }
}

void add_object_errors(OperationCases& cases) {
  for (const bool weighted : {false, true}) {
    for (const std::string wanted : {"amplitude phase", "amplitude", "phase", "none"}) {
      const std::string about = text(wanted, weighted ? " weighted" : "");
      const auto weight = [weighted] {
        return weighted ? random_array("error weight", {6, 5}, 0, 1) : Array();
      };
      const auto room = [wanted](const char* member) {
        return wanted.find(member) == std::string::npos ? Array()
                                                        : Array::host(kFrames, DType::kF32);
      };
      const auto patch = [] {
        return ExitWave{random_array("error amplitude", kFrames, -0.2, 1.2),
                        random_array("error phase", kFrames, -4, 4),
                        {}};
      };
      const auto outputs = [](const Array& sums, const ExitWave& d) {
        std::vector<Output> out{{sums, kPixels}};
        for (const Array& a : {d.amplitude, d.phase}) {
          if (!a.empty()) out.push_back({a, kPixels});  // the weights' sum is in them
        }
        return out;
      };
      cases.push_back({text("patch_error ", about), [=](Backend& backend) {
                         const ExitWave target{random_array("target amplitude", kFrames),
                                               random_array("target phase", kFrames),
                                               {}};
                         Array sums = Array::host({3, 2}, DType::kF64);
                         ExitWave d{room("amplitude"), room("phase"), {}};
                         backend.patch_error(patch(), target, weight(), kFactor, sums, d);
                         return outputs(sums, d);
                       }});
      cases.push_back({text("object_error ", about), [=](Backend& backend) {
                         const Array target = random_array("target object", {3, 6, 5, 2});
                         Array sums = Array::host({3}, DType::kF64);
                         ExitWave d{room("amplitude"), room("phase"), {}};
                         backend.object_error(patch(), target, weight(), kFactor, sums, d);
                         return outputs(sums, d);
                       }});
    }
  }
}

struct AdamVariant {
  std::string name;
  std::optional<LossScale> scaling = {};
  bool adapts = false;
  int infinite = -1;  // a step with a gradient that is not finite
};

// Three steps.
std::vector<Output> run_adam(Backend& backend, const AdamVariant& v) {
  std::vector<AdamTensor> tensors;
  for (const Shape& s : {Shape{16, 3, 3, 2}, Shape{7}, Shape{1}, Shape{2, 5}}) {
    tensors.push_back({random_array(to_string(s), s), Array::host(s, DType::kF32),
                       Array::zeros(s, DType::kF32), Array::zeros(s, DType::kF32)});
  }
  AdamOptions options;
  options.adapts_scale = v.adapts;
  Array state = Array::copy_of<double>({1e-2, 0}, {2});
  Array scaling;
  if (v.scaling) {
    scaling = Array::host({3}, DType::kF64);
    v.scaling->write(scaling.data<double>());
  }
  for (int step = 0; step < 3; ++step) {
    for (AdamTensor& t : tensors) {
      const Array gradient =
          random_array(text("step ", step, to_string(t.value.shape())), t.value.shape());
      const double scale = scaling.empty() ? 1 : scaling.data<double>()[0];
      for (std::int64_t i = 0; i < gradient.elements(); ++i) {
        t.gradient.data<float>()[i] = gradient.data<float>()[i] * static_cast<float>(scale);
      }
      t.gradient.data<float>()[0] = 0;  // some never have one
    }
    if (step == v.infinite) tensors[1].gradient.data<float>()[6] = INFINITY;
    backend.adam(options, tensors, state, scaling);
  }
  std::vector<Output> outputs{{state}};
  if (v.scaling) outputs.push_back({scaling});
  for (const AdamTensor& t : tensors) {
    for (const Array& a : {t.value, t.first_moment, t.second_moment}) {
      outputs.push_back({a, 3});  // a term of each step
    }
  }
  return outputs;
}

void add_adam(OperationCases& cases) {
  const LossScale grown{1024, LossScale::kPatience - 2, 5};
  for (const AdamVariant& v : {AdamVariant{"adam"},
                               {"adam, finite gradients", LossScale{}},
                               {"adam, a step left out", LossScale{}, false, 1},
                               {"adam, loss scale doubled", grown, true},
                               {"adam, loss scale halved", grown, true, 0}}) {
    cases.push_back({v.name, [v](Backend& backend) { return run_adam(backend, v); }});
  }
}

void add_multiply(OperationCases& cases) {
  cases.push_back({"multiply", [](Backend& backend) {
                     const Array x = random_array("factors", {3, 7, 5});
                     Array y = Array::host(x.shape(), DType::kF32);
                     backend.multiply(x, Array::copy_of<double>({2048}, {1}), y);
                     return std::vector<Output>{{y}};
                   }});
}

}  // namespace

void add_learning_cases(OperationCases& cases) {
  for (const IntensityLoss kind :
       {IntensityLoss::kL1, IntensityLoss::kAmplitude, IntensityLoss::kPoisson}) {
    add_intensity_losses(cases, kind);
  }
  add_object_errors(cases);
  add_adam(cases);
  add_multiply(cases);
  for (const double scale : {1.0, 0.0}) {  // all zeros stay what they are
    cases.push_back({text("keep_power ", scale), [scale](Backend& backend) {
                       Array x = random_array("power", {3, 8, 7, 2}, -scale, scale);
                       backend.keep_power(x, 12.5);
                       return std::vector<Output>{{x, x.elements()}};
                     }});
  }
}

}  // namespace ptynet::tests
