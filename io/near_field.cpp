#include "io/near_field.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ptynet::io {

namespace {

constexpr std::size_t kSample = 512;  // positions looked at, spread over the scan

// Median distance from a position to the nearest one elsewhere, m.
double median_step(const std::vector<Position>& positions) {
  const std::size_t stride = std::max<std::size_t>(1, positions.size() / kSample);
  std::vector<double> nearest;
  for (std::size_t a = 0; a < positions.size(); a += stride) {
    double best = std::numeric_limits<double>::infinity();
    for (const Position& other : positions) {
      const double distance =
          std::hypot(other.row - positions[a].row, other.column - positions[a].column);
      if (distance > 0 && distance < best) best = distance;
    }
    if (std::isfinite(best)) nearest.push_back(best);
  }
  if (nearest.empty()) return 0;
  const auto middle = nearest.begin() + static_cast<std::ptrdiff_t>(nearest.size() / 2);
  std::nth_element(nearest.begin(), middle, nearest.end());
  return *middle;
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
  const double widest_beam = wavelength_m(*scan.energy_ev) * *scan.distance_m / (2 * smaller_pixel);
  const double step = median_step(scan.positions);
  if (step <= widest_beam) return;
  scan.near_field = true;
  scan.near_field_reason = text(
      "neighbouring positions are ", step * 1e6, " um apart, but the detector resolves the ",
      "far field of a beam of at most wavelength * distance / (2 * pixel) = ", widest_beam * 1e6,
      " um: such beams would not overlap");
}

}  // namespace ptynet::io
