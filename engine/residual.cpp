#include "engine/residual.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ptynet {

namespace {

// The scale t that minimises sum |a - t b| is the median of a / b weighted by b. The median is
// found in a histogram of log2(a / b): 256 bins an octave are steps of 0.3 %, at a flat minimum.
constexpr double kBinsPerOctave = 256;
constexpr double kOctaves = 80;  // ratios from 2^-40 to 2^40
constexpr auto kBins = static_cast<std::size_t>(kBinsPerOctave * kOctaves);

std::size_t bin_of(double ratio) {
  if (!(ratio > 0)) return 0;
  const double bin = (std::log2(ratio) + kOctaves / 2) * kBinsPerOctave;
  return static_cast<std::size_t>(std::clamp(bin, 0.0, static_cast<double>(kBins - 1)));
}

double ratio_of(std::size_t bin) {
  return std::exp2((static_cast<double>(bin) + 0.5) / kBinsPerOctave - kOctaves / 2);
}

RSums sums_against(const float* prediction, const float* frame, std::int64_t pixels) {
  RSums sums;
  for (std::int64_t p = 0; p < pixels; ++p) {
    if (!(frame[p] >= 0)) continue;
    const double root = std::sqrt(double{frame[p]});
    sums.difference += std::abs(root - std::sqrt(double{prediction[p]}));
    sums.total += root;
  }
  return sums;
}

}  // namespace

double RSums::r() const {
  return total > 0 ? difference / total : std::numeric_limits<double>::quiet_NaN();
}

ResidualMeter::ResidualMeter(Context& context, const Array& probe)
    : context_(context), probe_(on_device(context, probe)) {}

std::vector<RSums> ResidualMeter::measure(const Array& object, const Array& frames) {
  if (object.shape() != frames.shape()) {
    fail_input("expected as many patches as frames, found ", describe(object), " and ",
               describe(frames));
  }
  const std::int64_t n = frames.shape()[0];
  Backend& backend = context_.backend();
  Array predicted = context_.allocate(frames.shape(), DType::kF32);
  backend.far_field_intensity(on_device(context_, object), probe_, predicted);
  Array sums = context_.allocate({n, 2}, DType::kF64);
  backend.r_factor_sums(predicted, on_device(context_, frames), sums);
  Array host = Array::host({n, 2}, DType::kF64);
  backend.copy(sums, host);
  backend.synchronize();
  std::vector<RSums> out;
  const auto* values = host.data<double>();
  for (std::int64_t i = 0; i < n; ++i) out.push_back({values[2 * i], values[2 * i + 1]});
  return out;
}

Baselines::Baselines(Context& context, std::int64_t h, std::int64_t w, const Array& probe)
    : context_(context),
      sum_(static_cast<std::size_t>(h * w)),
      count_(static_cast<std::size_t>(h * w)),
      mean_(Array::zeros({h, w}, DType::kF32)) {
  if (probe.empty()) return;
  Array flat_object = Array::host({1, h, w}, DType::kC64);
  std::fill_n(flat_object.data<std::complex<float>>(), h * w, std::complex<float>(1, 0));
  Array flat = context_.allocate({1, h, w}, DType::kF32);
  context_.backend().far_field_intensity(on_device(context_, flat_object),
                                         on_device(context_, probe), flat);
  flat_ = Array::host({h, w}, DType::kF32);
  context_.backend().copy(flat, flat_);
  context_.backend().synchronize();
  histogram_.resize(kBins);
}

void Baselines::add(const Array& frames) {
  const std::int64_t pixels = mean_.elements();
  const auto* values = frames.data<float>();
  const float* flat = flat_.empty() ? nullptr : flat_.data<float>();
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    if (!(values[i] >= 0)) continue;
    const auto p = static_cast<std::size_t>(i % pixels);
    sum_[p] += double{values[i]};
    ++count_[p];
    if (flat != nullptr && flat[p] > 0) {
      const double root = std::sqrt(double{flat[p]});
      histogram_[bin_of(std::sqrt(double{values[i]}) / root)] += root;
    }
  }
}

void Baselines::close() {
  closed_ = true;
  for (std::size_t p = 0; p < sum_.size(); ++p) {
    const double count = static_cast<double>(std::max<std::int64_t>(count_[p], 1));
    mean_.data<float>()[p] = static_cast<float>(sum_[p] / count);
  }
  if (flat_.empty()) return;
  double total = 0;
  for (const double weight : histogram_) total += weight;
  double below = 0;
  std::size_t median = 0;
  while (median + 1 < kBins && below + histogram_[median] < total / 2) below += histogram_[median++];
  const double scale = ratio_of(median);
  for (std::int64_t p = 0; p < flat_.elements(); ++p) {
    flat_.data<float>()[p] = static_cast<float>(double{flat_.data<float>()[p]} * scale * scale);
  }
}

double Baselines::mean_counts() const {
  double counts = 0;
  for (std::int64_t p = 0; p < mean_.elements(); ++p) counts += double{mean_.data<float>()[p]};
  return counts;
}

void Baselines::measure(const Array& frames) {
  if (!closed_) close();
  const std::int64_t pixels = mean_.elements();
  for (std::int64_t i = 0; i < frames.shape()[0]; ++i) {
    const float* frame = frames.data<float>() + i * pixels;
    mean_sums_ += sums_against(mean_.data<float>(), frame, pixels);
    if (has_flat()) flat_sums_ += sums_against(flat_.data<float>(), frame, pixels);
  }
}

}  // namespace ptynet
