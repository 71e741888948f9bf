#include "io/checkpoint.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "io/bytes.h"
#include "io/hdf5.h"
#include "kernels/error.h"

namespace ptynet::io {

namespace {

// Version 1: attributes format, format_version and job of "/"; /options/<name> texts,
// /numbers/<name> f64 [1], /series/<name> f64 [n], /tensors/<group>/<name>.
constexpr int kFormatVersion = 1;
constexpr const char* kFormatName = "ptynet-checkpoint";

void expect_name(const std::filesystem::path& path, const std::string& name) {
  if (name.empty() || name == "." || name.find('/') != std::string::npos) {
    fail_input(path.string(), ": nothing can be named '", printable(name), "'");
  }
}

DType type_of(const Hdf5Dataset& dataset) {
  const Hdf5Type& type = dataset.type();
  switch (type.kind) {
    case Hdf5Kind::kFloat:
      return type.bytes == 8 ? DType::kF64 : DType::kF32;
    case Hdf5Kind::kComplex:
      return DType::kC64;
    case Hdf5Kind::kSigned:
      return DType::kI32;
    case Hdf5Kind::kUnsigned:
      return type.bytes == 1 ? DType::kU8 : type.bytes == 2 ? DType::kU16 : DType::kU32;
    case Hdf5Kind::kString:
    case Hdf5Kind::kOther:
      break;
  }
  fail_input(dataset.where(), ": expected numbers, found ", to_string(type));
}

// A dataset may claim any extents, whatever is stored: all of them together hold no more elements
// than the file has bytes, since nothing in a checkpoint is compressed.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path)
      : file_(path),
        name_(path.string()),
        room_(static_cast<std::int64_t>(open_file(path)->size())) {}

  Checkpoint read(const std::string& job) {
    Checkpoint out;
    check_version();
    out.job = file_.string_attribute("/", "job").value_or("");
    if (out.job != job) {
      fail_input(name_, ": expected a checkpoint of ptynet ", job, ", found one of ",
                 out.job.empty() ? "an unknown command" : "ptynet " + printable(out.job));
    }
    for (const std::string& name : file_.list("/options")) {
      out.options.emplace(name, file_.string("/options/" + name));
    }
    for (const std::string& name : file_.list("/numbers")) {
      out.numbers.emplace(name, file_.number("/numbers/" + name));
    }
    for (const std::string& name : file_.list("/series")) {
      const Hdf5Dataset dataset = file_.dataset("/series/" + name);
      claim(dataset);
      out.series.emplace(name, dataset.read_numbers());
    }
    for (const std::string& group : file_.list("/tensors")) {
      StateDict& tensors = out.tensors[group];
      for (const std::string& name : file_.list("/tensors/" + group)) {
        const Hdf5Dataset dataset = file_.dataset(text("/tensors/", group, "/", name));
        claim(dataset);
        tensors.emplace(name, dataset.read(type_of(dataset)));
      }
    }
    return out;
  }

 private:
  void check_version() {
    const auto format = file_.string_attribute("/", "format");
    if (format != kFormatName) {
      fail_input(name_, ": expected a checkpoint (HDF5 with the attribute format = ", kFormatName,
                 "), found ", format ? "format = " + printable(*format) : "no such attribute");
    }
    const auto version = file_.number_attribute("/", "format_version");
    if (!version || *version != kFormatVersion) {
      fail_input(name_, ": expected format_version ", kFormatVersion, ", found ",
                 version ? text(*version) : "none", ": it belongs to another version of ptynet");
    }
  }
  void claim(const Hdf5Dataset& dataset) {
    if (dataset.elements() > room_) {
      fail_input(dataset.where(), ": claims more elements than a file of this size can hold");
    }
    room_ -= dataset.elements();
  }

  Hdf5Reader file_;
  std::string name_;
  std::int64_t room_;
};

}  // namespace

double Checkpoint::number(const std::string& name) const {
  const auto found = numbers.find(name);
  if (found == numbers.end()) fail_input("the checkpoint holds no number '", name, "'");
  return found->second;
}

const StateDict& Checkpoint::group(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) fail_input("the checkpoint holds no tensors '", name, "'");
  return found->second;
}

void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  Hdf5Writer file(path);
  file.attribute("/", "format", kFormatName);
  file.attribute("/", "format_version", kFormatVersion);
  file.attribute("/", "job", checkpoint.job);
  for (const char* group : {"/options", "/numbers", "/series", "/tensors"}) file.group(group);
  for (const auto& [name, value] : checkpoint.options) {
    expect_name(path, name);
    file.write("/options/" + name, value);
  }
  for (const auto& [name, value] : checkpoint.numbers) {
    expect_name(path, name);
    file.write("/numbers/" + name, Array::copy_of<double>({value}, {1}));
  }
  for (const auto& [name, values] : checkpoint.series) {
    expect_name(path, name);
    const auto n = static_cast<std::int64_t>(values.size());
    file.write("/series/" + name, Array::copy_of(values, {n}));
  }
  for (const auto& [group, tensors] : checkpoint.tensors) {
    expect_name(path, group);
    file.group("/tensors/" + group);
    for (const auto& [name, tensor] : tensors) {
      expect_name(path, name);
      file.write(text("/tensors/", group, "/", name), tensor);
    }
  }
  file.commit();
}

Checkpoint read_checkpoint(const std::filesystem::path& path, const std::string& job) {
  return Reader(path).read(job);
}

void expect_same_options(const std::filesystem::path& path, const Checkpoint& checkpoint,
                         const std::map<std::string, std::string>& options) {
  const auto value_in = [](const std::map<std::string, std::string>& from,
                           const std::string& name) {
    const auto found = from.find(name);
    return found == from.end() || found->second.empty() ? std::string("none") : found->second;
  };
  std::map<std::string, std::string> all = options;
  all.insert(checkpoint.options.begin(), checkpoint.options.end());
  for (const auto& [name, value] : all) {
    const std::string before = value_in(checkpoint.options, name);
    const std::string now = value_in(options, name);
    if (before == now) continue;
    fail_input(path.string(), ": the run of this checkpoint had ", printable(name), " ",
               printable(before), ", this one has ", printable(now),
               ": resume it with what it began with");
  }
}

}  // namespace ptynet::io
