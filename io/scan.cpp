#include "io/scan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>

#include "io/near_field.h"
#include "io/scan_readers/frames.h"
#include "io/scan_readers/readers.h"

namespace ptynet::io {

namespace {

// h c / e in eV m: 6.62607015e-34 J s * 299792458 m/s / 1.602176634e-19 C, exact by definition.
constexpr double kEnergyTimesWavelength = 6.62607015e-34 * 299792458.0 / 1.602176634e-19;

const std::vector<Hdf5Format>& hdf5_formats() {
  // Special before general: an NXcxi_ptycho file may carry /cxi_version too.
  static const std::vector<Hdf5Format> formats = {nxcxi_format(),
                                                  cxi_format(),
                                                  ptyd_format(),
                                                  eiger_format(),
                                                  ptylab_format(),
                                                  hxn_format(),
                                                  ptychodus_product_format()};
  return formats;
}

enum class Container { kHdf5, kNpy, kZip, kOther };

Container container_of(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    fail_input(path.string(), std::filesystem::exists(path, error)
                                  ? ": expected a scan file, found something else than a file"
                                  : ": no such file");
  }
  std::array<char, 6> begin{};
  std::ifstream file(path, std::ios::binary);
  if (!file) fail_input(path.string(), ": cannot be opened");
  file.read(begin.data(), begin.size());
  const std::string magic(begin.data(), begin.size());
  if (magic == "\x93NUMPY") return Container::kNpy;
  if (magic.rfind("PK\x03\x04", 0) == 0 || magic.rfind("PK\x05\x06", 0) == 0) {
    return Container::kZip;
  }
  return Hdf5Reader::is_hdf5(path) ? Container::kHdf5 : Container::kOther;
}

void read_hdf5_scan(const ScanRequest& request, ScanFile& scan) {
  const Hdf5Reader reader(request.path);
  for (const Hdf5Format& format : hdf5_formats()) {
    const std::optional<std::string> reason = format.recognise(reader);
    if (!reason) continue;
    scan.format = format.name;
    scan.reason = *reason;
    format.read(reader, request, scan);
    return;
  }
  if (request.frames_dataset.empty()) {
    std::string names;
    for (const std::string& name : reader.list("/"))
      names += (names.empty() ? "" : ", ") + printable(name);
    fail_input(request.path.string(), ": an HDF5 file of no known format (its root holds ",
               names.empty() ? "nothing" : names, "); name the frames with --data DATASET");
  }
  scan.format = "hdf5";
  scan.reason = "an HDF5 file, frames named by --data";
  take_frames(reader, request, "", scan);
}

template <typename Value>
void drop_unless_positive(std::optional<Value>& value, bool positive, const char* what,
                          ScanFile& scan) {
  if (!value || positive) return;
  value.reset();
  scan.notes.push_back(text("the file's ", what, " is not a positive number: ignored"));
}

void check_geometry(ScanFile& scan) {
  const auto positive = [](double v) { return std::isfinite(v) && v > 0; };
  const auto both = [&](const auto& pair) {
    return pair && positive((*pair)[0]) && positive((*pair)[1]);
  };
  drop_unless_positive(scan.distance_m, scan.distance_m && positive(*scan.distance_m), "distance",
                       scan);
  drop_unless_positive(scan.detector_pixel_m, both(scan.detector_pixel_m), "detector pixel", scan);
  drop_unless_positive(scan.object_pixel_m, both(scan.object_pixel_m), "object pixel", scan);
}

}  // namespace

double wavelength_m(double energy_ev) { return kEnergyTimesWavelength / energy_ev; }
double energy_ev(double wavelength_m) { return kEnergyTimesWavelength / wavelength_m; }

void check_positions(const std::vector<Position>& positions, std::int64_t frames,
                     const std::string& where) {
  if (static_cast<std::int64_t>(positions.size()) != frames) {
    fail_input(where, ": expected one position for each of ", frames, " frames, found ",
               positions.size(), " positions");
  }
}

void check_finite(const std::vector<Position>& positions, std::int64_t first, std::int64_t end,
                  const std::string& where) {
  for (std::int64_t k = first; k < end; ++k) {
    const auto [row, column] = positions[static_cast<std::size_t>(k)];
    if (!std::isfinite(row) || !std::isfinite(column)) {
      fail_input(where, ": the position of frame ", k, " is not a number (row ", row, ", column ",
                 column, "); leave the frame out with --frames, or give --positions");
    }
  }
}

ScanFile open_scan(const ScanRequest& request) {
  ScanFile scan;
  scan.path = request.path;
  switch (container_of(request.path)) {
    case Container::kHdf5:
      read_hdf5_scan(request, scan);
      break;
    case Container::kNpy:
      read_npy_scan(request, scan);
      break;
    case Container::kZip:
      read_npz_scan(request, scan);
      break;
    case Container::kOther:
      fail_input(request.path.string(),
                 ": expected an HDF5, .npy or .npz file, found neither; "
                 "the name's ending does not matter, the content does");
  }
  if (!scan.frames) {
    fail_input(request.path.string(), ": a ", scan.format,
               " file holds no frames; open the "
               "scan's frames and give this file as --positions or --probe");
  }
  if (!scan.positions.empty()) {
    check_positions(scan.positions, scan.frames->count(), request.path.string());
  }
  check_geometry(scan);
  judge_near_field(scan);
  return scan;
}

// The frames are not asked for: a product file has none.
ScanFile open_hdf5_tables(const std::filesystem::path& path) {
  ScanFile scan;
  scan.path = path;
  if (container_of(path) != Container::kHdf5) {
    fail_input(path.string(), ": expected an HDF5 file");
  }
  read_hdf5_scan({.path = path, .frames_dataset = {}}, scan);
  return scan;
}

}  // namespace ptynet::io
