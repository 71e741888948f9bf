// Writes a scan as a CXI file (cxidb.org/cxi.html) that open_scan() reads back.
//
// The detector stands upright: rows run along -y, columns along -x (docs/file-formats.md), which
// `basis_vectors` says too. Frames are at /entry_1/instrument_1/detector_1/data, the sample's
// translation in metres at /entry_1/sample_1/geometry_1/translation; /entry_1/data_1 links to both.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "io/scan.h"
#include "kernels/array.h"

namespace ptynet::io {

struct CxiHeader {
  std::int64_t height = 0;  // of a frame, px
  std::int64_t width = 0;
  DType type = DType::kU16;  // of the frames: u16, u32 or f32
  double energy_ev = 0;
  double distance_m = 0;
  std::array<double, 2> detector_pixel_m{};  // (row, column)
  Array probe;                               // c64 [modes, h, w]; may be empty
  // One per frame: (row, column) of the patch's first pixel, object px.
  std::vector<Position> positions_px;
  std::string program;  // what made the file, for its readers
};

// Frames are streamed: append() them, then commit() once. The file has a temporary name until
// then; without commit() nothing is left. Memory does not grow with the number of frames. One
// thread at a time.
class CxiWriter {
 public:
  // Throws Error (input) when the file cannot be made, or a length or energy is not above 0.
  CxiWriter(const std::filesystem::path& path, const CxiHeader& header);

  // The next frames, [n, h, w] of the header's type, counts, zero frequency in the centre (pixel
  // N / 2). Throws Error (input) on a full disk.
  void append(const Array& frames);
  // All of it onto the disk. Throws Error (runtime) unless there is one frame for every position.
  void close();
  // The final name.
  void commit();

 private:
  Hdf5Writer file_;
  std::int64_t expected_;
  std::int64_t frames_ = 0;
};

}  // namespace ptynet::io
