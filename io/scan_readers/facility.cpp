// Plain HDF5 layouts of single programs: NSLS-II's HXN, ptychodus products, PtyLab.
#include <cmath>
#include <numeric>

#include "io/scan_readers/frames.h"
#include "io/scan_readers/readers.h"

namespace ptynet::io {

namespace {

// Frames that were recorded after the last known position carry NaN; they are left out.
void drop_unplaced_frames(ScanFile& scan) {
  std::size_t known = scan.positions.size();
  const auto unplaced = [](const Position& p) { return std::isnan(p.row) && std::isnan(p.column); };
  while (known > 0 && unplaced(scan.positions[known - 1])) --known;
  const std::size_t dropped = scan.positions.size() - known;
  if (dropped == 0 || known == 0 ||
      scan.frames->count() != static_cast<std::int64_t>(scan.positions.size())) {
    return;
  }
  scan.positions.resize(known);
  std::vector<std::int64_t> order(known);
  std::iota(order.begin(), order.end(), 0);
  scan.frames = reordered_frames(scan.frames, std::move(order));
  scan.notes.push_back(text("the last ", dropped, " frames have no position: left out"));
}

void read_points(const Hdf5Reader& reader, ScanFile& scan) {
  const Hdf5Dataset points = reader.dataset("/points");
  const Table table = read_table(points);
  if (table.rows != 2) {
    fail_input(points.where(), ": expected x and y as [2, N], found ", table.rows, " x ",
               table.columns);
  }
  for (std::int64_t k = 0; k < table.columns; ++k) {
    scan.positions.push_back({table.at(1, k) * 1e-6, table.at(0, k) * 1e-6});
  }
  scan.position_unit = PositionUnit::kMetre;
  scan.positions_are_centers = true;
  drop_unplaced_frames(scan);
}

// HXN: points (2, N) in micrometres, row 0 is x (along the columns), row 1 is y (along the rows),
// the way the beam moves. `diffamp` is sqrt(I) with its zero frequency in the corner; the dumps
// for networks hold `dp` instead, I with the zero frequency in the centre.
void read_hxn(const Hdf5Reader& reader, const ScanRequest& request, ScanFile& scan) {
  const bool amplitude = reader.exists("/diffamp");
  take_frames(reader, request, amplitude ? "/diffamp" : "/dp", scan);
  const bool named_intensity = scan.frames_dataset == "/dp" || scan.frames_dataset == "dp";
  if (amplitude && !named_intensity) {
    scan.quantity = Quantity::kAmplitude;
    scan.zero_frequency = ZeroFrequency::kCorner;
  }
  if (request.own_positions && reader.is_dataset("/points")) read_points(reader, scan);
  if (const auto nanometres = number_at(reader, "", "lambda_nm")) {
    set_energy(energy_ev(*nanometres * 1e-9), "/lambda_nm", scan);
  }
  scan.distance_m = number_at(reader, "", "z_m");
  if (const auto micrometres = number_at(reader, "", "ccd_pixel_um")) {
    scan.detector_pixel_m = {*micrometres * 1e-6, *micrometres * 1e-6};
  }
  scan.notes.push_back(
      "HXN files do not say how the detector is mounted: if the object comes out torn, try "
      "--positions-sign and --orientation");
}

std::vector<double> column(const Hdf5Reader& reader, const std::string& name) {
  return reader.dataset(name).read_numbers();
}

// ptychodus' product: what a reconstruction made, without frames. Positions are those of the
// beam's centre on the object in metres, x along the columns, y along the rows.
void read_product(const Hdf5Reader& reader, const ScanRequest& request, ScanFile& scan) {
  if (!request.frames_dataset.empty()) take_frames(reader, request, "", scan);
  const std::vector<double> x = column(reader, "/probe_position_x_m");
  const std::vector<double> y = column(reader, "/probe_position_y_m");
  if (x.size() != y.size()) {
    fail_input(reader.path().string(), ": expected as many probe_position_x_m as ..y_m, found ",
               x.size(), " and ", y.size());
  }
  for (std::size_t k = 0; request.own_positions && k < x.size(); ++k) {
    scan.positions.push_back({y[k], x[k]});
  }
  scan.position_unit = PositionUnit::kMetre;
  scan.positions_are_centers = true;
  if (reader.is_dataset("/probe_position_indexes")) {
    scan.frame_index = reader.dataset("/probe_position_indexes").read_integers();
  }
  if (reader.is_dataset("/probe")) {
    const Hdf5Dataset probe = reader.dataset("/probe");
    scan.probe = as_probe(probe.read(DType::kC64), probe.where());
  }
  if (const auto energy = number_at(reader, "", "probe_energy_eV")) {
    set_energy(*energy, "probe_energy_eV", scan);
  }
  scan.distance_m = number_at(reader, "", "detector_object_distance_m");
  const auto height = number_at(reader, "/object", "pixel_height_m");
  const auto width = number_at(reader, "/object", "pixel_width_m");
  if (height && width) scan.object_pixel_m = {*height, *width};
}

// PtyLab: encoder (N, 2) in metres, (row, column), of the beam on the object.
void read_ptylab(const Hdf5Reader& reader, const ScanRequest& request, ScanFile& scan) {
  take_frames(reader, request, "/ptychogram", scan);
  if (request.own_positions && reader.is_dataset("/encoder")) {
    const Hdf5Dataset encoder = reader.dataset("/encoder");
    const Table table = read_table(encoder);
    if (table.columns != 2) {
      fail_input(encoder.where(), ": expected [N, 2], found ", table.columns, " columns");
    }
    for (std::int64_t k = 0; k < table.rows; ++k) {
      scan.positions.push_back({table.at(k, 0), table.at(k, 1)});
    }
    scan.position_unit = PositionUnit::kMetre;
    scan.positions_are_centers = true;
  }
  if (const auto wavelength = number_at(reader, "", "wavelength")) {
    set_energy(energy_ev(*wavelength), "/wavelength", scan);
  }
  scan.distance_m = number_at(reader, "", "zo");
  if (const auto pixel = number_at(reader, "", "dxd")) scan.detector_pixel_m = {*pixel, *pixel};
}

using Recognised = std::optional<std::string>;

}  // namespace

Hdf5Format hxn_format() {
  return {"hxn",
          [](const Hdf5Reader& reader) -> Recognised {
            if (reader.is_dataset("/diffamp")) return "has /diffamp";
            if (reader.is_dataset("/dp")) return "has /dp";
            return std::nullopt;
          },
          read_hxn};
}

Hdf5Format ptychodus_product_format() {
  return {
      "ptychodus product",
      [](const Hdf5Reader& reader) -> Recognised {
        if (reader.is_dataset("/probe_position_x_m") && reader.is_dataset("/probe_position_y_m")) {
          return "has /probe_position_x_m, /probe_position_y_m";
        }
        return std::nullopt;
      },
      read_product};
}

Hdf5Format ptylab_format() {
  return {"ptylab",
          [](const Hdf5Reader& reader) -> Recognised {
            if (reader.is_dataset("/ptychogram")) return "has /ptychogram";
            return std::nullopt;
          },
          read_ptylab};
}

}  // namespace ptynet::io
