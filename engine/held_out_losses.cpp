#include "engine/held_out_losses.h"

namespace ptynet {

namespace {

// Mean squared error of [n, h, w] values, weighted by [h, w] or not (empty); `found` empty: of the
// target's own mean.
double mean_square(const Array& found, const Array& target, const Array& weight) {
  const std::int64_t pixels = target.shape()[1] * target.shape()[2];
  const auto* t = target.data<float>();
  const auto weighted_mean = [&](auto&& value) {
    double sum = 0;
    double total = 0;
    for (std::int64_t k = 0; k < target.elements(); ++k) {
      const double w = weight.empty() ? 1.0 : double{weight.data<float>()[k % pixels]};
      sum += w * value(k);
      total += w;
    }
    return sum / total;
  };
  const double mean =
      found.empty() ? weighted_mean([&](std::int64_t k) { return double{t[k]}; }) : 0;
  return weighted_mean([&](std::int64_t k) {
    const double from = found.empty() ? mean : double{found.data<float>()[k]};
    return (from - double{t[k]}) * (from - double{t[k]});
  });
}

}  // namespace

HeldOutLosses held_out_losses(Trainer& trainer, const Patterns& patterns, const Array& intensity) {
  HeldOutLosses out;
  const Shape& shape = patterns.frames.shape();
  out.patterns = shape[0];
  Array amplitude = Array::host(shape, DType::kF32);
  Array phase = Array::host(shape, DType::kF32);
  trainer.predict(patterns.frames, amplitude, phase);
  const auto losses = [&patterns](const Array& a, const Array& p, const Array& weight) {
    return PatchLosses{mean_square(a, patterns.amplitude, weight),
                       mean_square(p, patterns.phase, weight)};
  };
  out.plain = losses(amplitude, phase, {});
  out.weighted = losses(amplitude, phase, intensity);
  out.mean_plain = losses({}, {}, {});
  out.mean_weighted = losses({}, {}, intensity);
  return out;
}

}  // namespace ptynet
