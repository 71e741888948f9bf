// CXI files (cxidb.org/cxi.html, version 1.6) and their NeXus form, NXcxi_ptycho.
//
// Axes. CXI's laboratory frame is right-handed, z along the beam, y up; so x points left for who
// looks along the beam. `translation` is where the sample is: when it moves by t, the beam moves
// by -t over it. Pixel (row, column) lies at row * b_row + column * b_column; the object's axes
// follow the detector's, because the far field is a Fourier transform with exp(-i2pi), which turns
// no axis around. The object pixels o_row, o_column are dual to the detector's (o_j . b_k =
// wavelength distance / N, if j = k, else 0), so that a shift d of the beam is
// d . b_row / |b_row| metres down and d . b_column / |b_column| metres to the right, with the part
// of b along the beam left out. Without basis_vectors rows run along -y and columns along -x.
#include <algorithm>
#include <cmath>

#include "io/scan_readers/readers.h"

namespace ptynet::io {

namespace {

const std::string kEntry = "/entry_1";
const std::string kDetector = "/entry_1/instrument_1/detector_1";
const std::string kSource = "/entry_1/instrument_1/source_1";
const std::string kBeam = "/entry_1/instrument_1/beam_1";
constexpr std::int64_t kMaskGood = 0x1000;  // "pixel has signal above background", not a fault

using Vector = std::array<double, 2>;  // (x, y) of the laboratory, m

struct Basis {
  Vector row{0, -1};
  Vector column{-1, 0};
  bool given = false;
};

double norm(const Vector& v) { return std::hypot(v[0], v[1]); }

Basis read_basis(const Hdf5Reader& reader, ScanFile& scan) {
  Basis basis;
  const std::string name = kDetector + "/basis_vectors";
  if (!reader.is_dataset(name)) return basis;
  const Hdf5Dataset dataset = reader.dataset(name);
  const std::vector<std::int64_t>& shape = dataset.shape();
  const bool by_columns = shape == std::vector<std::int64_t>{3, 2};
  if (!by_columns && shape != std::vector<std::int64_t>{2, 3}) {
    fail_input(dataset.where(), ": expected shape [3, 2] or [2, 3]");
  }
  const std::vector<double> values = dataset.read_numbers();
  const auto at = [&](std::size_t vector, std::size_t axis) {
    return by_columns ? values[axis * 2 + vector] : values[vector * 3 + axis];
  };
  basis.row = {at(0, 0), at(0, 1)};
  basis.column = {at(1, 0), at(1, 1)};
  basis.given = true;
  const double area = std::abs(basis.row[0] * basis.column[1] - basis.row[1] * basis.column[0]);
  // Written so that NaN is refused too.
  if (!(area > 1e-6 * norm(basis.row) * norm(basis.column)) || !std::isfinite(area)) {
    fail_input(dataset.where(), ": expected two directions across the beam; they are parallel, ",
               "or lie along it");
  }
  const double along =
      std::max(std::abs(at(0, 2)) / norm(basis.row), std::abs(at(1, 2)) / norm(basis.column));
  if (along > 0.02) {
    scan.notes.push_back(text(name, " is tilted by ", std::round(std::atan(along) * 573) / 10,
                              " degrees; only its part across the beam is used"));
  }
  return basis;
}

void read_geometry(const Hdf5Reader& reader, const Basis& basis, ScanFile& scan) {
  scan.distance_m = length_at(reader, kDetector + "/distance");
  const auto x = length_at(reader, kDetector + "/x_pixel_size");
  const auto y = length_at(reader, kDetector + "/y_pixel_size");
  if (basis.given) {
    scan.detector_pixel_m = {norm(basis.row), norm(basis.column)};
  } else if (x && y) {
    scan.detector_pixel_m = {*y, *x};
  }
}

void read_positions(const Hdf5Reader& reader, const Basis& basis, ScanFile& scan) {
  const auto name =
      reader.first_of({kEntry + "/data_1/translation", kEntry + "/sample_1/geometry_1/translation",
                       kDetector + "/translation"});
  if (!name) return;
  const Hdf5Dataset dataset = reader.dataset(*name);
  const Table table = read_table(dataset);
  if (table.columns != 3) {
    fail_input(dataset.where(), ": expected x, y, z of every frame, found ", table.columns,
               " columns");
  }
  double metres = 1;
  if (const auto unit = reader.string_attribute(*name, "units")) {
    const auto scale = metres_in(*unit);
    if (!scale)
      fail_input(dataset.where(), ": expected a length, found units '", printable(*unit), "'");
    metres = *scale;
  }
  const double row = norm(basis.row);
  const double column = norm(basis.column);
  for (std::int64_t k = 0; k < table.rows; ++k) {
    const Vector beam = {-table.at(k, 0) * metres, -table.at(k, 1) * metres};
    scan.positions.push_back({(beam[0] * basis.row[0] + beam[1] * basis.row[1]) / row,
                              (beam[0] * basis.column[0] + beam[1] * basis.column[1]) / column});
  }
  scan.position_unit = PositionUnit::kMetre;
  scan.positions_are_centers = true;
}

void read_mask(const Hdf5Reader& reader, ScanFile& scan) {
  const std::string name = kDetector + "/mask";
  if (!reader.is_dataset(name)) return;
  const Hdf5Dataset dataset = reader.dataset(name);
  const std::int64_t height = scan.frames->height();
  const std::int64_t width = scan.frames->width();
  if (dataset.shape() != std::vector<std::int64_t>{height, width}) {
    fail_input(dataset.where(), ": expected a mask of the frames' shape, ", height, " x ", width);
  }
  scan.mask = mask_where(dataset.read_integers(), height, width,
                         [](std::int64_t v) { return v == 0 || v == kMaskGood; });
}

// One frame without beam, or several, which are averaged.
void read_dark(const Hdf5Reader& reader, ScanFile& scan) {
  const auto name = reader.first_of({kDetector + "/data_dark", kEntry + "/data_1/data_dark"});
  if (!name || !reader.is_dataset(*name)) return;
  const Hdf5Dataset dataset = reader.dataset(*name);
  const std::vector<std::int64_t>& shape = dataset.shape();
  const std::int64_t height = scan.frames->height();
  const std::int64_t width = scan.frames->width();
  const bool fits = (shape.size() == 2 || shape.size() == 3) && dataset.elements() > 0 &&
                    shape[shape.size() - 2] == height && shape.back() == width;
  if (!fits) {
    scan.notes.push_back(text(*name, " is not of the frames' shape: ignored"));
    return;
  }
  scan.dark = Array::zeros({height, width}, DType::kF32);
  const std::int64_t count = shape.size() == 3 ? shape[0] : 1;
  for (std::int64_t k = 0; k < count; ++k) {
    const Array one =
        shape.size() == 3 ? dataset.read(DType::kF32, k, 1) : dataset.read(DType::kF32);
    const float* from = one.data<float>();
    float* sum = scan.dark.data<float>();
    for (std::int64_t p = 0; p < height * width; ++p) {
      sum[p] += from[p] / static_cast<float>(count);
    }
  }
}

void read_probe(const Hdf5Reader& reader, ScanFile& scan) {
  const std::string name = kSource + "/illumination";
  if (!reader.is_dataset(name)) return;
  const Hdf5Dataset dataset = reader.dataset(name);
  if (dataset.type().kind != Hdf5Kind::kComplex) {
    scan.notes.push_back(
        text(name, " holds ", to_string(dataset.type()), ", not complex numbers: no probe"));
    return;
  }
  scan.probe = as_probe(dataset.read(DType::kC64), dataset.where());
}

void read_common(const Hdf5Reader& reader, const ScanRequest& request, ScanFile& scan) {
  const auto frames = reader.first_of({kEntry + "/data_1/data", kDetector + "/data"});
  if (!frames && request.frames_dataset.empty()) {
    fail_input(reader.path().string(), ": expected frames at ", kEntry, "/data_1/data or ",
               kDetector, "/data; name their dataset with --data");
  }
  take_frames(reader, request, frames.value_or(""), scan);
  const Basis basis = read_basis(reader, scan);
  read_geometry(reader, basis, scan);
  if (request.own_positions) read_positions(reader, basis, scan);
  read_mask(reader, scan);
  read_dark(reader, scan);
  read_probe(reader, scan);
}

void read_source_energy(const Hdf5Reader& reader, ScanFile& scan) {
  if (const auto wavelength = length_at(reader, kSource + "/wavelength")) {
    set_energy(energy_ev(*wavelength), kSource + "/wavelength", scan);
  } else if (reader.is_dataset(kSource + "/energy")) {
    set_energy(reader.number(kSource + "/energy") * *electronvolts_in("J"), kSource + "/energy",
               scan);
  }
}

// The photon energy is the beam's; the source's energy is the machine's.
void read_beam_energy(const Hdf5Reader& reader, ScanFile& scan) {
  if (const auto wavelength = length_at(reader, kBeam + "/incident_wavelength")) {
    set_energy(energy_ev(*wavelength), kBeam + "/incident_wavelength", scan);
  }
  const auto name = reader.first_of(
      {kBeam + "/energy", kBeam + "/incident_beam_energy", kBeam + "/incident_energy"});
  if (!name || scan.energy_ev) return;
  const auto unit = reader.string_attribute(*name, "units");
  const auto scale = unit ? electronvolts_in(*unit) : std::nullopt;
  if (scale) {
    set_energy(reader.number(*name) * *scale, *name, scan);
  } else {
    scan.notes.push_back(text(
        *name,
        unit ? " has the unknown unit '" + printable(*unit) + "'" : std::string(" has no unit"),
        ": ignored, give --energy"));
  }
}

void read_cxi(const Hdf5Reader& reader, const ScanRequest& request, ScanFile& scan) {
  read_common(reader, request, scan);
  read_source_energy(reader, scan);
}

void read_nxcxi(const Hdf5Reader& reader, const ScanRequest& request, ScanFile& scan) {
  read_common(reader, request, scan);
  read_beam_energy(reader, scan);
}

std::optional<std::string> definition_of(const Hdf5Reader& reader) {
  if (reader.is_dataset(kEntry + "/definition")) return reader.string(kEntry + "/definition");
  return reader.string_attribute(kEntry, "definition");
}

bool is_nxcxi(const std::optional<std::string>& definition) {
  return definition == "NXcxi_ptycho" || definition == "NXptycho";
}

}  // namespace

void read_cxi_geometry(const Hdf5Reader& reader, ScanFile& scan) {
  read_geometry(reader, read_basis(reader, scan), scan);
  if (is_nxcxi(definition_of(reader))) {
    read_beam_energy(reader, scan);
  } else {
    read_source_energy(reader, scan);
  }
}

Hdf5Format nxcxi_format() {
  return {"nxcxi_ptycho",
          [](const Hdf5Reader& reader) -> std::optional<std::string> {
            const auto definition = definition_of(reader);
            if (!is_nxcxi(definition)) return std::nullopt;
            return "has /entry_1/definition " + *definition;
          },
          read_nxcxi};
}

Hdf5Format cxi_format() {
  return {"cxi",
          [](const Hdf5Reader& reader) -> std::optional<std::string> {
            if (reader.exists("/cxi_version")) return "has /cxi_version";
            return std::nullopt;
          },
          read_cxi};
}

}  // namespace ptynet::io
