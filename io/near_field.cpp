#include "io/near_field.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ptynet::io {

namespace {

constexpr std::size_t kSample = 512;        // positions looked at, spread over the scan
constexpr std::size_t kPairs = 48;          // of them, those whose frames are looked at
constexpr std::int64_t kThumbnail = 128;    // px, at most, of a side
constexpr double kLit = 0.2;                // of the brightest mean amplitude
constexpr std::int64_t kFewestLit = 256;    // thumbnail pixels that can show a shadow
constexpr double kLeastShift = 2;           // thumbnail pixels; less may be a drift of the beam
constexpr double kShadowCorrelation = 0.4;  // PETRA III's file has 0.66, unrelated frames 0.1

// Two frames at neighbouring places.
struct Pair {
  std::size_t a = 0;
  std::size_t b = 0;
  double distance_m = 0;
};

std::vector<Pair> neighbours(const std::vector<Position>& positions) {
  const std::size_t stride = std::max<std::size_t>(1, positions.size() / kSample);
  std::vector<Pair> out;
  for (std::size_t a = 0; a < positions.size(); a += stride) {
    Pair best{a, a, std::numeric_limits<double>::infinity()};
    for (std::size_t b = 0; b < positions.size(); ++b) {
      const double distance = std::hypot(positions[b].row - positions[a].row,
                                         positions[b].column - positions[a].column);
      if (distance > 0 && distance < best.distance_m) best = {a, b, distance};
    }
    if (std::isfinite(best.distance_m)) out.push_back(best);
  }
  return out;
}

double median_distance(std::vector<Pair> pairs) {
  if (pairs.empty()) return 0;
  const auto middle = pairs.begin() + static_cast<std::ptrdiff_t>(pairs.size() / 2);
  std::nth_element(pairs.begin(), middle, pairs.end(),
                   [](const Pair& x, const Pair& y) { return x.distance_m < y.distance_m; });
  return middle->distance_m;
}

// Square roots of frames, summed over blocks of pixels.
class Thumbnails {
 public:
  explicit Thumbnails(ScanFile& scan)
      : scan_(scan),
        block_((std::max(scan.frames->height(), scan.frames->width()) + kThumbnail - 1) /
               kThumbnail),
        height_(scan.frames->height() / block_),
        width_(scan.frames->width() / block_) {}

  std::int64_t block() const { return block_; }
  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  std::int64_t pixels() const { return height_ * width_; }

  std::vector<float> read(std::size_t frame) const {
    const Array stored = scan_.frames->read(static_cast<std::int64_t>(frame), 1);
    switch (stored.dtype()) {
      case DType::kU8:
        return shrink(stored.data<std::uint8_t>());
      case DType::kU16:
        return shrink(stored.data<std::uint16_t>());
      case DType::kU32:
        return shrink(stored.data<std::uint32_t>());
      case DType::kI32:
        return shrink(stored.data<std::int32_t>());
      default:
        return shrink(stored.data<float>());
    }
  }

 private:
  template <typename T>
  std::vector<float> shrink(const T* from) const {
    const std::int64_t height = scan_.frames->height();
    const std::int64_t width = scan_.frames->width();
    const bool corner = scan_.zero_frequency == ZeroFrequency::kCorner;
    std::vector<float> out(static_cast<std::size_t>(pixels()));
    for (std::int64_t row = 0; row < height_ * block_; ++row) {
      const std::int64_t r = corner ? (row + (height + 1) / 2) % height : row;
      for (std::int64_t column = 0; column < width_ * block_; ++column) {
        const std::int64_t c = corner ? (column + (width + 1) / 2) % width : column;
        const auto value = static_cast<float>(from[r * width + c]);
        if (!(value > 0) || std::isinf(value)) continue;  // negative and NaN: no counts
        const float amplitude = scan_.quantity == Quantity::kAmplitude ? value : std::sqrt(value);
        out[static_cast<std::size_t>(row / block_ * width_ + column / block_)] += amplitude;
      }
    }
    return out;
  }

