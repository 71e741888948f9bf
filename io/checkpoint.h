// A training job's state on disk, so that it goes on where it stopped.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/state_dict.h"
#include "kernels/array.h"

namespace ptynet::io {

// What a job wants to find again, by names of its own without '/'. Values come back with the same
// bits, NaN too.
struct Checkpoint {
  std::string job;  // "finetune", "train": another job's checkpoint is not read
  // All that the run's result depends on (options, fingerprints of its inputs), as texts
  std::map<std::string, std::string> options;
  std::map<std::string, double> numbers;              // epoch, batch, sums, steps
  std::map<std::string, std::vector<double>> series;  // history, one entry per column
  // Weights, moments, probes, by group. f32, f64, c64, i32, u8, u16 or u32.
  std::map<std::string, StateDict> tensors;
  // Which of a device's ways computed what, and the device and versions that they hold for; both
  // empty where there was no choice.
  std::map<std::string, std::string> choices;
  std::string chosen_on;

  // Throws Error (input) when there is none of that name.
  double number(const std::string& name) const;
  const StateDict& group(const std::string& name) const;
};

// The file appears whole and on the disk (fsync), or the old one stays. Throws Error as Hdf5Writer.
void write_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);

// Throws Error (input) for a file that is no checkpoint of `job`, is damaged, or newer.
Checkpoint read_checkpoint(const std::filesystem::path& path, const std::string& job);

// Throws Error (input) that names the first option which the checkpoint's run had otherwise than
// this one, with both values.
void expect_same_options(const std::filesystem::path& path, const Checkpoint& checkpoint,
                         const std::map<std::string, std::string>& options);
// The same of the options known so far: others that the checkpoint has are not looked at. For what
// is cheap to know, before the rest is.
void expect_same_known_options(const std::filesystem::path& path, const Checkpoint& checkpoint,
                               const std::map<std::string, std::string>& known);

}  // namespace ptynet::io
