#include "engine/residual.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <limits>

namespace ptynet {

namespace {

// The scale t that minimises sum |a - t b| is the median of a / b weighted by b. The median is
// found in a histogram of log2(a / b): 256 bins an octave are steps of 0.3 %, at a flat minimum.
constexpr double kBinsPerOctave = 256;
constexpr double kOctaves = 80;  // ratios from 2^-40 to 2^40
constexpr auto kBins = static_cast<std::size_t>(kBinsPerOctave * kOctaves);

constexpr std::int64_t kFramesOfHistogram = 512;

std::uint32_t bin_of(double log2_ratio) {
  const double bin = (log2_ratio + kOctaves / 2) * kBinsPerOctave;
  return static_cast<std::uint32_t>(std::clamp(bin, 0.0, static_cast<double>(kBins - 1)));
}

double ratio_of(std::size_t bin) {
  return std::exp2((static_cast<double>(bin) + 0.5) / kBinsPerOctave - kOctaves / 2);
}

RSums sums_against(const float* predicted_root, const float* frame, std::int64_t pixels) {
  RSums sums;
  for (std::int64_t p = 0; p < pixels; ++p) {
    if (!(frame[p] >= 0)) continue;
    const double root = std::sqrt(double{frame[p]});
    sums.difference += std::abs(root - double{predicted_root[p]});
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

Baselines::Baselines(Context& context, const Shape& frames, const Array& probe)
    : context_(context),
      every_(std::max<std::int64_t>(1, (frames[0] + kFramesOfHistogram - 1) / kFramesOfHistogram)),
      sum_(static_cast<std::size_t>(frames[1] * frames[2])),
      count_(sum_.size()),
      mean_(Array::zeros({frames[1], frames[2]}, DType::kF32)) {
  if (probe.empty()) return;
  const std::int64_t h = frames[1];
  const std::int64_t w = frames[2];
  Array flat_object = Array::host({1, h, w}, DType::kC64);
  std::fill_n(flat_object.data<std::complex<float>>(), h * w, std::complex<float>(1, 0));
  Array flat = context_.allocate({1, h, w}, DType::kF32);
  context_.backend().far_field_intensity(on_device(context_, flat_object),
                                         on_device(context_, probe), flat);
  flat_ = Array::host({h, w}, DType::kF32);
  context_.backend().copy(flat, flat_);
  context_.backend().synchronize();
  for (std::int64_t p = 0; p < h * w; ++p) {
    float& root = flat_.data<float>()[p];
    root = std::sqrt(root);
    flat_log2_.push_back(root > 0 ? std::log2(root) : 0.0F);
  }
  histogram_.resize(kBins);
}

void Baselines::add(const Array& frames) {
  const std::int64_t pixels = mean_.elements();
  const std::int64_t n = frames.shape()[0];
  const auto* values = frames.data<float>();
#pragma omp parallel for
  for (std::int64_t p = 0; p < pixels; ++p) {
    for (std::int64_t i = 0; i < n; ++i) {
      const float value = values[i * pixels + p];
      if (!(value >= 0)) continue;
      sum_[static_cast<std::size_t>(p)] += double{value};
      ++count_[static_cast<std::size_t>(p)];
    }
  }
  for (std::int64_t i = 0; i < n; ++i, ++added_) {
    if (!flat_.empty() && added_ % every_ == 0) add_to_histogram(values + i * pixels);
  }
}

// The bins are found by all threads, the weights added by one, in order.
void Baselines::add_to_histogram(const float* frame) {
  const std::int64_t pixels = flat_.elements();
  const float* flat = flat_.data<float>();
  std::vector<std::uint32_t> bins(static_cast<std::size_t>(pixels));
#pragma omp parallel for
  for (std::int64_t p = 0; p < pixels; ++p) {
    const auto i = static_cast<std::size_t>(p);
    const bool light = frame[p] > 0;
    bins[i] = light ? bin_of(0.5 * std::log2(double{frame[p]}) - double{flat_log2_[i]}) : 0;
  }
  for (std::int64_t p = 0; p < pixels; ++p) {
    if (!(frame[p] >= 0) || !(flat[p] > 0)) continue;
    histogram_[bins[static_cast<std::size_t>(p)]] += double{flat[p]};
  }
}

void Baselines::close() {
  closed_ = true;
  mean_root_ = Array::host(mean_.shape(), DType::kF32);
  for (std::size_t p = 0; p < sum_.size(); ++p) {
    const double mean = sum_[p] / static_cast<double>(std::max<std::int64_t>(count_[p], 1));
    mean_.data<float>()[p] = static_cast<float>(mean);
    mean_root_.data<float>()[p] = static_cast<float>(std::sqrt(mean));
  }
  if (flat_.empty()) return;
  double total = 0;
  for (const double weight : histogram_) total += weight;
  double below = 0;
  std::size_t median = 0;
  while (median + 1 < kBins && below + histogram_[median] < total / 2)
    below += histogram_[median++];
  const double scale = ratio_of(median);
  for (std::int64_t p = 0; p < flat_.elements(); ++p) {
    flat_.data<float>()[p] = static_cast<float>(double{flat_.data<float>()[p]} * scale);
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
  const std::int64_t n = frames.shape()[0];
  std::vector<std::array<RSums, 2>> sums(static_cast<std::size_t>(n));
#pragma omp parallel for
  for (std::int64_t i = 0; i < n; ++i) {
    const float* frame = frames.data<float>() + i * pixels;
    auto& [mean, flat] = sums[static_cast<std::size_t>(i)];
    mean = sums_against(mean_root_.data<float>(), frame, pixels);
    if (has_flat()) flat = sums_against(flat_.data<float>(), frame, pixels);
  }
  for (const auto& [mean, flat] : sums) {
    mean_sums_ += mean;
    flat_sums_ += flat;
    if (!(mean.total > 0)) ++frames_without_counts_;
  }
}

}  // namespace ptynet
