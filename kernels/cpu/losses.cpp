// Sums over frames are taken one frame per thread, so their order is that of the pixels.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/typed.h"
#include "kernels/phasor.h"

namespace ptynet::cpu {

namespace {

template <typename Body>
void with_loss(IntensityLoss kind, Body&& body) {
  switch (kind) {
    case IntensityLoss::kL1:
      return body(std::integral_constant<IntensityLoss, IntensityLoss::kL1>{});
    case IntensityLoss::kAmplitude:
      return body(std::integral_constant<IntensityLoss, IntensityLoss::kAmplitude>{});
    case IntensityLoss::kPoisson:
      return body(std::integral_constant<IntensityLoss, IntensityLoss::kPoisson>{});
  }
}

struct Frame {
  const float* predicted;
  const float* measured;
  std::int64_t pixels;
};

std::int64_t count_good(const Frame& frame) {
  std::int64_t good = 0;
#pragma omp simd reduction(+ : good)
  for (std::int64_t i = 0; i < frame.pixels; ++i) good += is_count(frame.measured[i]) ? 1 : 0;
  return good;
}

// Writes the loss and both sums of the R factor to sums[0], [2] and [3], and slope * scale to
// d_predicted where Wanted.
template <IntensityLoss Kind, bool Wanted>
void judge_frame(const Frame& frame, float scale, double* sums, float* d_predicted) {
  const float* model = frame.predicted;
  const float* data = frame.measured;
  double loss = 0;
  double difference = 0;
  double total = 0;
#pragma omp simd reduction(+ : loss, difference, total)
  for (std::int64_t i = 0; i < frame.pixels; ++i) {
    const JudgedPixel<float> pixel = judge_pixel(Kind, model[i], data[i]);
    loss += double{pixel.loss.value};
    difference += double{pixel.root_difference};
    total += double{pixel.root};
    if constexpr (Wanted) d_predicted[i] = pixel.good ? pixel.loss.slope * scale : 0.0F;
  }
  sums[0] = loss;
  sums[2] = difference;
  sums[3] = total;
}

// A weight for every pixel of a frame, ones without a map.
struct FrameWeights {
  const float* map;  // [h, w] or null
  std::int64_t pixels;

  double sum() const {
    if (map == nullptr) return static_cast<double>(pixels);
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = 0; i < pixels; ++i) total += double{map[i]};
    return total;
  }
};

// sum of weight * (value - target)^2, and its derivative times scale where wanted.
template <bool Weighted, bool Wanted>
double squared_error(const float* value, const float* target, const FrameWeights& weights,
                     float scale, float* d_value) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (std::int64_t i = 0; i < weights.pixels; ++i) {
    const float apart = value[i] - target[i];
    const float weighted = Weighted ? weights.map[i] * apart : apart;
    total += double{weighted * apart};
    if constexpr (Wanted) d_value[i] = 2.0F * scale * weighted;
  }
  return total;
}

double squared_error(const float* value, const float* target, const FrameWeights& weights,
                     float scale, float* d_value) {
  if (weights.map == nullptr) {
    return d_value == nullptr ? squared_error<false, false>(value, target, weights, scale, nullptr)
                              : squared_error<false, true>(value, target, weights, scale, d_value);
  }
  return d_value == nullptr ? squared_error<true, false>(value, target, weights, scale, nullptr)
                            : squared_error<true, true>(value, target, weights, scale, d_value);
}

// Of one frame, as amplitude, phase and a target of (re, im) pairs; derivatives may be null.
struct ObjectFrame {
  const float* amplitude;
  const float* phase;
  const float* target;
  float* d_amplitude;
  float* d_phase;

  // sum of weight * |amplitude exp(i phase) - target|^2, and its derivatives times scale.
  template <bool Weighted, bool Amplitude, bool Phase>
  double error(const FrameWeights& weights, float scale) const {
    const float* a = amplitude;
    const float* angle = phase;
    const float* aim = target;
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = 0; i < weights.pixels; ++i) {
      const UnitPhasor u = unit_phasor(angle[i]);
      const float re = a[i] * u.cosine - aim[2 * i];
      const float im = a[i] * u.sine - aim[2 * i + 1];
      const float weight = Weighted ? weights.map[i] : 1.0F;
      const float gain = 2.0F * scale * weight;
      const PolarSlopes slopes = polar_slopes(a[i], u, re, im);
      total += double{weight * (re * re + im * im)};
      if constexpr (Amplitude) d_amplitude[i] = gain * slopes.amplitude;
      if constexpr (Phase) d_phase[i] = gain * slopes.phase;
    }
    return total;
  }

  template <bool Weighted>
  double error(const FrameWeights& weights, float scale) const {
    if (d_amplitude != nullptr) {
      return d_phase != nullptr ? error<Weighted, true, true>(weights, scale)
                                : error<Weighted, true, false>(weights, scale);
    }
    return d_phase != nullptr ? error<Weighted, false, true>(weights, scale)
                              : error<Weighted, false, false>(weights, scale);
  }
};

