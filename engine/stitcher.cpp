#include "engine/stitcher.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>

namespace ptynet {

namespace {

using Complex = std::complex<float>;

// Where a patch falls: whole pixels unless it is spread.
io::Position place(const io::Position& position, Subpixel subpixel) {
  if (subpixel == Subpixel::kBilinear) return position;
  return {std::nearbyint(position.row), std::nearbyint(position.column)};
}

// The probe's intensity over its modes, greatest value 1; or 1 everywhere.
Array stitch_weight(std::int64_t h, std::int64_t w, const Array& probe, StitchMode mode) {
  Array weight = Array::host({h, w}, DType::kF32);
  auto* values = weight.data<float>();
  std::fill_n(values, h * w, 1.0F);
  if (mode == StitchMode::kMean) return weight;
  if (probe.empty()) fail_input("stitching by the probe's intensity needs a probe: give --probe");
  if (probe.shape().rank() != 3 || probe.shape()[1] != h || probe.shape()[2] != w) {
    fail_input("expected a probe of [modes, ", h, ", ", w, "], found ", describe(probe));
  }
  std::fill_n(values, h * w, 0.0F);
  const auto* light = probe.data<Complex>();
  for (std::int64_t i = 0; i < probe.elements(); ++i) values[i % (h * w)] += std::norm(light[i]);
  const float largest = *std::max_element(values, values + h * w);
  if (!(largest > 0) || !std::isfinite(largest)) {
    fail_input("the probe is zero or not finite: stitch with --stitch mean, or give another");
  }
  for (std::int64_t i = 0; i < h * w; ++i) values[i] /= largest;
  return weight;
}

}  // namespace

Stitcher::Stitcher(Context& context, std::int64_t h, std::int64_t w, const Array& probe,
                   const StitcherOptions& options)
    : context_(context),
      options_(options),
      h_(h),
      w_(w),
      weight_(stitch_weight(h, w, probe, options.mode)) {
  if (options.border < 0 || 2 * options.border >= std::min(h, w)) {
    fail_input("a border of ", options.border, " px leaves nothing of patches of ", h, "x", w);
  }
}

void Stitcher::reserve(const std::vector<io::Position>& positions) {
  if (positions.empty()) return;
  constexpr double kReach = 1e15;  // px: whole numbers of this size are exact in a double
  double low_row = kReach;
  double low_column = kReach;
  double high_row = -kReach;
  double high_column = -kReach;
  for (const io::Position& position : positions) {
    const io::Position at = place(position, options_.subpixel);
    if (!(std::abs(at.row) < kReach) || !(std::abs(at.column) < kReach)) {
      fail_input("position (", position.row, ", ", position.column, ") px cannot be placed");
    }
    low_row = std::min(low_row, std::floor(at.row));
    low_column = std::min(low_column, std::floor(at.column));
    high_row = std::max(high_row, std::ceil(at.row));
    high_column = std::max(high_column, std::ceil(at.column));
  }
  grow(static_cast<std::int64_t>(low_row), static_cast<std::int64_t>(low_column),
       static_cast<std::int64_t>(high_row) + h_, static_cast<std::int64_t>(high_column) + w_);
}

// Makes the canvas cover rows [row0, row1) and columns [column0, column1) of the scan.
void Stitcher::grow(std::int64_t row0, std::int64_t column0, std::int64_t row1,
                    std::int64_t column1) {
  if (rows_ > 0) {
    row0 = std::min(row0, origin_[0]);
    column0 = std::min(column0, origin_[1]);
    row1 = std::max(row1, origin_[0] + rows_);
    column1 = std::max(column1, origin_[1] + columns_);
  }
  const std::int64_t rows = row1 - row0;
  const std::int64_t columns = column1 - column0;
  if (rows == rows_ && columns == columns_) return;
  if (static_cast<double>(rows) * static_cast<double>(columns) >
      static_cast<double>(options_.max_canvas)) {
    fail_input("the positions ask for a canvas of ", rows, " x ", columns, " px, over the limit of ",
               options_.max_canvas, " px: check --positions-unit and --object-pixel-size, or raise",
               " --max-canvas");
  }
  const auto pixels = static_cast<std::size_t>(rows * columns);
  std::vector<std::int64_t> object(2 * pixels);
  std::vector<std::int64_t> coverage(pixels);
  std::vector<std::uint32_t> count(pixels);
  for (std::int64_t r = 0; r < rows_; ++r) {
    const std::int64_t to = (r + origin_[0] - row0) * columns + origin_[1] - column0;
    std::copy_n(object_.begin() + 2 * r * columns_, 2 * columns_, object.begin() + 2 * to);
    std::copy_n(coverage_.begin() + r * columns_, columns_, coverage.begin() + to);
    std::copy_n(count_.begin() + r * columns_, columns_, count.begin() + to);
  }
  object_ = std::move(object);
  coverage_ = std::move(coverage);
  count_ = std::move(count);
  origin_ = {row0, column0};
  rows_ = rows;
  columns_ = columns;
}

std::vector<Overlap> Stitcher::add(const Array& amplitude, const Array& phase,
                                   const std::vector<io::Position>& positions) {
  const auto n = static_cast<std::int64_t>(positions.size());
  const Shape expected{n, h_, w_};
  if (amplitude.shape() != expected || phase.shape() != expected) {
    fail_input("expected patches ", to_string(expected), ", found ", describe(amplitude), " and ",
               describe(phase));
  }
  reserve(positions);
  Backend& backend = context_.backend();
  Array object = context_.allocate(expected, DType::kC64);
  backend.compose_object(amplitude, phase, object);
  backend.synchronize();
  Array corners = Array::host({n, 2}, DType::kF64);
  const CanvasSums canvas{object_.data(), coverage_.data(), count_.data(), rows_, columns_};
  std::vector<Overlap> overlaps;
  for (std::int64_t i = 0; i < n; ++i) {
    const io::Position at = place(positions[static_cast<std::size_t>(i)], options_.subpixel);
    double* corner = corners.data<double>() + 2 * i;
    corner[0] = at.row - static_cast<double>(origin_[0]);
    corner[1] = at.column - static_cast<double>(origin_[1]);
    Array patch = object.slice(i, 1);
    overlaps.push_back(overlap(patch.data<Complex>(), {corner[0], corner[1]}));
    if (options_.phase_align && overlaps.back().weight > 0) {
      const Complex turn = std::polar(1.0F, static_cast<float>(-overlaps.back().offset_rad));
      Complex* values = patch.data<Complex>();
      for (std::int64_t p = 0; p < h_ * w_; ++p) values[p] *= turn;
    }
    backend.stitch(patch, weight_, corners.slice(i, 1), options_.border, canvas);
  }
  backend.synchronize();
  return overlaps;
}

Overlap Stitcher::overlap(const Complex* patch, const io::Position& corner) const {
  const auto row0 = static_cast<std::int64_t>(std::nearbyint(corner.row));
  const auto column0 = static_cast<std::int64_t>(std::nearbyint(corner.column));
  double agreement_re = 0;
  double agreement_im = 0;
  double total = 0;
  for (std::int64_t r = options_.border; r < h_ - options_.border; ++r) {
    const std::int64_t first = (row0 + r) * columns_ + column0;
    const std::int64_t* lying = object_.data() + 2 * first;
    const std::int64_t* coverage = coverage_.data() + first;
    const float* weight = weight_.data<float>() + r * w_;
    const Complex* values = patch + r * w_;
    for (std::int64_t c = options_.border; c < w_ - options_.border; ++c) {
      if (coverage[c] <= 0) continue;
      const double scale = double{weight[c]} / static_cast<double>(coverage[c]);
      const double a = static_cast<double>(lying[2 * c]) * scale;
      const double b = static_cast<double>(lying[2 * c + 1]) * scale;
      const double re = a * double{values[c].real()} + b * double{values[c].imag()};
      const double im = a * double{values[c].imag()} - b * double{values[c].real()};
      agreement_re += re;
      agreement_im += im;
      total += std::sqrt(re * re + im * im);
    }
  }
  if (!(total > 0)) return {};
  return {total, std::atan2(agreement_im, agreement_re),
          std::min(1.0, std::hypot(agreement_re, agreement_im) / total)};
}

Array Stitcher::object() const {
  Array out = Array::host({rows_, columns_}, DType::kC64);
  auto* values = out.data<Complex>();
  for (std::size_t i = 0; i < coverage_.size(); ++i) {
    const auto weight = static_cast<double>(coverage_[i]);
    values[i] = coverage_[i] > 0
                    ? Complex(static_cast<float>(static_cast<double>(object_[2 * i]) / weight),
                              static_cast<float>(static_cast<double>(object_[2 * i + 1]) / weight))
                    : Complex();
  }
  return out;
}

Array Stitcher::coverage() const {
  Array out = Array::host({rows_, columns_}, DType::kF32);
  for (std::size_t i = 0; i < coverage_.size(); ++i) {
    out.data<float>()[i] = static_cast<float>(static_cast<double>(coverage_[i]) / kStitchUnitsPerOne);
  }
  return out;
}

Array Stitcher::count() const { return Array::copy_of(count_, {rows_, columns_}); }

Array Stitcher::cut(const io::Position& position) const {
  const io::Position at = place(position, Subpixel::kNone);
  Array out = Array::zeros({h_, w_}, DType::kC64);
  const std::int64_t row0 = static_cast<std::int64_t>(at.row) - origin_[0];
  const std::int64_t column0 = static_cast<std::int64_t>(at.column) - origin_[1];
  for (std::int64_t r = 0; r < h_; ++r) {
    for (std::int64_t c = 0; c < w_; ++c) {
      if (row0 + r < 0 || row0 + r >= rows_ || column0 + c < 0 || column0 + c >= columns_) continue;
      const auto pixel = static_cast<std::size_t>((row0 + r) * columns_ + column0 + c);
      if (coverage_[pixel] <= 0) continue;
      const auto weight = static_cast<double>(coverage_[pixel]);
      out.data<Complex>()[r * w_ + c] = {
          static_cast<float>(static_cast<double>(object_[2 * pixel]) / weight),
          static_cast<float>(static_cast<double>(object_[2 * pixel + 1]) / weight)};
    }
  }
  return out;
}

}  // namespace ptynet
