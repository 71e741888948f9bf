#include "io/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "io/bytes.h"
#include "io/hdf5.h"
#include "io/pickle.h"
#include "io/pytorch.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "kernels/error.h"

namespace ptynet::io {

namespace {

// Version 1: attributes format, format_version and architecture of "/", one dataset per tensor in
// /weights, what is known of the training as attributes of /trained_for and the datasets probe,
// choices and scores/<name> there.
constexpr int kFormatVersion = 1;
constexpr const char* kFormatName = "ptynet-weights";
// A dataset claims no more than this many times the length of its file (files may be compressed).
constexpr std::int64_t kMaxGrowth = 64;

class NativeReader {
 public:
  explicit NativeReader(const std::filesystem::path& path)
      : file_(path),
        name_(path.string()),
        room_(static_cast<std::int64_t>(open_file(path)->size()) * kMaxGrowth) {}

  WeightFile read() {
    check_version();
    WeightFile out;
    out.format = "ptynet";
    out.architecture_json = file_.string_attribute("/", "architecture").value_or("");
    for (const std::string& tensor : file_.list("/weights")) {
      const Hdf5Dataset dataset = file_.dataset("/weights/" + tensor);
      const DType type = dataset.array_type();
      out.tensors.emplace(tensor, bounded(dataset, type == DType::kF64 ? DType::kF32 : type));
    }
    if (out.tensors.empty()) fail_input(name_, ": expected tensors in /weights, found none");
    out.trained_for = training_record();
    return out;
  }

 private:
  void check_version() {
    const auto format = file_.string_attribute("/", "format");
    if (format != kFormatName) {
      fail_input(name_, ": expected a weight file (HDF5 with the attribute format = ", kFormatName,
                 "), found ", format ? "format = " + printable(*format) : "no such attribute");
    }
    const auto version = file_.number_attribute("/", "format_version");
    if (!version || *version < 1) fail_input(name_, ": expected a format_version of 1 or more");
    if (*version > kFormatVersion) {
      fail_input(name_, ": expected format_version ", kFormatVersion, ", found ", *version,
                 ": it was written by a newer ptynet, which is needed to read it");
    }
  }
  // A dataset may claim any extents, whatever is stored.
  Array bounded(const Hdf5Dataset& dataset, DType type) {
    room_ -= std::min(room_, dataset.elements());
    if (room_ == 0) {
      fail_input(dataset.where(), ": claims more elements than a file of this size can hold");
    }
    return dataset.read(type);
  }
  template <typename T>
  std::optional<std::array<T, 2>> pair(const char* attribute) {
    const auto numbers = file_.numbers_attribute("/trained_for", attribute);
    if (!numbers) return std::nullopt;
    const bool good =
        numbers->size() == 2 &&
        std::all_of(numbers->begin(), numbers->end(), [](double v) { return v > 0 && v < 1e9; });
    if (!good) fail_input(name_, ": expected two positive numbers in /trained_for:", attribute);
    return std::array<T, 2>{static_cast<T>((*numbers)[0]), static_cast<T>((*numbers)[1])};
  }
  TrainingRecord training_record() {
    TrainingRecord out;
    out.frame_px = pair<std::int64_t>("frame_px");
    out.object_pixel_m = pair<double>("object_pixel_m");
    out.photons = file_.number_attribute("/trained_for", "photons");
    out.orientation = file_.string_attribute("/trained_for", "orientation");
    out.probe_sha256 = file_.string_attribute("/trained_for", "probe_sha256");
    if (file_.exists("/trained_for/probe")) {
      out.probe = bounded(file_.dataset("/trained_for/probe"), DType::kC64);
    }
    out.settings = file_.string_attribute("/trained_for", "settings").value_or("");
    if (file_.exists("/trained_for/choices")) out.choices = file_.string("/trained_for/choices");
    for (const std::string& name : file_.list("/trained_for/scores")) {
      out.scores.emplace(name, file_.number("/trained_for/scores/" + name));
    }
    return out;
  }

