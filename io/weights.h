// Weight files of every kind, read into one record; the project's own .h5 form, written and read.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "io/state_dict.h"
#include "kernels/array.h"

namespace ptynet::io {

// What weights were trained for, as far as it is known. A scan that differs is out of their reach.
struct TrainingRecord {
  std::optional<std::array<std::int64_t, 2>> frame_px;  // rows, columns
  std::optional<std::array<double, 2>> object_pixel_m;  // row, column
  std::optional<double> photons;                        // mean counts of a frame
  std::optional<std::string> orientation;               // by the name it has on the command line
  std::optional<std::string> probe_sha256;              // see sha256_of_probe()
  Array probe;                                          // c64 [H, W] or [modes, H, W]; may be empty
  std::string settings;                  // how they were trained, as a text of "name value" lines
  std::string choices;                   // which of a device's ways computed what, a line each
  std::map<std::string, double> scores;  // what came of it, by name: "r_before", "r_after", ...
};

struct WeightFile {
  StateDict tensors;
  std::string architecture_json;  // empty unless the file carries its architecture
  TrainingRecord trained_for;
  std::string format;  // "ptynet", "pytorch" or "safetensors"
  std::string sha256;  // of the file, 64 hexadecimal digits
};

// Reads a file by what it contains, whatever its name. Prefixes of wrappers are removed (see
// without_wrapper_prefixes()), every weight is finite. Whether names and shapes suit a network is
// for the network to say. Throws Error (input) for damaged files and anything that is no weight
// file.
WeightFile read_weights(const std::filesystem::path& path);

// Writes the native form, which holds tensors, architecture and record; `format` and `sha256` are
// not written, a missing probe_sha256 is computed from the probe. The file appears whole or not at
// all. Throws Error (input) for a tensor name with '/'; Error as Hdf5Writer's where it cannot be
// written.
void write_weights(const std::filesystem::path& path, const WeightFile& weights);

// SHA-256 of a probe's complex64 values in C order.
std::string sha256_of_probe(const Array& probe);

}  // namespace ptynet::io
