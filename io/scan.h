// A scan as its file describes it: frames, positions and geometry, with units and axes made ours.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/array.h"

namespace ptynet::io {

// Frames of a scan, read on demand. read() may be called from any one thread at a time.
class FrameSource {
 public:
  virtual ~FrameSource() = default;
  virtual std::int64_t count() const = 0;
  virtual std::int64_t height() const = 0;  // rows of a frame, px
  virtual std::int64_t width() const = 0;   // columns of a frame, px
  virtual DType dtype() const = 0;          // u8, u16, u32, i32 or f32
  // Frames [first, first + n) as [n, H, W] of dtype(), zero frequency where the file has it.
  // Throws Error (input) that names file, dataset and frame when one cannot be read.
  virtual Array read(std::int64_t first, std::int64_t n) = 0;
};

enum class Quantity { kIntensity, kAmplitude };  // photon counts, or their square root
enum class ZeroFrequency { kCenter, kCorner };
enum class PositionUnit { kPixel, kMetre, kUnknown };

// A place on the object: (row, column), rows growing downwards and columns to the right, the way
// the beam moves over the object.
struct Position {
  double row = 0;
  double column = 0;
};

// Everything a scan file says. What it does not say is empty.
struct ScanFile {
  std::filesystem::path path;
  std::string format;          // "cxi", "nxcxi_ptycho", "ptyd", "hxn", "ptychodus", ...
  std::string reason;          // what it was recognised by: "has /cxi_version"
  std::string frames_dataset;  // the dataset or member the frames come from
  std::shared_ptr<FrameSource> frames;
  Quantity quantity = Quantity::kIntensity;
  ZeroFrequency zero_frequency = ZeroFrequency::kCenter;

  // One per frame, or empty; in the file's own origin. NaN where a frame has none.
  std::vector<Position> positions;
  // What of the patch a position names: its first pixel, or its centre (pixel N/2 of N).
  bool positions_are_centers = false;
  PositionUnit position_unit = PositionUnit::kUnknown;

  std::vector<std::int64_t> frame_index;  // the file's own frame numbers; empty means 0, 1, 2, ...

  Array probe;  // c64 [modes, H, W], zero frequency of the real-space probe in the centre of frame
  Array mask;   // u8 [H, W], 1 is good, in the detector's own orientation
  Array dark;   // f32 [H, W] counts, in the detector's own orientation

  std::optional<double> energy_ev;                        // photon energy
  std::optional<double> distance_m;                       // sample to detector
  std::optional<std::array<double, 2>> detector_pixel_m;  // (row, column)
  std::optional<std::array<double, 2>> object_pixel_m;    // (row, column), when the file says it
  std::optional<std::array<double, 2>> beam_center_px;    // (row, column) on the detector

  bool near_field = false;         // not a far-field scan: reconstruct refuses it
  std::string near_field_reason;   // what says so
  std::vector<std::string> notes;  // how things the format leaves open were read, one line each
};

// What of the file to read, where the format leaves a choice or is not known.
struct ScanRequest {
  std::filesystem::path path;
  std::string frames_dataset;  // --data; empty: the format's own place
  bool own_positions = true;   // false: positions are given elsewhere, those of the file not read
};

// Recognises the format, reads everything but the frames.
// Throws Error (input) on a file that is none of the known formats, is damaged, or holds no frames.
ScanFile open_scan(const ScanRequest& request);

// Throws Error (input) unless there is one position for every frame; `where` is the file they come
// from. A position may be NaN, of a frame that has none: who uses such a frame checks that.
void check_positions(const std::vector<Position>& positions, std::int64_t frames,
                     const std::string& where);

// Throws Error (input) unless the positions of frames [first, end) are finite.
void check_finite(const std::vector<Position>& positions, std::int64_t first, std::int64_t end,
                  const std::string& where);

// Energy and wavelength of a photon: E = h c / wavelength (CODATA 2018, exact).
double wavelength_m(double energy_ev);
double energy_ev(double wavelength_m);

}  // namespace ptynet::io