  Hdf5Reader file_;
  std::string name_;
  std::int64_t room_;  // elements that may still be read
};

// Reads it all the same, to say which global stands in the way if one does.
[[noreturn]] void refuse_bare_pickle(ByteSource& source) {
  PytorchStorages none;
  none.read = [](const std::string&) { return std::vector<std::byte>(); };
  read_tensors(read_all(source, Pickle::kMaxBytes), source.name(), none);
  fail_input(source.name(), ": is a bare pickle; save the state dict with torch.save");
}

WeightFile read_any(const std::filesystem::path& path) {
  const std::unique_ptr<ByteSource> source = open_file(path);
  std::array<std::byte, 512> buffer{};
  const auto start = std::span(buffer).first(std::min<std::uint64_t>(512, source->size()));
  source->read(0, start);
  const std::string_view begin(reinterpret_cast<const char*>(start.data()), start.size());
  WeightFile out;
  if (begin.starts_with("PK\x03\x04")) {
    out.format = "pytorch";
    out.tensors = without_wrapper_prefixes(read_pytorch(path));
  } else if (is_legacy_pytorch(start)) {
    fail_input(path.string(),
               ": is in PyTorch's form from before version 1.6, which is not read; load ",
               "it in Python and save it again: torch.save(torch.load(file), new_file)");
  } else if (begin.starts_with('\x80')) {
    refuse_bare_pickle(*source);
  } else if (is_safetensors(start, source->size())) {
    out.format = "safetensors";
    out.tensors = without_wrapper_prefixes(read_safetensors(path));
  } else if (Hdf5Reader::is_hdf5(path)) {
    return NativeReader(path).read();
  } else {
    fail_input(path.string(),
               ": expected a weight file (ptynet's .h5, .pth, .ckpt or .safetensors), ",
               "found none of these", start.empty() ? ": it is empty" : "");
  }
  if (out.tensors.empty()) fail_input(path.string(), ": expected tensors, found none");
  return out;
}

}  // namespace

WeightFile read_weights(const std::filesystem::path& path) {
  WeightFile out = read_any(path);
  check_finite(out.tensors, path.string());
  out.sha256 = sha256_of_file(path);
  return out;
}

void write_weights(const std::filesystem::path& path, const WeightFile& weights) {
  for (const auto& [name, tensor] : weights.tensors) expect_dataset_name(path, name);
  check_finite(weights.tensors, path.string());
  Hdf5Writer file(path);
  file.attribute("/", "format", kFormatName);
  file.attribute("/", "format_version", kFormatVersion);
  if (!weights.architecture_json.empty()) {
    file.attribute("/", "architecture", weights.architecture_json);
  }
  file.group("/weights");
  for (const auto& [name, tensor] : weights.tensors) file.write("/weights/" + name, tensor);

  const std::string group = "/trained_for";
  const TrainingRecord& record = weights.trained_for;
  file.group(group);
  if (record.frame_px) {
    const auto& [rows, columns] = *record.frame_px;
    file.attribute(group, "frame_px",
                   std::vector<double>{static_cast<double>(rows), static_cast<double>(columns)});
  }
  if (record.object_pixel_m) {
    const auto& [row, column] = *record.object_pixel_m;
    file.attribute(group, "object_pixel_m", std::vector<double>{row, column});
  }
  if (record.photons) file.attribute(group, "photons", *record.photons);
  if (record.orientation) file.attribute(group, "orientation", *record.orientation);
  if (!record.probe.empty()) file.write(group + "/probe", record.probe);
  if (record.probe_sha256) {
    file.attribute(group, "probe_sha256", *record.probe_sha256);
  } else if (!record.probe.empty()) {
    file.attribute(group, "probe_sha256", sha256_of_probe(record.probe));
  }
  if (!record.settings.empty()) file.attribute(group, "settings", record.settings);
  if (!record.choices.empty()) file.write(group + "/choices", record.choices);
  for (const auto& [name, value] : record.scores) {
    file.write(text(group, "/scores/", name), Array::copy_of<double>({value}, {1}));
  }
  file.commit();
}

std::string sha256_of_probe(const Array& probe) {
  if (probe.dtype() != DType::kC64) fail_runtime("expected a c64 probe, found ", describe(probe));
  return sha256_of(probe);
}

}  // namespace ptynet::io