  ScanFile& scan_;
  std::int64_t block_;
  std::int64_t height_;
  std::int64_t width_;
};

// What differs from frame to frame, where there is light: a / mean - 1, without its own mean.
struct Shadows {
  std::vector<std::uint8_t> lit;
  std::int64_t lit_pixels = 0;
  std::vector<std::vector<float>> a;  // of each pair's frames
  std::vector<std::vector<float>> b;
};

void normalise(const std::vector<float>& mean, const std::vector<std::uint8_t>& lit,
               std::int64_t lit_pixels, std::vector<float>& frame) {
  double sum = 0;
  for (std::size_t k = 0; k < frame.size(); ++k) {
    frame[k] = lit[k] != 0 ? frame[k] / mean[k] - 1 : 0;
    sum += static_cast<double>(frame[k]);
  }
  const auto level = static_cast<float>(sum / static_cast<double>(lit_pixels));
  for (std::size_t k = 0; k < frame.size(); ++k) frame[k] -= lit[k] != 0 ? level : 0;
}

Shadows read_shadows(const Thumbnails& thumbnails, const std::vector<Pair>& pairs) {
  Shadows out;
  std::vector<float> mean(static_cast<std::size_t>(thumbnails.pixels()));
  const auto read = [&](std::size_t frame, std::vector<std::vector<float>>& to) {
    to.push_back(thumbnails.read(frame));
    for (std::size_t k = 0; k < mean.size(); ++k) {
      mean[k] += to.back()[k] / static_cast<float>(2 * pairs.size());
    }
  };
  for (const Pair& pair : pairs) {
    read(pair.a, out.a);
    read(pair.b, out.b);
  }
  // Not the very largest, which a faulty pixel may have.
  std::vector<float> sorted = mean;
  const auto bright = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() * 199 / 200);
  std::nth_element(sorted.begin(), bright, sorted.end());
  for (const float value : mean) {
    out.lit.push_back(static_cast<double>(value) > kLit * static_cast<double>(*bright) ? 1 : 0);
    out.lit_pixels += out.lit.back();
  }
  for (auto* frames : {&out.a, &out.b}) {
    for (auto& frame : *frames) normalise(mean, out.lit, out.lit_pixels, frame);
  }
  return out;
}

// Sums of products of two frames, the second one moved, over pixels lit in both.
struct Products {
  double aa = 0;
  double ab = 0;
  double bb = 0;
  std::int64_t pixels = 0;
};

Products compare(const Shadows& shadows, std::size_t pair, const Thumbnails& size,
                 std::array<std::int64_t, 2> shift) {
  Products out;
  const std::int64_t first_row = std::max<std::int64_t>(0, -shift[0]);
  const std::int64_t end_row = std::min(size.height(), size.height() - shift[0]);
  const std::int64_t first_column = std::max<std::int64_t>(0, -shift[1]);
  const std::int64_t end_column = std::min(size.width(), size.width() - shift[1]);
  for (std::int64_t row = first_row; row < end_row; ++row) {
    for (std::int64_t column = first_column; column < end_column; ++column) {
      const auto k = static_cast<std::size_t>(row * size.width() + column);
      const auto moved =
          static_cast<std::size_t>((row + shift[0]) * size.width() + column + shift[1]);
      if (shadows.lit[k] == 0 || shadows.lit[moved] == 0) continue;
      const double a = static_cast<double>(shadows.a[pair][k]);
      const double b = static_cast<double>(shadows.b[pair][moved]);
      out.aa += a * a;
      out.ab += a * b;
      out.bb += b * b;
      ++out.pixels;
    }
  }
  return out;
}

