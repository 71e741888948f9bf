// Every supported format, written by tests/golden/make_signs.py in its own convention, must come to
// the same frames and positions. The frames are counts without noise, so all comparisons are exact
// but for rounding: positions to 1e-3 px (files in float32 of 1e-6 m), amplitudes to one part in
// 1e6 of a count's root.
#include <algorithm>
#include <cmath>
#include <functional>

#include "io/datasets.h"
#include "io/scan.h"
#include "tests/io/signs.h"

namespace ptynet::io {

namespace {

using tests::as_doubles;
using tests::read_truth;
using tests::signs_folder;
using tests::Truth;

// Where pixel (row, column) of an upright frame lies in a frame of the file.
using Detector = std::function<std::array<std::int64_t, 2>(std::int64_t, std::int64_t)>;

// "" when the frames are the truth's, else the first difference.
std::string compare_frames(ScanFile& scan, const Truth& truth, const Detector& detector) {
  if (scan.frames->count() != truth.count || scan.frames->height() != truth.size ||
      scan.frames->width() != truth.size) {
    return "another number or shape of frames";
  }
  const std::int64_t n = truth.size;
  const std::int64_t shift = scan.zero_frequency == ZeroFrequency::kCorner ? n / 2 : 0;
  // Ranges that cross chunks, files and rows of a raster.
  for (std::int64_t first = 0; first < truth.count;) {
    const std::int64_t some = std::min<std::int64_t>(first % 2 == 0 ? 9 : 4, truth.count - first);
    const std::vector<double> found = as_doubles(scan.frames->read(first, some));
    for (std::int64_t k = 0; k < some; ++k) {
      for (std::int64_t row = 0; row < n; ++row) {
        for (std::int64_t column = 0; column < n; ++column) {
          const auto [r, c] = detector((row + shift) % n, (column + shift) % n);
          double value = found[static_cast<std::size_t>((k * n + r) * n + c)];
          if (scan.quantity == Quantity::kAmplitude) value *= value;
          const double expected =
              truth.frames[static_cast<std::size_t>(((first + k) * n + row) * n + column)];
          if (std::abs(value - expected) > 2e-6 * expected) {
            return text("frame ", first + k, " (", row, ", ", column, "): expected ", expected,
                        ", found ", value);
          }
        }
      }
    }
    first += some;
  }
  return "";
}

// "" when the positions, relative to the first, are those of the truth in the detector's axes.
std::string compare_positions(const ScanFile& scan, const Truth& truth, const Detector& detector) {
  if (scan.positions.size() != truth.positions.size()) return "another number of positions";
  if (scan.position_unit == PositionUnit::kUnknown) return "unknown unit";
  const double scale = scan.position_unit == PositionUnit::kMetre ? 1 / truth.object_pixel_m : 1.0;
  // The object's axes are the detector's: where one pixel down and one to the right lead.
  const auto origin = detector(8, 8);
  const auto down = detector(9, 8);
  const auto right = detector(8, 9);
  const auto axis = [&](const auto& end, std::size_t k) {
    return static_cast<double>(end[k] - origin[k]);
  };
  for (std::size_t k = 0; k < truth.positions.size(); ++k) {
    const double dr = truth.positions[k].row - truth.positions[0].row;
    const double dc = truth.positions[k].column - truth.positions[0].column;
    const double row = dr * axis(down, 0) + dc * axis(right, 0);
    const double column = dr * axis(down, 1) + dc * axis(right, 1);
    const double found_row = (scan.positions[k].row - scan.positions[0].row) * scale;
    const double found_column = (scan.positions[k].column - scan.positions[0].column) * scale;
    if (!(std::abs(found_row - row) < 1e-3 && std::abs(found_column - column) < 1e-3)) {
      return text("position ", k, ": expected (", row, ", ", column, "), found (", found_row, ", ",
                  found_column, ")");
    }
  }
  return "";
}

std::string compare_geometry(const ScanFile& scan, const Truth& truth) {
  const auto close = [](double a, double b) { return std::abs(a - b) <= 1e-6 * b; };
  if (!scan.energy_ev || !close(*scan.energy_ev, truth.energy_ev)) return "another energy";
  if (!scan.distance_m || !close(*scan.distance_m, truth.distance_m)) return "another distance";
  if (!scan.detector_pixel_m || !close((*scan.detector_pixel_m)[0], truth.detector_pixel_m) ||
      !close((*scan.detector_pixel_m)[1], truth.detector_pixel_m)) {
    return "another detector pixel";
  }
  const double object_pixel = wavelength_m(*scan.energy_ev) * *scan.distance_m /
                              (static_cast<double>(truth.size) * (*scan.detector_pixel_m)[0]);
  return close(object_pixel, truth.object_pixel_m) ? "" : "another object pixel";
}

std::string compare_mask(const ScanFile& scan, const Truth& truth) {
  const auto* found = scan.mask.data<std::uint8_t>();
  for (std::int64_t k = 0; k < scan.mask.elements(); ++k) {
    if (found[k] != truth.mask[static_cast<std::size_t>(k)]) return text("pixel ", k);
  }
  return "";
}

std::array<std::int64_t, 2> upright(std::int64_t row, std::int64_t column) { return {row, column}; }

// rows along +x, columns along -y: see cxi_turned() of signs_formats.py
std::array<std::int64_t, 2> turned(std::int64_t row, std::int64_t column) {
  return {(64 - column) % 64, row};
}

struct Case {
  std::string file;
  std::string format;
  std::string frames;     // --data
  std::string positions;  // --positions, a name in the folder
  bool geometry;
  bool mask;
  Detector detector;
};

std::vector<Case> cases() {
  return {
      {"scan.cxi", "cxi", "", "", true, true, upright},
      {"turned.cxi", "cxi", "", "", true, false, turned},
      {"nxcxi.nxs", "nxcxi_ptycho", "", "", true, false, upright},
      {"scan.ptyd", "ptyd", "", "", true, true, upright},
      {"scan_1.h5", "hxn", "", "", true, false, upright},
      {"hxn_dump.h5", "hxn", "", "", true, false, upright},
      {"patterns.npz", "ptychodus", "", "product.h5", false, true, upright},
      {"ptychonn.npz", "ptychonn", "", "", false, false, upright},
      {"tike.npz", "tike", "", "", false, false, upright},
      {"series_master.h5", "eiger", "", "positions.npy", true, true, upright},
      {"frames.npy", "npy", "", "positions.npy", false, false, upright},
      {"objects.npy", "npy", "", "positions.npy", false, false, upright},
      {"plain.h5", "hdf5", "raw/frames", "plain.h5:raw/positions", false, false, upright},
      {"virtual.h5", "hdf5", "frames", "positions.npy", false, false, upright},
      {"patterns.npz", "ptychodus", "patterns", "positions.npy", false, false, upright},
      {"ptylab.hdf5", "ptylab", "", "", true, false, upright},
  };
}

ScanFile open_case(const Case& c) {
  ScanFile scan = open_scan({signs_folder() / c.file, c.frames});
  if (c.positions.empty()) return scan;
  const DatasetName name = parse_dataset_name((signs_folder() / c.positions).string());
  set_positions(load_positions(name), to_string(name), scan);
  // what a user has to say of bare numbers
  if (scan.position_unit == PositionUnit::kUnknown) scan.position_unit = PositionUnit::kPixel;
  return scan;
}

}  // namespace

TEST_CASE("Scan: every format comes to the same scan", "[scan]") {
  PTYNET_NEED_SIGNS();
  const Truth truth = read_truth(signs_folder() / "truth.h5");
  for (const Case& c : cases()) {
    INFO(c.file << " with positions of '" << c.positions << "'");
    ScanFile scan = open_case(c);
    CHECK(scan.format == c.format);
    CHECK(!scan.reason.empty());
    CHECK(compare_frames(scan, truth, c.detector) == "");
    CHECK(compare_positions(scan, truth, c.detector) == "");
    CHECK(!scan.near_field);
    if (c.geometry) CHECK(compare_geometry(scan, truth) == "");
    if (c.mask) {
      REQUIRE(!scan.mask.empty());
      CHECK(compare_mask(scan, truth) == "");
    } else if (c.format != "ptychodus") {
      CHECK(scan.mask.empty());
    }
  }
}

TEST_CASE("Scan: the comparison sees every wrong sign, order and flip", "[scan]") {
  PTYNET_NEED_SIGNS();
  const Truth truth = read_truth(signs_folder() / "truth.h5");
  const auto flipped_rows = [](std::int64_t r, std::int64_t c) {
    return std::array<std::int64_t, 2>{(64 - r) % 64, c};
  };
  const auto flipped_columns = [](std::int64_t r, std::int64_t c) {
    return std::array<std::int64_t, 2>{r, (64 - c) % 64};
  };
  const auto swapped = [](std::int64_t r, std::int64_t c) {
    return std::array<std::int64_t, 2>{c, r};
  };
  for (const Case& c : cases()) {
    INFO(c.file << " with positions of '" << c.positions << "'");
    const auto positions_after = [&](const std::function<void(Position&)>& change) {
      ScanFile scan = open_case(c);
      for (Position& p : scan.positions) change(p);
      return compare_positions(scan, truth, c.detector);
    };
    CHECK(positions_after([](Position& p) { p.row = -p.row; }) != "");
    CHECK(positions_after([](Position& p) { p.column = -p.column; }) != "");
    CHECK(positions_after([](Position& p) { p = {-p.row, -p.column}; }) != "");
    CHECK(positions_after([](Position& p) { p = {p.column, p.row}; }) != "");
    CHECK(positions_after([](Position& p) { p = {1e3 * p.row, 1e3 * p.column}; }) != "");
    ScanFile scan = open_case(c);
    for (const Detector& wrong :
         {Detector(flipped_rows), Detector(flipped_columns), Detector(swapped)}) {
      CHECK(compare_frames(scan, truth, wrong) != "");
      CHECK(compare_positions(scan, truth, wrong) != "");
    }
    std::reverse(scan.positions.begin(), scan.positions.end());
    CHECK(compare_positions(scan, truth, c.detector) != "");
    scan.zero_frequency = scan.zero_frequency == ZeroFrequency::kCorner ? ZeroFrequency::kCenter
                                                                        : ZeroFrequency::kCorner;
    CHECK(compare_frames(scan, truth, c.detector) != "");
    scan.energy_ev = truth.energy_ev * 1000;
    CHECK(compare_geometry(scan, truth) != "");
  }
}

}  // namespace ptynet::io
