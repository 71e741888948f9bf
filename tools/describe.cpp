#include "tools/describe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/load_architecture.h"
#include "io/bytes.h"
#include "io/hdf5.h"
#include "io/pytorch.h"
#include "io/result.h"
#include "io/safetensors.h"
#include "io/weights.h"
#include "io/zip.h"
#include "kernels/context.h"
#include "layers/state_dict.h"

namespace ptynet::tools {

namespace {

constexpr std::int64_t kFrameOfReport = 128;  // px; what GFLOP per frame refers to

enum class Kind { kWeights, kResult, kScan };

struct Recognised {
  Kind kind = Kind::kScan;
  std::string by;
};

Recognised recognise_hdf5(const std::string& path) {
  const io::Hdf5Reader file(path);
  const auto format = file.string_attribute("/", "format");
  if (format && format->starts_with("ptynet-weights")) {
    return {Kind::kWeights, "an HDF5 file with the attribute format = " + *format};
  }
  if (file.is_dataset("/object") && file.is_group("/process")) {
    return {Kind::kResult, "an HDF5 file with /object and /process"};
  }
  return {Kind::kScan, "an HDF5 file"};
}

Recognised recognise(const std::string& path) {
  const std::unique_ptr<io::ByteSource> source = io::open_file(path);
  std::array<std::byte, 512> buffer{};
  const auto start = std::span(buffer).first(std::min<std::uint64_t>(512, source->size()));
  source->read(0, start);
  const std::string_view begin(reinterpret_cast<const char*>(start.data()), start.size());
  if (begin.starts_with("PK\x03\x04")) {
    const io::ZipArchive archive = io::ZipArchive::open(path);
    for (const io::ZipMember& member : archive.members()) {
      if (member.name == "data.pkl" || member.name.ends_with("/data.pkl")) {
        return {Kind::kWeights, "a zip archive with " + io::printable(member.name)};
      }
    }
    return {Kind::kScan, "a zip archive (.npz)"};
  }
  if (begin.starts_with("\x93NUMPY")) return {Kind::kScan, "a .npy file"};
  if (io::Hdf5Reader::is_hdf5(path)) return recognise_hdf5(path);
  if (io::is_safetensors(start, source->size())) return {Kind::kWeights, "a safetensors header"};
  if (io::is_legacy_pytorch(start)) return {Kind::kWeights, "a bare pickle"};
  fail_input(path, ": expected a weight file, a scan or a result, found none of them",
             start.empty() ? ": it is empty" : "");
}

template <typename T>
Report optional(const std::optional<T>& value) {
  return value ? Report(*value) : Report();
}

Report shape_of(const Array& array) {
  Report extents = Report::array();
  for (const std::int64_t extent : array.shape()) extents.push_back(extent);
  return extents;
}

// What the first frames alone cannot tell: smallest and largest place, without unit.
Report extent_of(const std::vector<io::Position>& positions) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::array<double, 2> low{kInfinity, kInfinity};
  std::array<double, 2> high{-kInfinity, -kInfinity};
  for (const io::Position& p : positions) {
    low = {std::min(low[0], p.row), std::min(low[1], p.column)};
    high = {std::max(high[0], p.row), std::max(high[1], p.column)};
  }
  return {{"rows", {low[0], high[0]}}, {"columns", {low[1], high[1]}}};
}

std::string unit_name(io::PositionUnit unit) {
  switch (unit) {
    case io::PositionUnit::kPixel:
      return "object pixels";
    case io::PositionUnit::kMetre:
      return "metres";
    case io::PositionUnit::kUnknown:
      break;
  }
  return "unknown: --positions-unit says it";
}

Report mask_report(const Array& mask) {
  if (mask.empty()) return Report();
  const auto* begin = mask.data<std::uint8_t>();
  const auto good = mask.elements() - std::count(begin, begin + mask.elements(), std::uint8_t{0});
  return {{"good_pixels", good}, {"pixels", mask.elements()}};
}

// Positions, geometry and detector as the file has them.
void add_scan_facts(const io::ScanFile& scan, Report& r) {
  r["format"] = scan.format;
  r["recognised_by"] = scan.reason;
  const io::FrameSource& frames = *scan.frames;
  r["frames"] = {
      {"dataset", scan.frames_dataset},
      {"count", frames.count()},
      {"rows", frames.height()},
      {"columns", frames.width()},
      {"type", std::string(name_of(frames.dtype()))},
      {"holds", scan.quantity == io::Quantity::kIntensity ? "counts" : "square roots of counts"},
      {"zero_frequency", scan.zero_frequency == io::ZeroFrequency::kCenter ? "center" : "corner"}};
  if (scan.positions.empty()) {
    r["positions"] = Report();
  } else {
    r["positions"] = {
        {"count", scan.positions.size()},
        {"unit", unit_name(scan.position_unit)},
        {"names", scan.positions_are_centers ? "the patch's centre" : "the patch's first pixel"},
        {"from_to", extent_of(scan.positions)}};
  }
  r["energy_ev"] = optional(scan.energy_ev);
  r["wavelength_m"] = scan.energy_ev ? Report(io::wavelength_m(*scan.energy_ev)) : Report();
  r["distance_m"] = optional(scan.distance_m);
  r["detector_pixel_m"] = optional(scan.detector_pixel_m);
  r["beam_center_px"] = optional(scan.beam_center_px);
  r["object_pixel_m"] = optional(scan.object_pixel_m);
  r["mask"] = mask_report(scan.mask);
  r["dark"] = scan.dark.empty() ? Report() : shape_of(scan.dark);
  r["probe"] = scan.probe.empty() ? Report() : shape_of(scan.probe);
  r["near_field"] = scan.near_field;
  if (scan.near_field) r["near_field_reason"] = scan.near_field_reason;
}

// What a network would be given.
Report ready_report(const Scan& scan) {
  Report r = {{"possible", true},
              {"frames", scan.count()},
              {"rows", scan.height()},
              {"columns", scan.width()},
              {"object_pixel_m", optional(scan.object_pixel_m())},
              {"mask", mask_report(scan.mask())},
              {"probe", scan.probe().empty() ? Report() : shape_of(scan.probe())}};
  r["positions_px"] = scan.has_positions() ? extent_of(scan.positions_px()) : Report();
  if (!scan.has_positions()) {
    r["possible"] = false;
    r["why_not"] = "no positions: give --positions, or --raster and --step";
  } else if (scan.file().near_field) {
    r["possible"] = false;
    r["why_not"] = "a near-field scan: --force reconstructs it all the same";
  }
  return r;
}

Report describe_scan(const ScanOptions& options) {
  Report r;
  r["kind"] = "scan";
  const io::ScanFile file = io::open_scan({options.path, options.data});
  add_scan_facts(file, r);
  std::vector<std::string> notes = file.notes;
  try {
    const Scan scan = Scan::open(options);
    r["reconstruction"] = ready_report(scan);
    notes = scan.notes();
    notes.insert(notes.end(), scan.warnings().begin(), scan.warnings().end());
  } catch (const Error& why) {
    r["reconstruction"] = {{"possible", false}, {"why_not", why.what()}};
  }
  r["notes"] = notes;
  return r;
}

bool fits(const Architecture& architecture, const StateDict& state) {
  try {
    check_state(architecture, state);
    return true;
  } catch (const Error&) {
    return false;
  }
}

Report training_report(const io::TrainingRecord& record) {
  Report r = Report::object();
  if (record.frame_px) r["frame_px"] = *record.frame_px;
  if (record.object_pixel_m) r["object_pixel_m"] = *record.object_pixel_m;
  if (record.photons) r["photons"] = *record.photons;
  if (record.orientation) r["orientation"] = *record.orientation;
  if (!record.probe.empty()) r["probe"] = shape_of(record.probe);
  if (record.probe_sha256) r["probe_sha256"] = *record.probe_sha256;
  return r;
}

Report describe_weights(const std::string& path, const std::string& by) {
  const io::WeightFile file = io::read_weights(path);
  Report r;
  r["kind"] = "weights";
  r["format"] = file.format;
  r["recognised_by"] = by;
  r["sha256"] = file.sha256;
  r["tensors"] = file.tensors.size();
  std::int64_t values = 0;
  for (const auto& [name, tensor] : file.tensors) values += tensor.elements();
  r["values"] = values;
  if (file.architecture_json.empty()) {
    r["architecture"] = Report();
  } else {
    const Architecture own = parse_architecture(file.architecture_json);
    r["architecture"] = own.name;
    r["parameters"] = parameter_count(own);
  }
  r["fits"] = Report::array();
  for (const std::string& name : built_in_architectures()) {
    const Architecture architecture = built_in_architecture(name);
    if (!fits(architecture, file.tensors)) continue;
    r["fits"].push_back({{"architecture", name},
                         {"parameters", parameter_count(architecture)},
                         {"unused_tensors", check_state(architecture, file.tensors)}});
  }
  r["trained_for"] = training_report(file.trained_for);
  // The names help to write an architecture where none fits.
  if (r["fits"].empty()) {
    for (const auto& [name, tensor] : file.tensors) {
      r["shapes"][io::printable(name)] = shape_of(tensor);
    }
  }
  return r;
}

Report describe_result(const std::string& path, const std::string& by) {
  const io::Result result = io::read_result(path);
  const io::Process& p = result.process;
  const auto* count = result.count.data<std::uint32_t>();
  const auto covered =
      result.count.elements() - std::count(count, count + result.count.elements(), 0U);
  Report r;
  r["kind"] = "result";
  r["recognised_by"] = by;
  r["object_px"] = shape_of(result.object);
  r["covered_pixels"] = covered;
  r["frames"] = result.positions.size();
  r["origin_px"] = result.origin_px;
  r["origin_m"] = optional(result.origin_m());
  r["pixel_size_m"] = optional(result.pixel_size_m);
  r["energy_ev"] = optional(result.energy_ev);
  r["r_factor"] = {{"patches", optional(p.residual)},
                   {"stitched", optional(p.residual_stitched)},
                   {"flat_object", optional(p.residual_flat)},
                   {"mean_frame", optional(p.residual_mean)}};
  r["overlap_offset_rms_rad"] = optional(p.overlap_offset_rms_rad);
  r["overlap_spread_rms_rad"] = optional(p.overlap_spread_rms_rad);
  Report process = {{"program", p.program},
                    {"version", p.version},
                    {"command_line", p.command_line},
                    {"weights_sha256", p.weights_sha256},
                    {"architecture", p.architecture},
                    {"device", p.device},
                    {"precision", p.precision},
                    {"seconds", optional(p.seconds)},
                    {"frames_per_second", optional(p.frames_per_second)},
                    {"network_seconds", optional(p.network_seconds)}};
  for (const auto& [name, value] : p.more) process[name] = value;
  r["process"] = process;
  return r;
}

std::string describe_rule(const InputRule& rule) {
  std::string out = rule.quantity == InputQuantity::kAmplitude ? "sqrt(counts)" : "counts";
  if (rule.scale == InputScale::kFrameMax) out += " / frame maximum";
  if (rule.scale == InputScale::kScanMax)
    out += text(", counts * ", rule.factor, " / scan maximum");
  return out;
}

}  // namespace

