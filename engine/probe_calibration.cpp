#include "engine/probe_calibration.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>

#include "engine/training_frames.h"
#include "kernels/math.h"

namespace ptynet {

namespace {

using Complex = std::complex<float>;

constexpr double kBrightestShare = 0.01;
constexpr double kCountsRatio = 20;

std::vector<double> intensity_of(const Array& probe) {
  const std::int64_t pixels = probe.shape()[1] * probe.shape()[2];
  std::vector<double> out(static_cast<std::size_t>(pixels));
  const auto* values = probe.data<Complex>();
  for (std::int64_t i = 0; i < probe.elements(); ++i) {
    out[static_cast<std::size_t>(i % pixels)] += std::norm(std::complex<double>(values[i]));
  }
  return out;
}

// f32 [n, h, w] on the host.
Array far_field(Context& context, const Array& object, const Array& probe) {
  Array intensity = context.allocate(object.shape(), DType::kF32);
  context.backend().far_field_intensity(object, on_device(context, probe), intensity);
  Array host = Array::host(object.shape(), DType::kF32);
  context.backend().copy(intensity, host);
  context.backend().synchronize();
  return host;
}

}  // namespace

Array within_support(const Array& probe, double fraction) {
  if (!(fraction > 0 && fraction < 1)) {
    fail_input("the support is where the probe's intensity reaches a share of its maximum between ",
               "0 and 1, found ", fraction);
  }
  const std::vector<double> intensity = intensity_of(probe);
  const double least = fraction * *std::max_element(intensity.begin(), intensity.end());
  Array out = probe.clone();
  auto* values = out.data<Complex>();
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    if (intensity[static_cast<std::size_t>(i) % intensity.size()] < least) values[i] = Complex();
  }
  return out;
}

double probe_power(const Array& probe) {
  const std::vector<double> intensity = intensity_of(probe);
  return std::accumulate(intensity.begin(), intensity.end(), 0.0);
}

Array scaled_probe(const Array& probe, double factor) {
  Array out = probe.clone();
  auto* values = out.data<Complex>();
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    values[i] = Complex(std::complex<double>(values[i]) * factor);
  }
  return out;
}

Array probe_weight(const Array& probe) {
  const std::vector<double> intensity = intensity_of(probe);
  const double most = *std::max_element(intensity.begin(), intensity.end());
  Array out = Array::host({probe.shape()[1], probe.shape()[2]}, DType::kF32);
  std::transform(intensity.begin(), intensity.end(), out.data<float>(),
                 [most](double v) { return static_cast<float>(v / most); });
  return out;
}

double scale_to_counts(Context& context, const Array& probe, const Array& frames) {
  const Shape one{1, frames.shape()[1], frames.shape()[2]};
  Array flat = Array::host(one, DType::kC64);
  std::fill_n(flat.data<Complex>(), flat.elements(), Complex(1, 0));
  const Array greatest = far_field(context, on_device(context, flat), probe);
  double measured = 0;
  double possible = 0;
  const auto* values = frames.data<float>();
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    if (!is_count(values[i])) continue;
    measured += double{values[i]};
    possible += double{greatest.data<float>()[i % greatest.elements()]};
  }
  if (!(measured > 0) || !(possible > 0)) {
    fail_input("the probe cannot be scaled to ", measured, " counts: its far field has ", possible,
               " where pixels are good");
  }
  return std::sqrt(measured / possible);
}

std::vector<std::int64_t> brightest_frames(const Array& frames) {
  const std::vector<double> counts = counts_of_frames(frames);
  std::vector<std::int64_t> order(counts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&counts](std::int64_t a, std::int64_t b) {
    return counts[static_cast<std::size_t>(a)] > counts[static_cast<std::size_t>(b)];
  });
  const auto n =
      static_cast<std::size_t>(std::ceil(kBrightestShare * static_cast<double>(order.size())));
  order.resize(std::max<std::size_t>(n, 1));
  return order;
}

ScaleToPrediction::ScaleToPrediction(Context& context, const Array& probe)
    : context_(context), probe_(probe) {}

void ScaleToPrediction::add(const Array& amplitude, const Array& phase, const Array& frames) {
  Array object = context_.allocate(frames.shape(), DType::kC64);
  context_.backend().compose_object(on_device(context_, amplitude), on_device(context_, phase),
                                    object);
  const Array predicted = far_field(context_, object, probe_);
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    const double measured{frames.data<float>()[i]};
    const double p{predicted.data<float>()[i]};
    if (!is_count(frames.data<float>()[i])) continue;
    product_ += std::sqrt(measured * p);
    predicted_ += p;
  }
}

double ScaleToPrediction::scale() const {
  const double scale = product_ / predicted_;
  if (!(scale > 0) || !std::isfinite(scale)) {
    fail_input("the probe cannot be scaled by the network's prediction, which has ", predicted_,
               " counts where pixels are good");
  }
  return scale;
}

std::optional<std::string> warning_about_counts(const Array& probe, const Array& frames) {
  const std::vector<double> counts = counts_of_frames(frames);
  const double measured = *std::max_element(counts.begin(), counts.end());
  const double possible =
      probe_power(probe) * static_cast<double>(probe.shape()[1] * probe.shape()[2]);
  if (measured <= kCountsRatio * possible && possible <= kCountsRatio * measured) return {};
  return text("the brightest frame has ", measured, " counts, this probe gives ", possible,
              " behind an object of amplitude 1: check the probe's scale (--probe-norm,",
              " --calibrate-probe)");
}

}  // namespace ptynet
