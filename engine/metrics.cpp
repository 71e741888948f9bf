#include "engine/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/cpu/fft.h"
#include "kernels/error.h"

namespace ptynet {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

bool finite(double value) { return std::isfinite(value); }
bool finite(const std::complex<double>& value) {
  return std::isfinite(value.real()) && std::isfinite(value.imag());
}

template <typename T>
void check_image(const Image<T>& image, const char* name) {
  if (image.rows < 1 || image.columns < 1 ||
      static_cast<std::int64_t>(image.pixels.size()) != image.rows * image.columns) {
    fail_input("expected an image of at least one pixel, found ", image.pixels.size(),
               " values for ", image.rows, " x ", image.columns, " in the ", name);
  }
  const auto bad = std::find_if(image.pixels.begin(), image.pixels.end(),
                                [](const T& value) { return !finite(value); });
  if (bad != image.pixels.end()) {
    const auto at = bad - image.pixels.begin();
    fail_input("expected finite values, found NaN or infinity at row ", at / image.columns,
               ", column ", at % image.columns, " of the ", name);
  }
}

template <typename T>
void check_pair(const Image<T>& a, const Image<T>& b) {
  check_image(a, "result");
  check_image(b, "truth");
  if (a.rows != b.rows || a.columns != b.columns) {
    fail_input("expected two images of the same shape, found ", a.rows, " x ", a.columns, " and ",
               b.rows, " x ", b.columns);
  }
}

// A sum over the image, row by row, so that rounding grows with rows + columns and not with their
// product.
template <typename Term>
auto sum_over(std::int64_t rows, std::int64_t columns, const Term& term) {
  decltype(term(0, 0)) total{};
  for (std::int64_t r = 0; r < rows; ++r) {
    decltype(term(0, 0)) row{};
    for (std::int64_t c = 0; c < columns; ++c) row += term(r, c);
    total += row;
  }
  return total;
}

double mean_square_difference(const RealImage& a, const RealImage& b) {
  const double sum = sum_over(a.rows, a.columns, [&](std::int64_t r, std::int64_t c) {
    const double difference = a.at(r, c) - b.at(r, c);
    return difference * difference;
  });
  return sum / static_cast<double>(a.pixels.size());
}

struct Range {
  double low;
  double high;
};
Range range_of(const RealImage& image) {
  const auto [low, high] = std::minmax_element(image.pixels.begin(), image.pixels.end());
  return {*low, *high};
}

RealImage stretched_to_255(const RealImage& image) {
  const auto [low, high] = range_of(image);
  RealImage out = image;
  for (double& value : out.pixels) value = std::ceil(255 * (value - low) / (high - low));
  return out;
}

RealImage divided_by(const RealImage& image, double divisor) {
  RealImage out = image;
  for (double& value : out.pixels) value /= divisor;
  return out;
}

constexpr std::int64_t kRadius = 5;  // of the 11 x 11 window

// The Gaussian window along both axes where it lies wholly inside: [rows - 10, columns - 10].
class Window {
 public:
  explicit Window(double sigma_px) {
    for (std::int64_t t = 0; t <= kRadius; ++t) {
      half_[static_cast<std::size_t>(t)] =
          std::exp(-static_cast<double>(t * t) / (2 * sigma_px * sigma_px));
    }
    const double sum = half_[0] + 2 * std::accumulate(half_.begin() + 1, half_.end(), 0.0);
    for (double& weight : half_) weight /= sum;
  }

  template <typename Pixel>  // Pixel(r, c): a value of the [rows, columns] image
  RealImage mean(std::int64_t rows, std::int64_t columns, const Pixel& pixel) const {
    RealImage down{rows - 2 * kRadius, columns, {}};
    down.pixels.resize(static_cast<std::size_t>(down.rows * down.columns));
    for (std::int64_t r = 0; r < down.rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        down.at(r, c) = weighted([&](std::int64_t t) { return pixel(r + kRadius + t, c); });
      }
    }
    RealImage out{down.rows, columns - 2 * kRadius, {}};
    out.pixels.resize(static_cast<std::size_t>(out.rows * out.columns));
    for (std::int64_t r = 0; r < out.rows; ++r) {
      for (std::int64_t c = 0; c < out.columns; ++c) {
        out.at(r, c) = weighted([&](std::int64_t t) { return down.at(r, c + kRadius + t); });
      }
    }
    return out;
  }

 private:
  template <typename Value>
  double weighted(const Value& value) const {
    double sum = half_[0] * value(0);
    for (std::int64_t t = 1; t <= kRadius; ++t) {
      sum += half_[static_cast<std::size_t>(t)] * (value(-t) + value(t));
    }
    return sum;
  }