template <typename T>
T* at_frame(T* data, std::int64_t offset) {
  return data == nullptr ? nullptr : data + offset;
}

}  // namespace

void CpuBackend::intensity_loss(IntensityLoss kind, const Array& predicted, const Array& measured,
                                double factor, Array& sums, Array& d_predicted) {
  const std::int64_t n = measured.shape()[0];
  const std::int64_t pixels = measured.shape()[1] * measured.shape()[2];
  with_loss(kind, [&](auto fixed) {
    constexpr IntensityLoss kKind = decltype(fixed)::value;
    submit("intensity_loss", measured,
           [=, model = predicted.data<float>(), data = measured.data<float>(),
            out = sums.data<double>(), slopes = data_or_null<float>(d_predicted)] {
             const auto frame = [=](std::int64_t i) {
               return Frame{model + i * pixels, data + i * pixels, pixels};
             };
#pragma omp parallel for
             for (std::int64_t i = 0; i < n; ++i) {
               out[4 * i + 1] = static_cast<double>(count_good(frame(i)));
             }
             double good = 0;
             for (std::int64_t i = 0; i < n; ++i) good += out[4 * i + 1];
             const auto scale = static_cast<float>(factor / std::max(good, 1.0));
#pragma omp parallel for
             for (std::int64_t i = 0; i < n; ++i) {
               if (slopes == nullptr) {
                 judge_frame<kKind, false>(frame(i), scale, out + 4 * i, nullptr);
               } else {
                 judge_frame<kKind, true>(frame(i), scale, out + 4 * i, slopes + i * pixels);
               }
             }
           });
  });
}

void CpuBackend::patch_error(const ExitWave& patch, const ExitWave& target, const Array& weight,
                             double factor, Array& sums, ExitWave& d) {
  const Shape& s = patch.amplitude.shape();
  const FrameWeights weights{data_or_null<float>(weight), s[1] * s[2]};
  submit("patch_error", patch.amplitude,
         [=, n = s[0], a = patch.amplitude.data<float>(), p = patch.phase.data<float>(),
          a_target = target.amplitude.data<float>(), p_target = target.phase.data<float>(),
          out = sums.data<double>(), da = data_or_null<float>(d.amplitude),
          dp = data_or_null<float>(d.phase)] {
           const double total = weights.sum();
           const auto scale = static_cast<float>(factor / (static_cast<double>(n) * total));
#pragma omp parallel for
           for (std::int64_t i = 0; i < n; ++i) {
             const std::int64_t at = i * weights.pixels;
             out[2 * i] =
                 squared_error(a + at, a_target + at, weights, scale, at_frame(da, at)) / total;
             out[2 * i + 1] =
                 squared_error(p + at, p_target + at, weights, scale, at_frame(dp, at)) / total;
           }
         });
}

void CpuBackend::object_error(const ExitWave& patch, const Array& target, const Array& weight,
                              double factor, Array& sums, ExitWave& d) {
  const Shape& s = patch.amplitude.shape();
  const FrameWeights weights{data_or_null<float>(weight), s[1] * s[2]};
  submit(
      "object_error", patch.amplitude,
      [=, n = s[0], a = patch.amplitude.data<float>(), p = patch.phase.data<float>(),
       aim = target.data<float>(), out = sums.data<double>(), da = data_or_null<float>(d.amplitude),
       dp = data_or_null<float>(d.phase)] {
        const double total = weights.sum();
        const auto scale = static_cast<float>(factor / (static_cast<double>(n) * total));
#pragma omp parallel for
        for (std::int64_t i = 0; i < n; ++i) {
          const std::int64_t at = i * weights.pixels;
          const ObjectFrame frame{a + at, p + at, aim + 2 * at, at_frame(da, at), at_frame(dp, at)};
          const double error = weights.map != nullptr ? frame.error<true>(weights, scale)
                                                      : frame.error<false>(weights, scale);
          out[i] = error / total;
        }
      });
}

}  // namespace ptynet::cpu