Report describe_file(const ScanOptions& scan) {
  const Recognised found = recognise(scan.path);
  switch (found.kind) {
    case Kind::kWeights:
      return describe_weights(scan.path, found.by);
    case Kind::kResult:
      return describe_result(scan.path, found.by);
    case Kind::kScan:
      break;
  }
  return describe_scan(scan);
}

Report describe_devices() {
  Report devices = Report::array();
  for (const DeviceReport& device : list_devices()) {
    devices.push_back({{"device", to_string(device.device)},
                       {"usable", device.usable},
                       {"description", device.description}});
  }
  return {{"devices", devices}, {"auto", to_string(best_device())}};
}

Report describe_architectures() {
  Report out = Report::array();
  for (const std::string& name : built_in_architectures()) {
    const Architecture a = built_in_architecture(name);
    double gflop = 0;
    for (const LayerTrace& layer : trace(a, kFrameOfReport, kFrameOfReport)) {
      gflop += layer.flops / 1e9;
    }
    std::string gives;
    if (a.amplitude.channel >= 0) gives = "amplitude";
    if (a.phase.channel >= 0) gives += gives.empty() ? "phase" : ", phase";
    out.push_back({{"name", name},
                   {"parameters", parameter_count(a)},
                   {"gflop_per_128x128_frame", gflop},
                   {"input", describe_rule(a.input)},
                   {"output", gives}});
  }
  return {{"architectures", out}};
}

}  // namespace ptynet::tools
