#include "io/cxi_writer.h"

#include <cmath>

namespace ptynet::io {

namespace {

const std::string kDetector = "/entry_1/instrument_1/detector_1";
const std::string kSource = "/entry_1/instrument_1/source_1";
const std::string kFrames = kDetector + "/data";
const std::string kTranslation = "/entry_1/sample_1/geometry_1/translation";
constexpr double kElementaryCharge = 1.602176634e-19;  // J per eV, exact since 2019
constexpr unsigned kDeflateLevel = 4;

void check(const std::filesystem::path& path, const CxiHeader& header) {
  const auto positive = [&path](double value, const char* name) {
    if (value > 0 && std::isfinite(value)) return;
    fail_input(path.string(), ": expected a ", name, " above 0, found ", value);
  };
  positive(header.energy_ev, "photon energy");
  positive(header.distance_m, "distance");
  positive(header.detector_pixel_m[0], "detector pixel");
  positive(header.detector_pixel_m[1], "detector pixel");
}

Array numbers(const std::vector<double>& values, const Shape& shape) {
  return Array::copy_of(values, shape);
}

void write_number(Hdf5Writer& file, const std::string& name, double value) {
  file.write(name, numbers({value}, {}));
}

// (x, y, z) of the sample: it moves against the beam, whose centre is at pixel N / 2 of the patch.
// Upright, a beam further down or to the right is a sample further up or to the left: +y, +x.
Array translations(const CxiHeader& header) {
  const double length = wavelength_m(header.energy_ev) * header.distance_m;  // m^2
  const auto h = static_cast<double>(header.height);
  const auto w = static_cast<double>(header.width);
  const double row_m = length / (h * header.detector_pixel_m[0]);
  const double column_m = length / (w * header.detector_pixel_m[1]);
  std::vector<double> values;
  for (const Position& p : header.positions_px) {
    values.push_back((p.column + std::floor(w / 2)) * column_m);
    values.push_back((p.row + std::floor(h / 2)) * row_m);
    values.push_back(0);
  }
  return numbers(values, {static_cast<std::int64_t>(header.positions_px.size()), 3});
}

void write_detector(Hdf5Writer& file, const CxiHeader& header) {
  const auto [row_m, column_m] = header.detector_pixel_m;
  file.create_growable(kFrames, {header.height, header.width}, header.type, kDeflateLevel);
  write_number(file, kDetector + "/distance", header.distance_m);
  write_number(file, kDetector + "/x_pixel_size", column_m);
  write_number(file, kDetector + "/y_pixel_size", row_m);
  // Columns of the matrix: the steps to the next row and to the next column, (x, y, z).
  file.write(kDetector + "/basis_vectors", numbers({0, -column_m, -row_m, 0, 0, 0}, {3, 2}));
  // Outer corner of the first pixel; the beam meets the middle of pixel N / 2.
  const double across = (std::floor(static_cast<double>(header.width) / 2) + 0.5) * column_m;
  const double up = (std::floor(static_cast<double>(header.height) / 2) + 0.5) * row_m;
  file.write(kDetector + "/corner_position", numbers({across, up, header.distance_m}, {3}));
}

}  // namespace

CxiWriter::CxiWriter(const std::filesystem::path& path, const CxiHeader& header)
    : file_((check(path, header), path)),
      expected_(static_cast<std::int64_t>(header.positions_px.size())) {
  file_.write("/cxi_version", Array::copy_of(std::vector<std::int32_t>{160}, {}));
  file_.write("/number_of_entries", Array::copy_of(std::vector<std::int32_t>{1}, {}));
  if (!header.program.empty()) file_.write("/entry_1/program_name", header.program);
  write_detector(file_, header);
  write_number(file_, kSource + "/energy", header.energy_ev * kElementaryCharge);
  write_number(file_, kSource + "/wavelength", wavelength_m(header.energy_ev));
  if (!header.probe.empty()) file_.write(kSource + "/illumination", header.probe);
  file_.write(kTranslation, translations(header));
  file_.attribute(kTranslation, "units", "m");
  file_.group("/entry_1/data_1");
  file_.link("/entry_1/data_1/data", kFrames);
  file_.link("/entry_1/data_1/translation", kTranslation);
}

void CxiWriter::append(const Array& frames) {
  file_.append(kFrames, frames);
  frames_ += frames.shape()[0];
}

void CxiWriter::close() {
  if (frames_ != expected_) {
    fail_runtime("expected ", expected_, " frames in the CXI file, one per position, found ",
                 frames_);
  }
  file_.close();
}

void CxiWriter::commit() { file_.commit(); }

}  // namespace ptynet::io