// Correlation of all pairs, were the frames shadows `magnification` times as large as the sample.
double shadow_correlation(const Shadows& shadows, const std::vector<Pair>& pairs,
                          const ScanFile& scan, const Thumbnails& size, double magnification) {
  Products sum;
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    const Position& a = scan.positions[pairs[k].a];
    const Position& b = scan.positions[pairs[k].b];
    const double pixels_per_m = magnification / static_cast<double>(size.block());
    const Products one =
        compare(shadows, k, size,
                {std::llround((b.row - a.row) * pixels_per_m / (*scan.detector_pixel_m)[0]),
                 std::llround((b.column - a.column) * pixels_per_m / (*scan.detector_pixel_m)[1])});
    if (one.pixels < shadows.lit_pixels / 4) continue;
    sum.aa += one.aa;
    sum.ab += one.ab;
    sum.bb += one.bb;
  }
  return sum.ab / std::sqrt(std::max(sum.aa * sum.bb, std::numeric_limits<double>::min()));
}

struct Shadow {
  double correlation = 0;
  double magnification = 0;
  double beam_m = 0;  // width on the sample
};

// The best magnification that makes neighbouring frames one moving shadow, of those that make the
// beam wider than `field_m`.
Shadow find_shadow(ScanFile& scan, std::vector<Pair> pairs, double field_m) {
  const std::size_t stride = std::max<std::size_t>(1, pairs.size() / kPairs);
  for (std::size_t k = 0; k * stride < pairs.size(); ++k) pairs[k] = pairs[k * stride];
  pairs.resize((pairs.size() + stride - 1) / stride);
  const Thumbnails thumbnails(scan);
  if (thumbnails.pixels() < kFewestLit) return {};
  const Shadows shadows = read_shadows(thumbnails, pairs);
  if (shadows.lit_pixels < kFewestLit) return {};

  const auto [row_m, column_m] = *scan.detector_pixel_m;
  const double pixel_m = std::sqrt(row_m * column_m) * static_cast<double>(thumbnails.block());
  const double lit_m = std::sqrt(static_cast<double>(shadows.lit_pixels)) * pixel_m;
  const double one_pixel = pixel_m / median_distance(pairs);  // magnification of a shift of 1
  Shadow best;
  // Beyond a shift of the beam's own width nothing is left to compare, however wide the steps are.
  const double largest = std::min(lit_m / field_m, lit_m / pixel_m * one_pixel);
  for (int step = 0;; ++step) {
    const double m = (kLeastShift + step / 2.0) * one_pixel;
    if (m >= largest) break;
    for (const double magnification : {m, -m}) {
      const double found = shadow_correlation(shadows, pairs, scan, thumbnails, magnification);
      if (found > best.correlation) best = {found, m, lit_m / m};
    }
  }
  return best;
}

}  // namespace

void judge_near_field(ScanFile& scan) {
  scan.near_field = false;
  scan.near_field_reason.clear();
  if (scan.position_unit != PositionUnit::kMetre || scan.positions.size() < 2 || !scan.energy_ev ||
      !scan.distance_m || !scan.detector_pixel_m) {
    return;
  }
  const double smaller_pixel = std::min((*scan.detector_pixel_m)[0], (*scan.detector_pixel_m)[1]);
  const double field = wavelength_m(*scan.energy_ev) * *scan.distance_m / smaller_pixel;
  const std::vector<Pair> pairs = neighbours(scan.positions);
  const double step = median_distance(pairs);
  if (step <= field / 2) return;
  const Shadow shadow = find_shadow(scan, pairs, field);
  if (shadow.correlation < kShadowCorrelation) return;
  scan.near_field = true;
  scan.near_field_reason = text(
      "neighbouring positions are ", step * 1e6,
      " um apart, and yet their frames show the same shadow, ", std::round(shadow.magnification),
      " times enlarged, of a beam ", std::round(shadow.beam_m * 1e7) / 10,
      " um wide; the detector resolves the far field of one of at most wavelength * distance "
      "/ pixel = ",
      field * 1e6, " um");
}

}  // namespace ptynet::io
