#include "engine/stitcher.h"

#include <algorithm>
#include <cmath>
#include <complex>

namespace ptynet {

namespace {

using Complex = std::complex<float>;

// px. Below it a position to 2^-20 px, less a whole origin below it too, fits the 53 bits of a
// double without rounding.
constexpr double kReach = 4294967296.0;       // 2^32
constexpr double kStepsPerPixel = 1048576.0;  // 2^20

// Where a patch falls: whole pixels unless it is spread.
io::Position place(const io::Position& position, Subpixel subpixel) {
  const double steps = subpixel == Subpixel::kBilinear ? kStepsPerPixel : 1.0;
  return {std::nearbyint(position.row * steps) / steps,
          std::nearbyint(position.column * steps) / steps};
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

void object_of_sums(const std::int64_t* object, const std::int64_t* coverage, std::int64_t pixels,
                    Complex* out) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    const auto weight = static_cast<double>(coverage[i]);
    const auto part = [&](std::int64_t at) {
      return static_cast<float>(static_cast<double>(object[at]) / weight);
    };
    out[i] = coverage[i] > 0 ? Complex(part(2 * i), part(2 * i + 1)) : Complex();
  }
}

void coverage_of_sums(const std::int64_t* coverage, std::int64_t pixels, float* out) {
  std::transform(coverage, coverage + pixels, out, [](std::int64_t v) {
    return static_cast<float>(static_cast<double>(v) / kStitchUnitsPerOne);
  });
}

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

bool Stitcher::Rectangle::holds(const Rectangle& other) const {
  return rows > 0 && row <= other.row && column <= other.column &&
         row + rows >= other.row + other.rows && column + columns >= other.column + other.columns;
}

void Stitcher::reserve(const std::vector<io::Position>& positions) {
  if (positions.empty()) return;
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
  grow({static_cast<std::int64_t>(low_row), static_cast<std::int64_t>(low_column),
        static_cast<std::int64_t>(high_row - low_row) + h_,
        static_cast<std::int64_t>(high_column - low_column) + w_});
}

// Makes the canvas cover these pixels too.
void Stitcher::grow(Rectangle wanted) {
  if (canvas_.holds(wanted)) return;
  if (canvas_.rows > 0) {
    const std::int64_t end_row = std::max(wanted.row + wanted.rows, canvas_.row + canvas_.rows);
    const std::int64_t end_column =
        std::max(wanted.column + wanted.columns, canvas_.column + canvas_.columns);
    wanted.row = std::min(wanted.row, canvas_.row);
    wanted.column = std::min(wanted.column, canvas_.column);
    wanted.rows = end_row - wanted.row;
    wanted.columns = end_column - wanted.column;
  }
  if (static_cast<double>(wanted.rows) * static_cast<double>(wanted.columns) >
      static_cast<double>(options_.max_canvas)) {
    fail_input("the positions ask for a canvas of ", wanted.rows, " x ", wanted.columns,
               " px, over the limit of ", options_.max_canvas,
               " px: check --positions-unit and --object-pixel-size, or raise --max-canvas");
  }
  if (!store_.holds(wanted)) move_to(with_margin(wanted));
  canvas_ = wanted;
}

// On the sides a canvas has outgrown its store: half of itself more, a patch at least. Never past
// the limit, which the canvas itself keeps.
Stitcher::Rectangle Stitcher::with_margin(const Rectangle& wanted) const {
  if (store_.rows == 0) return wanted;
  const std::int64_t more_rows = std::max(h_, wanted.rows / 2);
  const std::int64_t more_columns = std::max(w_, wanted.columns / 2);
  const std::int64_t end_row = store_.row + store_.rows;
  const std::int64_t end_column = store_.column + store_.columns;
  const auto low = [](std::int64_t want, std::int64_t have, std::int64_t more) {
    return want < have ? want - more : have;
  };
  const auto high = [](std::int64_t want, std::int64_t have, std::int64_t more) {
    return want > have ? want + more : have;
  };
  Rectangle out;
  out.row = low(wanted.row, store_.row, more_rows);
  out.column = low(wanted.column, store_.column, more_columns);
  out.rows = high(wanted.row + wanted.rows, end_row, more_rows) - out.row;
  out.columns = high(wanted.column + wanted.columns, end_column, more_columns) - out.column;
  const bool fits = static_cast<double>(out.rows) * static_cast<double>(out.columns) <=
                    static_cast<double>(options_.max_canvas);
  return fits ? out : wanted;
}

void Stitcher::move_to(const Rectangle& store) {
  const auto pixels = static_cast<std::size_t>(store.rows * store.columns);
  std::vector<std::int64_t> object(2 * pixels);
  std::vector<std::int64_t> coverage(pixels);
  std::vector<std::uint32_t> count(pixels);
  for (std::int64_t r = 0; r < canvas_.rows; ++r) {
    const auto from = static_cast<std::ptrdiff_t>(index_of_row(r));
    const std::int64_t to =
        (canvas_.row + r - store.row) * store.columns + canvas_.column - store.column;
    std::copy_n(object_.begin() + 2 * from, 2 * canvas_.columns, object.begin() + 2 * to);
    std::copy_n(coverage_.begin() + from, canvas_.columns, coverage.begin() + to);
    std::copy_n(count_.begin() + from, canvas_.columns, count.begin() + to);
  }
  object_ = std::move(object);
  coverage_ = std::move(coverage);
  count_ = std::move(count);
  store_ = store;
}

std::size_t Stitcher::index_of_row(std::int64_t row) const {
  return static_cast<std::size_t>((canvas_.row + row - store_.row) * store_.columns +
                                  canvas_.column - store_.column);
}

std::vector<Overlap> Stitcher::add(const Array& amplitude, const Array& phase,
                                   const std::vector<io::Position>& positions) {
  const Shape expected{static_cast<std::int64_t>(positions.size()), h_, w_};
  if (amplitude.shape() != expected || phase.shape() != expected) {
    fail_input("expected patches ", to_string(expected), ", found ", describe(amplitude), " and ",
               describe(phase));
  }
  Array object = context_.allocate(expected, DType::kC64);
  context_.backend().compose_object(on_device(context_, amplitude), on_device(context_, phase),
                                    object);
  return add(object, positions);
}

std::vector<Overlap> Stitcher::add(Array& object, const std::vector<io::Position>& positions) {
  const auto n = static_cast<std::int64_t>(positions.size());
  const Shape expected{n, h_, w_};
  if (object.shape() != expected || object.dtype() != DType::kC64) {
    fail_input("expected patches c64", to_string(expected), ", found ", describe(object));
  }
  reserve(positions);
  Backend& backend = context_.backend();
  backend.synchronize();
  Array corners = Array::host({n, 2}, DType::kF64);
  const CanvasSums canvas{object_.data(), coverage_.data(), count_.data(), store_.rows,
                          store_.columns};
  std::vector<Overlap> overlaps;
  for (std::int64_t i = 0; i < n; ++i) {
    const io::Position at = place(positions[static_cast<std::size_t>(i)], options_.subpixel);
    double* corner = corners.data<double>() + 2 * i;
    corner[0] = at.row - static_cast<double>(store_.row);
    corner[1] = at.column - static_cast<double>(store_.column);
    Array patch = object.slice(i, 1);
    const Array weight = weight_of(patch);
    overlaps.push_back(overlap(patch, weight, {corner[0], corner[1]}));
    if (options_.phase_align && overlaps.back().weight > 0) {
      const Complex turn = std::polar(1.0F, static_cast<float>(-overlaps.back().offset_rad));
      Complex* values = patch.data<Complex>();
      for (std::int64_t p = 0; p < h_ * w_; ++p) values[p] *= turn;
    }
    backend.stitch(patch, weight, corners.slice(i, 1), options_.border, canvas);
    backend.synchronize();
  }
  return overlaps;
}

// The weight of a patch's pixels; 0, as the value itself becomes, where the network gave none.
Array Stitcher::weight_of(Array& patch) {
  auto* values = patch.data<Complex>();
  const auto finite = [](const Complex& v) {
    return std::isfinite(v.real()) && std::isfinite(v.imag());
  };
  if (std::all_of(values, values + h_ * w_, finite)) return weight_;
  ++patches_with_gaps_;
  Array weight = weight_.clone();
  for (std::int64_t p = 0; p < h_ * w_; ++p) {
    if (finite(values[p])) continue;
    values[p] = Complex();
    weight.data<float>()[p] = 0;
  }
  return weight;
}

// Rows are summed by themselves and then in order, so that the sums are those of any number of
// threads.
Overlap Stitcher::overlap(const Array& patch, const Array& weights,
                          const io::Position& corner) const {
  struct Sums {
    double re = 0, im = 0, total = 0;
  };
  const auto row0 = static_cast<std::int64_t>(std::nearbyint(corner.row));
  const auto column0 = static_cast<std::int64_t>(std::nearbyint(corner.column));
  std::vector<Sums> rows(static_cast<std::size_t>(h_));
#pragma omp parallel for
  for (std::int64_t r = options_.border; r < h_ - options_.border; ++r) {
    const std::int64_t first = (row0 + r) * store_.columns + column0;
    const std::int64_t* lying = object_.data() + 2 * first;
    const std::int64_t* coverage = coverage_.data() + first;
    const float* weight = weights.data<float>() + r * w_;
    const Complex* values = patch.data<Complex>() + r * w_;
    Sums sums;
    for (std::int64_t c = options_.border; c < w_ - options_.border; ++c) {
      if (coverage[c] <= 0) continue;
      const double scale = double{weight[c]} / static_cast<double>(coverage[c]);
      const double a = static_cast<double>(lying[2 * c]) * scale;
      const double b = static_cast<double>(lying[2 * c + 1]) * scale;
      const double re = a * double{values[c].real()} + b * double{values[c].imag()};
      const double im = a * double{values[c].imag()} - b * double{values[c].real()};
      sums.re += re;
      sums.im += im;
      sums.total += std::sqrt(re * re + im * im);
    }
    rows[static_cast<std::size_t>(r)] = sums;
  }
  Sums all;
  for (const Sums& row : rows) {
    all.re += row.re;
    all.im += row.im;
    all.total += row.total;
  }
  if (!(all.total > 0)) return {};
  return {all.total, std::atan2(all.im, all.re),
          std::min(1.0, std::hypot(all.re, all.im) / all.total)};
}

Array Stitcher::object() const {
  Array out = Array::host({rows(), columns()}, DType::kC64);
  auto* values = out.data<Complex>();
#pragma omp parallel for
  for (std::int64_t r = 0; r < rows(); ++r) {
    const std::size_t first = index_of_row(r);
    object_of_sums(object_.data() + 2 * first, coverage_.data() + first, columns(),
                   values + r * columns());
  }
  return out;
}

Array Stitcher::coverage() const {
  Array out = Array::host({rows(), columns()}, DType::kF32);
  for (std::int64_t r = 0; r < rows(); ++r) {
    coverage_of_sums(coverage_.data() + index_of_row(r), columns(),
                     out.data<float>() + r * columns());
  }
  return out;
}

Array Stitcher::count() const {
  Array out = Array::host({rows(), columns()}, DType::kU32);
  for (std::int64_t r = 0; r < rows(); ++r) {
    std::copy_n(count_.data() + index_of_row(r), columns(),
                out.data<std::uint32_t>() + r * columns());
  }
  return out;
}

Array Stitcher::corners(const std::vector<io::Position>& positions) const {
  Array out = Array::host({static_cast<std::int64_t>(positions.size()), 2}, DType::kI32);
  auto* to = out.data<std::int32_t>();
  for (const io::Position& position : positions) {
    const io::Position at = place(position, Subpixel::kNone);
    *to++ = static_cast<std::int32_t>(static_cast<std::int64_t>(at.row) - canvas_.row);
    *to++ = static_cast<std::int32_t>(static_cast<std::int64_t>(at.column) - canvas_.column);
  }
  return out;
}

Array Stitcher::cut(const Array& object, const std::vector<io::Position>& positions) const {
  if (object.shape() != Shape{rows(), columns()} || object.dtype() != DType::kC64) {
    fail_input("expected an object c64[", rows(), ", ", columns(), "], found ", describe(object));
  }
  const auto n = static_cast<std::int64_t>(positions.size());
  const Array begins = corners(positions);
  Array out = Array::zeros({n, h_, w_}, DType::kC64);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t row0 = begins.data<std::int32_t>()[2 * i];
    const std::int64_t column0 = begins.data<std::int32_t>()[2 * i + 1];
    const std::int64_t first = std::clamp<std::int64_t>(-column0, 0, w_);
    const std::int64_t end = std::clamp<std::int64_t>(columns() - column0, first, w_);
    for (std::int64_t r = 0; r < h_; ++r) {
      if (row0 + r < 0 || row0 + r >= rows()) continue;
      std::copy_n(object.data<Complex>() + (row0 + r) * columns() + column0 + first, end - first,
                  out.data<Complex>() + (i * h_ + r) * w_ + first);
    }
  }
  return out;
}

}  // namespace ptynet
