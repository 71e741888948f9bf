// The result file of a reconstruction (HDF5). docs/file-formats.md, section "Result file", states
// every dataset and attribute; this is its one writer and one reader.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "io/scan.h"
#include "kernels/array.h"

namespace ptynet::io {

// How and by what a result was made: the attributes of /process. What is not known stays empty.
struct Process {
  std::string program = "ptynet";
  std::string version;
  std::string command_line;
  std::string weights_sha256;
  std::string architecture;
  std::string device;
  std::string precision;
  std::optional<double> seconds;            // of both passes over the frames
  std::optional<double> frames_per_second;  // frames / seconds
  std::optional<double> network_seconds;    // of them in the network
  // R factors of the scan (ratio of the sums over all frames), only with a probe.
  std::optional<double> residual;           // every frame with its own patch
  std::optional<double> residual_stitched;  // every frame with the stitched object
  std::optional<double> residual_flat;      // a flat object at its best scale
  std::optional<double> residual_mean;      // the mean frame
  // Phase between overlapping patches: its constant part per pair, and what remains, RMS
  std::optional<double> overlap_offset_rms_rad;
  std::optional<double> overlap_spread_rms_rad;
  std::map<std::string, std::string> more;  // further attributes, as text
};

// A reconstructed object. Index [0, 0] of every map is the same pixel.
struct Result {
  Array object;    // c64 [rows, columns]
  Array coverage;  // f32 [rows, columns], summed weight
  Array count;     // u32 [rows, columns], frames that cover the pixel; 0: the object is not known

  std::vector<Position> positions;        // px, first pixel of each patch in the scan's coordinates
  std::vector<std::int64_t> frame_index;  // as many as positions
  std::vector<float> residual;            // R of each frame, NaN without counts; empty: no probe
  std::vector<float> residual_stitched;

  std::array<double, 2> origin_px{};  // (row, column) of pixel [0, 0] in the scan's coordinates
  std::optional<std::array<double, 2>> pixel_size_m;  // (row, column)
  std::optional<double> energy_ev;
  Process process;

  // Pixel [0, 0] in metres: origin_px * pixel_size_m, when the pixel size is known.
  std::optional<std::array<double, 2>> origin_m() const;
  // f32 [rows, columns]
  Array amplitude() const;
  Array phase_rad() const;  // in (-pi, pi], 0 where the object is 0
};

// Writes a result file. Patches are streamed: append_patches() as they are made, then write() and
// commit() once. The file has a temporary name until commit(); without it nothing is left. One
// thread at a time.
class ResultWriter {
 public:
  // Throws Error when the file cannot be made.
  explicit ResultWriter(const std::filesystem::path& path);

  // Patches of the next frames, f32 [n, h, w] each: /patches/amplitude and /patches/phase.
  // Throws Error (input) when their shapes differ from each other or from earlier ones.
  void append_patches(const Array& amplitude, const Array& phase_rad);

  // Everything else, and all of it onto the disk. Throws Error (input) when the shapes, types or
  // lengths of `result` do not fit each other, or patches were written for another number of
  // frames.
  void write(const Result& result);
  // The final name.
  void commit();
  void finish(const Result& result) {
    write(result);
    commit();
  }

 private:
  Hdf5Writer file_;
  std::filesystem::path path_;
  Shape patch_;               // [h, w] of the patches so far
  std::int64_t patches_ = 0;  // so far
};

// Reads a result file, patches aside (read those from /patches with Hdf5Reader, by ranges).
// Throws Error (input) on a file that is none or whose datasets do not fit each other.
Result read_result(const std::filesystem::path& path);

}  // namespace ptynet::io
