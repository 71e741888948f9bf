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
// /numbers/<name> f64 [1], /series/<name> f64 [n], /tensors/<group>/<name>; where there are
// choices, /choices/<task> texts and the attribute device of /choices.
constexpr int kFormatVersion = 1;
constexpr const char* kFormatName = "ptynet-checkpoint";
constexpr const char* kChoices = "/choices";

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
        tensors.emplace(name, dataset.read(dataset.array_type()));
      }
    }
    read_choices(out);
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
  void read_choices(Checkpoint& out) {
    if (!file_.exists(kChoices)) return;
    for (const std::string& task : file_.list(kChoices)) {
      out.choices.emplace(task, file_.string(text(kChoices, "/", task)));
    }
    out.chosen_on = file_.string_attribute(kChoices, "device").value_or("");
    if (out.choices.empty() || out.chosen_on.empty()) {
      fail_input(name_, ": expected choices in ", kChoices, " and the device they hold for");
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
    expect_dataset_name(path, name);
    file.write("/options/" + name, value);
  }
  for (const auto& [name, value] : checkpoint.numbers) {
    expect_dataset_name(path, name);
    file.write("/numbers/" + name, Array::copy_of<double>({value}, {1}));
  }
  for (const auto& [name, values] : checkpoint.series) {
    expect_dataset_name(path, name);
    const auto n = static_cast<std::int64_t>(values.size());
    file.write("/series/" + name, Array::copy_of(values, {n}));
  }
  for (const auto& [group, tensors] : checkpoint.tensors) {
    expect_dataset_name(path, group);
    file.group("/tensors/" + group);
    for (const auto& [name, tensor] : tensors) {
      expect_dataset_name(path, name);
      file.write(text("/tensors/", group, "/", name), tensor);
    }
  }
  if (!checkpoint.choices.empty()) {
    file.group(kChoices);
    file.attribute(kChoices, "device", checkpoint.chosen_on);
  }
  for (const auto& [task, way] : checkpoint.choices) {
    expect_dataset_name(path, task);
    file.write(text(kChoices, "/", task), way);
  }
  file.commit();
}

Checkpoint read_checkpoint(const std::filesystem::path& path, const std::string& job) {
  return Reader(path).read(job);
}

void expect_same_known_options(const std::filesystem::path& path, const Checkpoint& checkpoint,
                               const std::map<std::string, std::string>& known) {
  const auto shown = [](const std::string& value) { return value.empty() ? "none" : value; };
  for (const auto& [name, value] : known) {
    const auto found = checkpoint.options.find(name);
    const std::string before = shown(found == checkpoint.options.end() ? "" : found->second);
    if (before == shown(value)) continue;
    fail_input(path.string(), ": the run of this checkpoint had ", printable(name), " ",
               printable(before), ", this one has ", printable(shown(value)),
               ": resume it with what it began with");
  }
}

void expect_same_options(const std::filesystem::path& path, const Checkpoint& checkpoint,
                         const std::map<std::string, std::string>& options) {
  std::map<std::string, std::string> all = options;
  for (const auto& [name, value] : checkpoint.options) all.try_emplace(name);
  expect_same_known_options(path, checkpoint, all);
}

}  // namespace ptynet::io
