#include "engine/scan_pattern.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/error.h"
#include "kernels/random.h"

namespace ptynet {

namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kMaxFrames = 1 << 22;

// Places about the middle of the field, and the half extents they keep within.
struct Places {
  double half_height;
  double half_width;
  std::vector<io::Position> at;

  bool holds(double row, double column) const {
    // A place on the edge belongs to the field, whatever the last bit says.
    return std::abs(row) <= half_height + 1e-9 && std::abs(column) <= half_width + 1e-9;
  }
};

void raster(double step, Places& places) {
  const auto steps = [step](double half) {
    return static_cast<std::int64_t>(std::floor(2 * half / step + 1e-9));
  };
  const auto place = [step](std::int64_t i, std::int64_t count) {
    return (static_cast<double>(i) - static_cast<double>(count) / 2) * step;
  };
  const std::int64_t rows = steps(places.half_height);
  const std::int64_t columns = steps(places.half_width);
  for (std::int64_t r = 0; r <= rows; ++r) {
    for (std::int64_t c = 0; c <= columns; ++c) {
      places.at.push_back({place(r, rows), place(c, columns)});
    }
  }
}

void fermat(double step, Places& places) {
  const double golden_angle = kPi * (3 - std::sqrt(5.0));
  const double furthest = std::hypot(places.half_height, places.half_width);
  for (std::int64_t i = 0;; ++i) {
    const auto n = static_cast<double>(i);
    const double radius = step * std::sqrt(n / kPi);
    if (radius > furthest) break;
    const double row = radius * std::sin(n * golden_angle);
    const double column = radius * std::cos(n * golden_angle);
    if (places.holds(row, column)) places.at.push_back({row, column});
  }
}

void concentric(double step, Places& places) {
  const double furthest = std::hypot(places.half_height, places.half_width);
  places.at.push_back({0, 0});
  const auto rings = static_cast<std::int64_t>(furthest / step);
  for (std::int64_t ring = 1; ring <= rings; ++ring) {
    const double radius = static_cast<double>(ring) * step;
    const std::int64_t points = std::llround(2 * kPi * static_cast<double>(ring));
    for (std::int64_t k = 0; k < points; ++k) {
      const double angle = 2 * kPi * static_cast<double>(k) / static_cast<double>(points);
      const double row = radius * std::sin(angle);
      const double column = radius * std::cos(angle);
      if (places.holds(row, column)) places.at.push_back({row, column});
    }
  }
}

// A coordinate off its place by up to the jitter, in whole pixels of the field.
double moved(double place, double middle, double jitter_px, double u, std::int64_t extent) {
  const double exact = middle + place + jitter_px * (2 * u - 1);
  return std::clamp(std::floor(exact + 0.5), 0.0, static_cast<double>(extent));
}

}  // namespace

double step_of_overlap(double overlap, double extent_px) {
  if (!(overlap >= 0 && overlap < 1)) {
    fail_input("expected an overlap with 0 <= overlap < 1, found ", overlap);
  }
  const double step = (1 - overlap) * extent_px;
  if (!(step >= 1)) {
    fail_input("an overlap of ", overlap, " of ", extent_px, " px leaves a step of ", step,
               " px: expected one of 1 px or more");
  }
  return step;
}

std::vector<io::Position> make_positions(ScanPattern pattern, const ScanField& field,
                                         double step_px, double jitter_px, std::uint64_t seed) {
  if (!(step_px >= 1)) fail_input("expected a step of 1 px or more, found ", step_px);
  if (!(jitter_px >= 0)) fail_input("expected a jitter of 0 px or more, found ", jitter_px);
  if (field.height < 0 || field.width < 0) {
    fail_input("expected a field of 0 px or more, found ", field.height, "x", field.width);
  }
  const double middle_row = static_cast<double>(field.height) / 2;
  const double middle_column = static_cast<double>(field.width) / 2;
  Places places{
      std::max(0.0, middle_row - jitter_px), std::max(0.0, middle_column - jitter_px), {}};
  const double frames =
      (2 * places.half_height / step_px + 1) * (2 * places.half_width / step_px + 1);
  if (!(frames <= kMaxFrames)) {
    fail_input("expected at most ", kMaxFrames, " frames, found about ", frames,
               ": lower the overlap or the object's size");
  }
  switch (pattern) {
    case ScanPattern::kRaster:
      raster(step_px, places);
      break;
    case ScanPattern::kFermat:
      fermat(step_px, places);
      break;
    case ScanPattern::kConcentric:
      concentric(step_px, places);
      break;
  }
  const CounterRandom random(seed, "scan");
  for (std::size_t k = 0; k < places.at.size(); ++k) {
    io::Position& p = places.at[k];
    p = {moved(p.row, middle_row, jitter_px, random.uniform(2 * k), field.height),
         moved(p.column, middle_column, jitter_px, random.uniform(2 * k + 1), field.width)};
  }
  return places.at;
}

}  // namespace ptynet
