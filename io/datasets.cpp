#include "io/datasets.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "io/hdf5.h"
#include "io/npy.h"
#include "io/scan_readers/readers.h"

namespace ptynet::io {

namespace {

const std::vector<std::string> kUsualProbes = {"/entry_1/instrument_1/source_1/illumination",
                                               "/probe", "probe"};

enum class Container { kHdf5, kNpz, kNpy };

Container container_of(const std::filesystem::path& path) {
  if (Hdf5Reader::is_hdf5(path)) return Container::kHdf5;
  const auto source = open_file(path);
  std::array<std::byte, 2> begin{};
  if (source->size() >= begin.size()) source->read(0, begin);
  const bool zip = begin[0] == std::byte{'P'} && begin[1] == std::byte{'K'};
  return zip ? Container::kNpz : Container::kNpy;
}

// The one name of a list, or an error that shows the list.
std::string only_one(const std::vector<std::string>& names, const std::filesystem::path& path) {
  if (names.size() == 1) return names[0];
  std::string listing;
  for (const std::string& name : names) {
    listing += (listing.empty() ? "" : ", ") + printable(name);
  }
  fail_input(path.string(), ": expected one array, found ", listing.empty() ? "none" : listing,
             "; name it as FILE:DATASET");
}

std::vector<std::string> root_datasets(const Hdf5Reader& reader) {
  std::vector<std::string> names = reader.list("/");
  std::erase_if(names, [&](const std::string& name) { return !reader.is_dataset(name); });
  return names;
}

// A .npy takes no dataset name.
void expect_no_dataset(const DatasetName& name) {
  if (!name.dataset.empty()) {
    fail_input(name.path.string(), ": a .npy file holds one array, but '", name.dataset,
               "' was asked for");
  }
}

PositionTable plain_table(const Table& table, const std::string& where) {
  PositionTable out;
  const bool by_columns = table.columns != 2 && table.rows == 2;
  if (table.columns != 2 && !by_columns) {
    fail_input(where, ": expected positions as [N, 2], found ", table.rows, " x ", table.columns);
  }
  const std::int64_t n = by_columns ? table.columns : table.rows;
  for (std::int64_t k = 0; k < n; ++k) {
    out.positions.push_back(by_columns ? Position{table.at(0, k), table.at(1, k)}
                                       : Position{table.at(k, 0), table.at(k, 1)});
  }
  return out;
}

PositionTable named_hdf5_positions(const Hdf5Reader& reader, const std::string& dataset) {
  const Hdf5Dataset opened = reader.dataset(dataset);
  PositionTable out = plain_table(read_table(opened), opened.where());
  const auto unit = reader.string_attribute(dataset, "units");
  if (!unit) return out;
  if (*unit == "px" || *unit == "pixel" || *unit == "pixels") out.unit = PositionUnit::kPixel;
  if (const auto metres = metres_in(*unit)) {
    out.unit = PositionUnit::kMetre;
    for (Position& p : out.positions) p = {p.row * *metres, p.column * *metres};
  }
  return out;
}

PositionTable table_of(const ScanFile& scan) {
  return {scan.positions, scan.position_unit, scan.positions_are_centers, scan.frame_index,
          scan.energy_ev, scan.distance_m,    scan.object_pixel_m,        scan.notes};
}

PositionTable npz_positions(const DatasetName& name) {
  const NpzFile file(name.path);
  const bool tike = name.dataset.empty() && file.has("scan");
  const bool ptychonn = name.dataset.empty() && !tike && file.has("position");
  const std::string member = !name.dataset.empty() ? name.dataset
                             : tike                ? "scan"
                             : ptychonn            ? "position"
                                                   : only_one(file.names(), name.path);
  PositionTable out = plain_table(read_table(file.read(member, DType::kF64), to_string(name)),
                                  name.path.string() + ":" + member);
  if (tike) out.unit = PositionUnit::kPixel;
  if (ptychonn) out.unit = PositionUnit::kMetre;
  out.are_centers = ptychonn;
  return out;
}

bool ends_with(const std::string& name, const std::string& ending) {
  return name.size() >= ending.size() &&
         name.compare(name.size() - ending.size(), ending.size(), ending) == 0;
}

// The dataset meant by a file alone: the first of `usual` that is there, else the only one.
std::string usual_dataset(const std::filesystem::path& path,
                          const std::vector<std::string>& usual) {
  if (container_of(path) == Container::kNpy) return {};
  if (container_of(path) == Container::kHdf5) {
    const Hdf5Reader reader(path);
    const auto found = reader.first_of(usual);
    return found ? *found : only_one(root_datasets(reader), path);
  }
  const NpzFile file(path);
  for (const std::string& name : usual) {
    if (file.has(name)) return name;
  }
  return only_one(file.names(), path);
}

// The table's number in the place of the scan's.
void take_number(const std::optional<double>& from, const std::string& what,
                 std::optional<double>& to, std::vector<std::string>& notes) {
  if (!from) return;
  if (to && std::abs(*to - *from) > 1e-3 * *from) {
    notes.push_back(text("the ", what, ", ", *from, " is taken, not the scan's ", *to));
  }
  to = from;
}

DatasetName with_usual(DatasetName name, const std::vector<std::string>& usual) {
  if (name.dataset.empty()) name.dataset = usual_dataset(name.path, usual);
  return name;
}

}  // namespace

DatasetName parse_dataset_name(const std::string& argument) {
  std::error_code ignored;
  const std::size_t colon = argument.rfind(':');
  if (colon == std::string::npos || std::filesystem::exists(argument, ignored)) {
    if (argument.empty()) fail_input("expected FILE or FILE:DATASET, found nothing");
    return {argument, {}};
  }
  if (colon == 0) fail_input("expected FILE or FILE:DATASET, found '", argument, "'");
  return {argument.substr(0, colon), argument.substr(colon + 1)};
}

std::string to_string(const DatasetName& name) {
  return name.dataset.empty() ? name.path.string() : name.path.string() + ":" + name.dataset;
}

Array load_array(const DatasetName& name, DType type) {
  switch (container_of(name.path)) {
    case Container::kHdf5: {
      const Hdf5Reader reader(name.path);
      return reader.read(
          name.dataset.empty() ? only_one(root_datasets(reader), name.path) : name.dataset, type);
    }
    case Container::kNpz: {
      const NpzFile file(name.path);
      return file.read(name.dataset.empty() ? only_one(file.names(), name.path) : name.dataset,
                       type);
    }
    case Container::kNpy:
      break;
  }
  expect_no_dataset(name);
  return read_npy(name.path, type);
}

PositionTable load_positions(const DatasetName& name) {
  switch (container_of(name.path)) {
    case Container::kHdf5: {
      if (!name.dataset.empty()) {
        return named_hdf5_positions(Hdf5Reader(name.path), name.dataset);
      }
      const ScanFile scan = open_hdf5_tables(name.path);
      if (scan.positions.empty()) {
        fail_input(name.path.string(), ": a ", scan.format, " file without positions");
      }
      return table_of(scan);
    }
    case Container::kNpz:
      return npz_positions(name);
    case Container::kNpy:
      break;
  }
  expect_no_dataset(name);
  return plain_table(read_table(read_npy(name.path, DType::kF64), to_string(name)),
                     to_string(name));
}

void set_positions(const PositionTable& table, const std::string& where, ScanFile& scan) {
  const std::int64_t frames = scan.frames->count();
  scan.positions_are_centers = table.are_centers;
  scan.position_unit = table.unit;
  take_number(table.energy_ev, text("energy of ", where, ", eV"), scan.energy_ev, scan.notes);
  take_number(table.distance_m, text("distance of ", where, ", m"), scan.distance_m, scan.notes);
  if (table.object_pixel_m) scan.object_pixel_m = table.object_pixel_m;
  scan.notes.insert(scan.notes.end(), table.notes.begin(), table.notes.end());
  const bool by_number = table.frame_index.size() == table.positions.size() &&
                         static_cast<std::int64_t>(scan.frame_index.size()) == frames;
  if (!by_number) {
    check_positions(table.positions, frames, where);
    scan.positions = table.positions;
    return;
  }
  std::unordered_map<std::int64_t, Position> of_frame;
  for (std::size_t k = 0; k < table.positions.size(); ++k) {
    of_frame[table.frame_index[k]] = table.positions[k];
  }
  scan.positions.clear();
  for (const std::int64_t index : scan.frame_index) {
    const auto found = of_frame.find(index);
    if (found == of_frame.end()) {
      fail_input(where, ": expected a position for frame number ", index, ", found none among ",
                 table.positions.size(), " positions for ", frames, " frames");
    }
    scan.positions.push_back(found->second);
  }
  check_positions(scan.positions, frames, where);
}

Array load_probe(const DatasetName& name) {
  const DatasetName full = with_usual(name, kUsualProbes);
  return as_probe(load_array(full, DType::kC64), to_string(full));
}

std::optional<std::array<double, 2>> probe_pixel_m(const DatasetName& name, const Shape& probe) {
  if (container_of(name.path) != Container::kHdf5) return std::nullopt;
  const Hdf5Reader reader(name.path);
  const std::string dataset = with_usual(name, kUsualProbes).dataset;
  const auto row = number_at(reader, dataset, "pixel_height_m");
  const auto column = number_at(reader, dataset, "pixel_width_m");
  if (row && column) return std::array{*row, *column};
  if (!ends_with(dataset, "source_1/illumination")) return std::nullopt;
  ScanFile beside;
  try {
    read_cxi_geometry(reader, beside);
  } catch (const Error&) {
    return std::nullopt;  // only the probe was asked for
  }
  if (!beside.energy_ev || !beside.distance_m || !beside.detector_pixel_m) return std::nullopt;
  const double length = wavelength_m(*beside.energy_ev) * *beside.distance_m;  // m^2
  const auto [row_m, column_m] = *beside.detector_pixel_m;
  return std::array{length / (static_cast<double>(probe[1]) * row_m),
                    length / (static_cast<double>(probe[2]) * column_m)};
}

Array load_mask(const DatasetName& name) {
  const DatasetName full = with_usual(
      name, {"/entry_1/instrument_1/detector_1/mask",
             "/entry/instrument/detector/detectorSpecific/pixel_mask", "bad_pixels", "mask"});
  // f64 holds every mask's bits exactly, whatever integer they are stored as.
  const Array values = load_array(full, DType::kF64);
  if (values.shape().rank() != 2 || values.elements() == 0) {
    fail_input(to_string(full), ": expected a mask as [H, W], found ", to_string(values.shape()));
  }
  const bool faults =
      ends_with(full.dataset, "bad_pixels") || ends_with(full.dataset, "pixel_mask");
  const bool cxi = ends_with(full.dataset, "detector_1/mask");
  Array out = Array::host(values.shape(), DType::kU8);
  const double* from = values.data<double>();
  auto* to = out.data<std::uint8_t>();
  for (std::int64_t k = 0; k < values.elements(); ++k) {
    const double value = from[k];
    bool good = value != 0 && !std::isnan(value);
    if (faults) good = value == 0;
    if (cxi) good = value == 0 || value == 0x1000;
    to[k] = good ? 1 : 0;
  }
  return out;
}

Array load_image(const DatasetName& name) {
  Array values = load_array(name, DType::kF32);
  const Shape& shape = values.shape();
  if (shape.rank() == 2) return values;
  if (shape.rank() != 3 || values.elements() == 0) {
    fail_input(to_string(name), ": expected an image as [H, W] or [N, H, W], found ",
               to_string(shape));
  }
  const std::int64_t pixels = shape[1] * shape[2];
  Array out = Array::zeros({shape[1], shape[2]}, DType::kF32);
  const float* from = values.data<float>();
  float* sum = out.data<float>();
  for (std::int64_t k = 0; k < values.elements(); ++k) {
    sum[k % pixels] += from[k] / static_cast<float>(shape[0]);
  }
  return out;
}

}  // namespace ptynet::io
