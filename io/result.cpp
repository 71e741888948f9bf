#include "io/result.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <utility>

namespace ptynet::io {
namespace {

constexpr std::int64_t kFormatVersion = 1;
constexpr const char* kFormat = "ptynet-result";
// HDF5 keeps at most 64 KiB in an attribute; longer texts (a command line) are cut, so that a
// finished job is not lost for one.
constexpr std::size_t kMostText = 32000;

// The optional numbers of /process under their names in the file.
struct ProcessNumber {
  const char* name;
  std::optional<double> Process::*value;
};
constexpr ProcessNumber kProcessNumbers[] = {
    {"seconds", &Process::seconds},
    {"frames_per_second", &Process::frames_per_second},
    {"residual", &Process::residual},
    {"residual_stitched", &Process::residual_stitched},
    {"residual_flat_object", &Process::residual_flat},
    {"residual_mean_frame", &Process::residual_mean},
    {"network_seconds", &Process::network_seconds},
    {"overlap_offset_rms_rad", &Process::overlap_offset_rms_rad},
    {"overlap_spread_rms_rad", &Process::overlap_spread_rms_rad}};

struct ProcessText {
  const char* name;
  std::string Process::*value;
};
constexpr ProcessText kProcessTexts[] = {
    {"program", &Process::program},           {"version", &Process::version},
    {"command_line", &Process::command_line}, {"weights_sha256", &Process::weights_sha256},
    {"architecture", &Process::architecture}, {"device", &Process::device},
    {"precision", &Process::precision}};

template <typename Map>  // Map(std::complex<float>) -> float
Array mapped(const Array& object, const Map& map) {
  Array out = Array::host(object.shape(), DType::kF32);
  const auto* from = object.data<std::complex<float>>();
  std::transform(from, from + object.elements(), out.data<float>(), map);
  return out;
}

void check_map(const std::string& where, const char* name, const Array& map, DType type,
               const Shape& shape) {
  if (map.dtype() == type && map.shape() == shape && !map.empty()) return;
  fail_input(where, ": expected /", name, " as ", name_of(type), to_string(shape), ", found ",
             map.empty() ? "nothing" : describe(map));
}

void check_length(const std::string& where, const char* name, std::size_t found,
                  std::size_t expected) {
  if (found == expected) return;
  fail_input(where, ": expected ", expected, " values in /", name, ", one per position, found ",
             found);
}

void check(const std::string& where, const Result& result) {
  if (result.object.empty() || result.object.shape().rank() != 2 ||
      result.object.dtype() != DType::kC64) {
    fail_input(where, ": expected /object as c64[rows, columns], found ",
               result.object.empty() ? "nothing" : describe(result.object));
  }
  check_map(where, "coverage", result.coverage, DType::kF32, result.object.shape());
  check_map(where, "count", result.count, DType::kU32, result.object.shape());
  const std::size_t frames = result.positions.size();
  check_length(where, "frame_index", result.frame_index.size(), frames);
  for (const auto& [name, values] : {std::pair{"residual", &result.residual},
                                     std::pair{"residual_stitched", &result.residual_stitched}}) {
    if (!values->empty()) check_length(where, name, values->size(), frames);
  }
}

std::vector<double> both(const std::array<double, 2>& values) { return {values[0], values[1]}; }

void write_object_attributes(Hdf5Writer& file, const Result& result) {
  file.attribute("/object", "axes", "row, column");
  file.attribute("/object", "origin_px", both(result.origin_px));
  if (result.pixel_size_m) {
    file.attribute("/object", "pixel_size_m", both(*result.pixel_size_m));
    file.attribute("/object", "origin_m", both(*result.origin_m()));
  }
  if (result.energy_ev) file.attribute("/object", "energy_ev", *result.energy_ev);
}

void write_process(Hdf5Writer& file, const Process& process) {
  file.group("/process");
  for (const auto& [name, value] : kProcessTexts) {
    if (!(process.*value).empty())
      file.attribute("/process", name, (process.*value).substr(0, kMostText));
  }
  for (const auto& [name, value] : kProcessNumbers) {
    if (process.*value) file.attribute("/process", name, *(process.*value));
  }
  for (const auto& [name, value] : process.more) {
    file.attribute("/process", name, value.substr(0, kMostText));
  }
}

void write_residual(Hdf5Writer& file, const char* name, const std::vector<float>& values) {
  if (values.empty()) return;
  file.write(name, Array::copy_of(values, {static_cast<std::int64_t>(values.size())}));
  const auto dark = std::count_if(values.begin(), values.end(), [](float r) { return r != r; });
  file.attribute(name, "frames_without_counts", static_cast<std::int64_t>(dark));
}

std::optional<std::array<double, 2>> pair_attribute(const Hdf5Reader& file, const char* name) {
  const auto values = file.numbers_attribute("/object", name);
  if (!values) return std::nullopt;
  if (values->size() != 2 || !std::isfinite((*values)[0]) || !std::isfinite((*values)[1])) {
    fail_input(file.path().string(), ": expected two finite numbers (row, column) in attribute ",
               name, " of /object, found ", values->size(), " values");
  }
  return std::array<double, 2>{(*values)[0], (*values)[1]};
}

std::vector<Position> read_positions(const Hdf5Reader& file) {
  const Hdf5Dataset dataset = file.dataset("/positions");
  if (dataset.shape().size() != 2 || dataset.shape()[1] != 2) {
    fail_input(dataset.where(), ": expected positions of shape [N, 2] (row, column)");
  }
  const std::vector<double> numbers = dataset.read_numbers();
  std::vector<Position> positions;
  for (std::size_t i = 0; i + 1 < numbers.size(); i += 2) {
    positions.push_back({numbers[i], numbers[i + 1]});
  }
  return positions;
}

std::vector<float> read_residual(const Hdf5Reader& file, const char* name) {
  if (!file.exists(name)) return {};
  const Array values = file.read(name, DType::kF32);
  return {values.data<float>(), values.data<float>() + values.elements()};
}

Process read_process(const Hdf5Reader& file) {
  Process process;
  for (const auto& [name, value] : kProcessTexts) {
    process.*value = file.string_attribute("/process", name).value_or("");
  }
  for (const auto& [name, value] : kProcessNumbers) {
    process.*value = file.number_attribute("/process", name);
  }
  return process;
}

}  // namespace

std::optional<std::array<double, 2>> Result::origin_m() const {
  if (!pixel_size_m) return std::nullopt;
  return std::array<double, 2>{origin_px[0] * (*pixel_size_m)[0],
                               origin_px[1] * (*pixel_size_m)[1]};
}

Array Result::amplitude() const {
  return mapped(object, [](const std::complex<float>& value) { return std::abs(value); });
}

Array Result::phase_rad() const {
  return mapped(object, [](const std::complex<float>& value) { return std::arg(value); });
}

ResultWriter::ResultWriter(const std::filesystem::path& path) : file_(path), path_(path) {
  file_.attribute("/", "format", kFormat);
  file_.attribute("/", "format_version", kFormatVersion);
}

void ResultWriter::append_patches(const Array& amplitude, const Array& phase_rad) {
  const Shape& shape = amplitude.shape();
  if (amplitude.empty() || shape.rank() != 3 || amplitude.dtype() != DType::kF32 ||
      phase_rad.dtype() != DType::kF32 || !(phase_rad.shape() == shape) ||
      (patches_ > 0 && !(Shape{shape[1], shape[2]} == patch_))) {
    fail_input(path_.string(), ": expected amplitude and phase patches of one shape f32[n, h, w]",
               patches_ > 0 ? " with [h, w] = " + to_string(patch_) : std::string(), ", found ",
               describe(amplitude), " and ", describe(phase_rad));
  }
  if (patches_ == 0) {
    patch_ = Shape{shape[1], shape[2]};
    file_.create_growable("/patches/amplitude", patch_, DType::kF32);
    file_.create_growable("/patches/phase", patch_, DType::kF32);
    file_.attribute("/patches/phase", "unit", "rad");
  }
  file_.append("/patches/amplitude", amplitude);
  file_.append("/patches/phase", phase_rad);
  patches_ += shape[0];
}

void ResultWriter::write(const Result& result) {
  check(path_.string(), result);
  if (patches_ > 0) {
    check_length(path_.string(), "patches", static_cast<std::size_t>(patches_),
                 result.positions.size());
  }
  file_.write("/object", result.object);
  write_object_attributes(file_, result);
  file_.write("/amplitude", result.amplitude());
  file_.write("/phase", result.phase_rad());
  file_.attribute("/phase", "unit", "rad");
  file_.write("/coverage", result.coverage);
  file_.write("/count", result.count);

  const auto frames = static_cast<std::int64_t>(result.positions.size());
  Array positions = Array::host({frames, 2}, DType::kF64);
  for (std::int64_t i = 0; i < frames; ++i) {
    const Position& position = result.positions[static_cast<std::size_t>(i)];
    positions.data<double>()[2 * i] = position.row;
    positions.data<double>()[2 * i + 1] = position.column;
  }
  file_.write("/positions", positions);
  file_.attribute("/positions", "unit", "px");
  file_.attribute("/positions", "axes", "row, column");
  file_.write("/frame_index", result.frame_index);
  write_residual(file_, "/residual", result.residual);
  write_residual(file_, "/residual_stitched", result.residual_stitched);
  write_process(file_, result.process);
  file_.close();
}

void ResultWriter::commit() { file_.commit(); }

Result read_result(const std::filesystem::path& path) {
  const Hdf5Reader file(path);
  const std::string where = path.string();
  if (file.string_attribute("/", "format").value_or("") != kFormat) {
    fail_input(where, ": expected a result file of ptynet (attribute format = ", kFormat,
               "), found another HDF5 file");
  }
  const double version = file.number_attribute("/", "format_version").value_or(0);
  if (version != static_cast<double>(kFormatVersion)) {
    fail_input(where, ": expected a result file of version ", kFormatVersion, ", found version ",
               version, "; read it with the program that wrote it");
  }
  Result result;
  result.object = file.read("/object", DType::kC64);
  result.coverage = file.read("/coverage", DType::kF32);
  result.count = file.read("/count", DType::kU32);
  result.positions = read_positions(file);
  result.frame_index = file.dataset("/frame_index").read_integers();
  result.residual = read_residual(file, "/residual");
  result.residual_stitched = read_residual(file, "/residual_stitched");
  check(where, result);
  const auto origin_px = pair_attribute(file, "origin_px");
  if (!origin_px) fail_input(where, ": expected attribute origin_px on /object, found none");
  result.origin_px = *origin_px;
  result.pixel_size_m = pair_attribute(file, "pixel_size_m");
  result.energy_ev = file.number_attribute("/object", "energy_ev");
  result.process = read_process(file);
  return result;
}

}  // namespace ptynet::io
