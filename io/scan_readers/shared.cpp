#include <algorithm>
#include <cmath>
#include <complex>

#include "io/scan_readers/frames.h"
#include "io/scan_readers/readers.h"

namespace ptynet::io {

namespace {

constexpr double kElementaryCharge = 1.602176634e-19;          // J per eV, exact since 2019
constexpr std::int64_t kLargestTable = std::int64_t{1} << 30;  // numbers

}  // namespace

void take_frames(const Hdf5Reader& reader, const ScanRequest& request, const std::string& dataset,
                 ScanFile& scan) {
  scan.frames_dataset = request.frames_dataset.empty() ? dataset : request.frames_dataset;
  const Hdf5Dataset opened = reader.dataset(scan.frames_dataset);
  scan.frames = hdf5_frames(opened, Leading::kRaster);
  if (opened.shape().size() == 4) {
    scan.notes.push_back(text(scan.frames_dataset, " has four dimensions: a raster of ",
                              opened.shape()[0], " x ", opened.shape()[1], ", read row after row"));
  }
}

// What is there but is no number (ptypy writes None as text) counts as absent.
std::optional<double> number_at(const Hdf5Reader& reader, const std::string& group,
                                const std::string& name) {
  const std::optional<std::array<double, 2>> both = pair_at(reader, group, name);
  if (!both || (*both)[0] != (*both)[1]) return std::nullopt;
  return (*both)[0];
}

std::optional<std::array<double, 2>> pair_at(const Hdf5Reader& reader, const std::string& group,
                                             const std::string& name) {
  const std::string full = group + "/" + name;
  std::vector<double> values;
  if (reader.is_dataset(full)) {
    const Hdf5Dataset dataset = reader.dataset(full);
    const Hdf5Kind kind = dataset.type().kind;
    const bool text = kind == Hdf5Kind::kString || kind == Hdf5Kind::kOther;
    if (!text && dataset.elements() <= 2) values = dataset.read_numbers();
  } else if (const auto attribute = reader.numbers_attribute(group, name)) {
    values = *attribute;
  }
  if (values.empty() || values.size() > 2) return std::nullopt;
  return std::array<double, 2>{values.front(), values.back()};
}

std::optional<double> metres_in(const std::string& unit) {
  if (unit == "m" || unit == "meter" || unit == "metre" || unit == "meters") return 1;
  if (unit == "mm" || unit == "millimeter") return 1e-3;
  if (unit == "um" || unit == "\xC2\xB5m" || unit == "\xCE\xBCm" || unit == "micron" ||
      unit == "microns" || unit == "micrometer") {
    return 1e-6;
  }
  if (unit == "nm" || unit == "nanometer") return 1e-9;
  if (unit == "angstrom" || unit == "Angstrom" || unit == "A" || unit == "\xC3\x85") return 1e-10;
  return std::nullopt;
}

std::optional<double> electronvolts_in(const std::string& unit) {
  if (unit == "eV" || unit == "ev") return 1;
  if (unit == "keV" || unit == "kev") return 1e3;
  if (unit == "J" || unit == "joule" || unit == "Joule") return 1 / kElementaryCharge;
  return std::nullopt;
}

std::optional<double> length_at(const Hdf5Reader& reader, const std::string& name) {
  if (!reader.is_dataset(name)) return std::nullopt;
  const double value = reader.number(name);
  const std::optional<std::string> unit = reader.string_attribute(name, "units");
  if (!unit) return value;
  const std::optional<double> scale = metres_in(*unit);
  if (!scale) {
    fail_input(reader.path().string(), ":", name, ": expected a length in m, mm, um or nm, found ",
               "units '", printable(*unit), "'");
  }
  return value * *scale;
}

void set_energy(double electronvolts, const std::string& origin, ScanFile& scan) {
  if (electronvolts >= 1 && electronvolts <= 1e6) {
    scan.energy_ev = electronvolts;
    return;
  }
  scan.notes.push_back(text(origin, " would be ", electronvolts,
                            " eV, which is no photon energy: ignored, give --energy"));
}

Array as_probe(const Array& values, const std::string& where) {
  const Shape& shape = values.shape();
  const std::size_t rank = shape.rank();
  if (rank < 2 || shape.elements() == 0) {
    fail_input(where, ": expected a probe as [H, W] or [modes, H, W], found ", to_string(shape));
  }
  const std::int64_t height = shape[rank - 2];
  const std::int64_t width = shape[rank - 1];
  return values.reshape({shape.elements() / (height * width), height, width});
}

Array mask_where(const std::vector<std::int64_t>& values, std::int64_t height, std::int64_t width,
                 const std::function<bool(std::int64_t)>& good) {
  Array out = Array::host({height, width}, DType::kU8);
  auto* to = out.data<std::uint8_t>();
  for (std::int64_t k = 0; k < height * width; ++k) {
    to[k] = good(values[static_cast<std::size_t>(k)]) ? 1 : 0;
  }
  return out;
}

Table read_table(const Hdf5Dataset& dataset) {
  const auto& shape = dataset.shape();
  if (shape.empty() || dataset.elements() == 0 || dataset.elements() > kLargestTable) {
    fail_input(dataset.where(), ": expected a table of positions, found ", dataset.elements(),
               " numbers");
  }
  Table out{dataset.read_numbers(), 0, shape.back()};
  out.rows = dataset.elements() / out.columns;
  return out;
}

Table read_table(const Array& values, const std::string& where) {
  const Shape& shape = values.shape();
  if (shape.rank() == 0 || shape.elements() == 0) {
    fail_input(where, ": expected a table of positions, found ", to_string(shape));
  }
  const double* from = values.data<double>();
  Table out{{from, from + shape.elements()}, 0, shape[shape.rank() - 1]};
  out.rows = shape.elements() / out.columns;
  return out;
}

}  // namespace ptynet::io