  std::array<double, kRadius + 1> half_{};  // weights at distance 0, 1, ... of the centre
};

ComplexImage spectrum(const ComplexImage& image, std::int64_t n) {
  ComplexImage square{n, n, std::vector<std::complex<double>>(static_cast<std::size_t>(n * n))};
  for (std::int64_t r = 0; r < n; ++r) {
    for (std::int64_t c = 0; c < n; ++c) square.at(r, c) = image.at(r, c);
  }
  Fft2<double>(n, n, FftDirection::kForward).run(square.pixels.data(), square.pixels.data());
  return square;
}

// The factor of modulus 1 that brings the result's phase nearest to the truth's; NaN of an object
// that is zero.
std::complex<double> best_turn(const ComplexImage& result, const ComplexImage& truth) {
  const std::complex<double> overlap = sum_over(
      result.rows, result.columns,
      [&](std::int64_t r, std::int64_t c) { return std::conj(truth.at(r, c)) * result.at(r, c); });
  const double length = std::abs(overlap);
  if (!(length > 0)) return {kUndefined, kUndefined};
  return std::conj(overlap / length);
}

// The factor that brings the result's amplitude nearest to the truth's; 0/0 of an object that is
// zero: NaN.
double best_scale(const ComplexImage& result, const ComplexImage& truth) {
  const auto a = [&](std::int64_t r, std::int64_t c) { return std::abs(result.at(r, c)); };
  const auto b = [&](std::int64_t r, std::int64_t c) { return std::abs(truth.at(r, c)); };
  const std::int64_t rows = result.rows, columns = result.columns;
  const double ab = sum_over(rows, columns, [&](auto r, auto c) { return a(r, c) * b(r, c); });
  const double aa = sum_over(rows, columns, [&](auto r, auto c) { return a(r, c) * a(r, c); });
  return ab / aa;
}

}  // namespace

double psnr_db(const RealImage& a, const RealImage& b, double data_range) {
  check_pair(a, b);
  return 10 * std::log10(data_range * data_range / mean_square_difference(a, b));
}

