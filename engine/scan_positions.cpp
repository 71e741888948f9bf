#include "engine/scan_positions.h"

#include <cmath>
#include <string>
#include <utility>

#include "io/datasets.h"

namespace ptynet {

namespace {

using Pair = std::array<double, 2>;  // (row, column)

double ratio(std::int64_t a, std::int64_t b) {
  return static_cast<double>(a) / static_cast<double>(b);
}

std::vector<io::Position> raster_positions(const ScanOptions& options, std::int64_t frames) {
  if (!options.positions.empty()) {
    fail_input("expected --positions or --raster, found both");
  }
  if (!options.raster || !options.raster_step_px) {
    fail_input("expected --raster RxC together with --step PX, found only one of them");
  }
  const auto [rows, columns] = *options.raster;
  const double step = *options.raster_step_px;
  if (rows < 1 || columns < 1 || !std::isfinite(step) || step <= 0) {
    fail_input("expected a raster of at least 1x1 and a step over 0 px, found ", rows, "x", columns,
               " and ", step);
  }
  // Compared by division, since the product may not fit.
  if (frames % columns != 0 || frames / columns != rows) {
    fail_input(options.path, ": expected a raster with one place for each of ", frames,
               " frames, found ", rows, "x", columns);
  }
  std::vector<io::Position> out;
  for (std::int64_t k = 0; k < frames; ++k) {
    const std::int64_t row = k / columns;
    out.push_back({static_cast<double>(row) * step, static_cast<double>(k % columns) * step});
  }
  return out;
}

// Gives the file's positions, or those it has been given, their unit.
void apply_unit(const ScanOptions& options, const std::string& where, io::ScanFile& file) {
  const auto& unit = options.positions_unit;
  if (file.position_unit == io::PositionUnit::kUnknown) {
    if (!unit || *unit == io::PositionUnit::kUnknown) {
      fail_input(where, ": the unit of the positions is not known; say it with --positions-unit ",
                 "px, m, um or nm");
    }
    const double scale = options.positions_scale;
    for (io::Position& p : file.positions) p = {p.row * scale, p.column * scale};
    file.position_unit = *unit;
    return;
  }
  // m, um and nm differ by the scale alone; a reader has already brought its own unit to metres.
  const bool same = !unit || (*unit == file.position_unit && options.positions_scale == 1.0);
  if (!same) {
    fail_input(where, ": the positions have their unit, ",
               file.position_unit == io::PositionUnit::kMetre ? "read as metres" : "pixels",
               "; leave out --positions-unit, or name the numbers as --positions FILE:DATASET");
  }
}

void apply_order_and_sign(const ScanOptions& options, std::vector<io::Position>& positions) {
  if (options.positions_order != "rc" && options.positions_order != "xy") {
    fail_input("expected --positions-order rc or xy, found '", options.positions_order, "'");
  }
  const std::string& sign = options.positions_sign;
  if (sign != "++" && sign != "+-" && sign != "-+" && sign != "--") {
    fail_input("expected --positions-sign ++, +-, -+ or --, found '", sign, "'");
  }
  for (io::Position& p : positions) {
    if (options.positions_order == "xy") std::swap(p.row, p.column);
    if (sign[0] == '-') p.row = -p.row;
    if (sign[1] == '-') p.column = -p.column;
  }
}

// What --object-pixel-size or the geometry lack, for the message.
std::string missing_options(const io::ScanFile& file) {
  std::string out;
  const auto add = [&](bool there, const char* name) {
    if (!there) out += (out.empty() ? "" : ", ") + std::string(name);
  };
  add(file.energy_ev.has_value(), "--energy");
  add(file.distance_m.has_value(), "--distance");
  add(file.detector_pixel_m.has_value(), "--detector-pixel");
  return out;
}

}  // namespace

std::string positions_source(const ScanOptions& options) {
  return options.positions.empty() ? options.path : options.positions;
}

std::optional<Pair> object_pixel_m(const ScanOptions& options, const io::ScanFile& file,
                                   const FrameExtents& extents, bool detector_pixel_swapped) {
  if (options.object_pixel_size_m) {
    return Pair{*options.object_pixel_size_m, *options.object_pixel_size_m};
  }
  const auto& [oriented, cropped, binned] = extents;
  if (file.energy_ev && file.distance_m && file.detector_pixel_m) {
    Pair detector = *file.detector_pixel_m;
    if (detector_pixel_swapped) std::swap(detector[0], detector[1]);
    const double length = io::wavelength_m(*file.energy_ev) * *file.distance_m;  // m^2
    // N * detector pixel is the same before and after binning: (N / b) * (b * pixel).
    return Pair{length / (static_cast<double>(cropped.height) * detector[0]),
                length / (static_cast<double>(cropped.width) * detector[1])};
  }
  if (!file.object_pixel_m) return std::nullopt;
  return Pair{(*file.object_pixel_m)[0] * ratio(oriented.height, cropped.height),
              (*file.object_pixel_m)[1] * ratio(oriented.width, cropped.width)};
}

void take_positions(const ScanOptions& options, io::ScanFile& file) {
  if (options.raster || options.raster_step_px) {
    file.positions = raster_positions(options, file.frames->count());
    file.position_unit = io::PositionUnit::kPixel;
    file.positions_are_centers = false;
    return;
  }
  const std::string where = positions_source(options);
  if (!options.positions.empty()) {
    io::set_positions(io::load_positions(io::parse_dataset_name(options.positions)), where, file);
  }
  if (!file.positions.empty()) apply_unit(options, where, file);
}

std::vector<io::Position> positions_in_pixels(const ScanOptions& options,
                                              const FrameExtents& extents,
                                              const std::optional<Pair>& object_pixel_m,
                                              io::ScanFile& file) {
  if (file.positions.empty()) return {};
  const std::string where = positions_source(options);
  std::vector<io::Position> out = file.positions;
  apply_order_and_sign(options, out);

  const auto& [oriented, cropped, binned] = extents;
  Pair scale = {ratio(cropped.height, oriented.height), ratio(cropped.width, oriented.width)};
  const Pair to_cropped = scale;
  if (file.position_unit == io::PositionUnit::kMetre) {
    if (!object_pixel_m) {
      fail_input(where, ": the positions are in metres and the object pixel is not known; give ",
                 missing_options(file), ", or --object-pixel-size");
    }
    scale = {1 / (*object_pixel_m)[0], 1 / (*object_pixel_m)[1]};
  }
  if (file.position_unit == io::PositionUnit::kPixel && !(cropped == oriented)) {
    file.notes.push_back(text("positions in pixels are read as object pixels of the whole frame: ",
                              "after the crop they count ", scale[0], " and ", scale[1],
                              " times as much"));
  }
  // From what the position names to the patch's centre, and from there to the first pixel kept.
  const auto half = [](std::int64_t n) {
    const std::int64_t middle = n / 2;
    return static_cast<double>(middle);
  };
  Pair offset = {-half(binned.height), -half(binned.width)};
  if (!file.positions_are_centers) {
    offset[0] += half(oriented.height) * to_cropped[0];
    offset[1] += half(oriented.width) * to_cropped[1];
  }
  for (io::Position& p : out) {
    p = {p.row * scale[0] + offset[0], p.column * scale[1] + offset[1]};
  }
  return out;
}

}  // namespace ptynet