double ssim(const RealImage& a, const RealImage& b, double data_range, double sigma_px) {
  check_pair(a, b);
  if (a.rows <= 2 * kRadius || a.columns <= 2 * kRadius) return kUndefined;
  const double c1 = std::pow(0.01 * data_range, 2), c2 = std::pow(0.03 * data_range, 2);
  const Window window(sigma_px);
  const auto mean = [&](const RealImage& x, const RealImage* y) {
    return window.mean(x.rows, x.columns, [&](std::int64_t r, std::int64_t c) {
      return y == nullptr ? x.at(r, c) : x.at(r, c) * y->at(r, c);
    });
  };
  const RealImage mean_a = mean(a, nullptr), mean_b = mean(b, nullptr);
  const RealImage mean_aa = mean(a, &a), mean_bb = mean(b, &b), mean_ab = mean(a, &b);
  const double sum = sum_over(mean_a.rows, mean_a.columns, [&](std::int64_t r, std::int64_t c) {
    const double ma = mean_a.at(r, c), mb = mean_b.at(r, c);
    const double va = mean_aa.at(r, c) - ma * ma, vb = mean_bb.at(r, c) - mb * mb;
    const double covariance = mean_ab.at(r, c) - ma * mb;
    return (2 * ma * mb + c1) * (2 * covariance + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
  });
  return sum / static_cast<double>(mean_a.pixels.size());
}

ImageScores paper_scores(const RealImage& result, const RealImage& truth) {
  check_pair(result, truth);
  const Range of_result = range_of(result), of_truth = range_of(truth);
  ImageScores scores{kUndefined, kUndefined, kUndefined};
  if (of_result.high != 0 && of_truth.high != 0) {
    scores.mse = mean_square_difference(divided_by(result, of_result.high),
                                        divided_by(truth, of_truth.high));
  }
  if (of_result.low == of_result.high || of_truth.low == of_truth.high) return scores;
  const RealImage r = stretched_to_255(result), t = stretched_to_255(truth);
  scores.psnr_db = psnr_db(r, t, 255);
  scores.ssim = ssim(r, t, 255, 0.5);
  return scores;
}

ImageScores standard_scores(const RealImage& result, const RealImage& truth) {
  check_pair(result, truth);
  const auto [low, high] = range_of(truth);
  const double mse = mean_square_difference(result, truth);
  if (low == high) return {kUndefined, kUndefined, mse};
  return {psnr_db(result, truth, high - low), ssim(result, truth, high - low, 1.5), mse};
}

RealImage phase_error_rad(const ComplexImage& result, const ComplexImage& truth) {
  check_pair(result, truth);
  const std::complex<double> back = best_turn(result, truth);
  RealImage error{result.rows, result.columns, std::vector<double>(result.pixels.size())};
  for (std::size_t i = 0; i < error.pixels.size(); ++i) {
    error.pixels[i] = std::arg(result.pixels[i] * std::conj(truth.pixels[i]) * back);
  }
  return error;
}

PhysicalScores physical_scores(const ComplexImage& result, const ComplexImage& truth) {
  const RealImage error = phase_error_rad(result, truth);
  const double scale = best_scale(result, truth);
  const std::int64_t rows = result.rows, columns = result.columns;
  const auto n = static_cast<double>(result.pixels.size());
  const double phase_square =
      sum_over(rows, columns, [&](auto r, auto c) { return error.at(r, c) * error.at(r, c); });
  const double amplitude_square = sum_over(rows, columns, [&](auto r, auto c) {
    const double difference = scale * std::abs(result.at(r, c)) - std::abs(truth.at(r, c));
    return difference * difference;
  });
  return {std::sqrt(phase_square / n), std::sqrt(amplitude_square / n)};
}

ComplexImage matched(ComplexImage result, const ComplexImage& truth) {
  check_pair(result, truth);
  const std::complex<double> turn = best_turn(result, truth);
  const double scale = best_scale(result, truth);
  const std::complex<double> factor =
      (finite(turn) ? turn : std::complex<double>(1)) * (scale > 0 ? scale : 1.0);
  for (std::complex<double>& pixel : result.pixels) pixel *= factor;
  return result;
}

RingCorrelation ring_correlation(const ComplexImage& a, const ComplexImage& b) {
  check_pair(a, b);
  const std::int64_t n = std::min(a.rows, a.columns);
  const auto rings = static_cast<std::size_t>(n / 2 + 1);
  const ComplexImage fa = spectrum(a, n), fb = spectrum(b, n);
  std::vector<double> cross(rings), power_a(rings), power_b(rings);
  RingCorrelation curve;
  curve.ring_size.resize(rings);
  // Signed frequency of index i, zero frequency at index 0: ..., -1, 0, 1, ..., as fftshift has it.
  const auto frequency = [n](std::int64_t i) { return i < n - n / 2 ? i : i - n; };
  for (std::int64_t r = 0; r < n; ++r) {
    for (std::int64_t c = 0; c < n; ++c) {
      const double radius =
          std::hypot(static_cast<double>(frequency(r)), static_cast<double>(frequency(c)));
      const auto ring = static_cast<std::size_t>(std::lrint(radius));
      if (ring >= rings) continue;
      cross[ring] += (fa.at(r, c) * std::conj(fb.at(r, c))).real();
      power_a[ring] += std::norm(fa.at(r, c));
      power_b[ring] += std::norm(fb.at(r, c));
      ++curve.ring_size[ring];
    }
  }
  for (std::size_t ring = 0; ring < rings; ++ring) {
    const double power = std::sqrt(power_a[ring] * power_b[ring]);
    curve.frequency.push_back(static_cast<double>(ring) / static_cast<double>(n));
    curve.correlation.push_back(cross[ring] / std::max(power, 1e-30));
  }
  return curve;
}

double ring_threshold(RingCriterion criterion, std::int64_t ring_size) {
  switch (criterion) {
    case RingCriterion::kFixed0143:
      return 0.143;
    case RingCriterion::kFixed05:
      return 0.5;
    case RingCriterion::kHalfBit: {
      // Half a bit of information per Fourier pixel: a signal-to-noise ratio of sqrt(2) - 1 in
      // the sum of the two images, half of that in each.
      const double snr = (std::sqrt(2.0) - 1) / 2;
      const double root = std::sqrt(static_cast<double>(std::max<std::int64_t>(ring_size, 1)));
      const double s = 2 * std::sqrt(snr) / root;
      return (snr + s + 1 / root) / (snr + 1 + s);
    }
  }
  return kUndefined;
}

double ring_crossing(const RingCorrelation& curve, RingCriterion criterion) {
  double before = 0;
  for (std::size_t ring = 1; ring < curve.frequency.size(); ++ring) {
    const double above = curve.correlation[ring] - ring_threshold(criterion, curve.ring_size[ring]);
    if (above < 0) {
      if (ring == 1) return curve.frequency[1];
      const double step = curve.frequency[ring] - curve.frequency[ring - 1];
      return curve.frequency[ring - 1] + step * before / (before - above);
    }
    before = above;
  }
  return kUndefined;
}

}  // namespace ptynet
