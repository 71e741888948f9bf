// A scan made ready for a network: frames in the detector's true orientation, bad pixels marked,
// cropped, binned, zero frequency in the centre, and positions in object pixels.
//
// Preprocessing has one order for every job (docs/conventions.md): orientation, mask, dark, zero
// frequency to the centre, crop about the centre, bin. The input rule follows in the session.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/scan.h"
#include "kernels/array.h"

namespace ptynet {

class FramePlan;

// What the user says of a scan; empty fields leave the file's own word. FILE[:DATASET] arguments
// are .npy, .npz:member or .h5:dataset.
struct ScanOptions {
  std::string path;
  std::string data;                                   // --data
  std::string positions;                              // --positions FILE[:DATASET]
  std::optional<io::PositionUnit> positions_unit;     // with positions_scale: px, m, um, nm
  double positions_scale = 1.0;                       // to metres or pixels
  std::string positions_order = "rc";                 // rc | xy: columns of the table
  std::string positions_sign = "++";                  // of (row, column), after the order
  std::optional<std::array<std::int64_t, 2>> raster;  // rows x columns of the scan
  std::optional<double> raster_step_px;
  std::optional<double> energy_ev;
  std::optional<double> distance_m;
  std::optional<double> detector_pixel_m;
  std::optional<double> object_pixel_size_m;
  std::optional<io::ZeroFrequency> zero_frequency;
  // none, flip-rows, flip-columns, rotate-90 (counter-clockwise), rotate-180, rotate-270,
  // transpose, anti-transpose: what turns the stored frame into the detector as the beam sees it
  std::string orientation = "none";
  std::optional<std::array<double, 2>> center_px;  // (row, column) of the zero frequency, stored
  std::int64_t crop = 0;                           // px of a side kept about the centre; 0: all
  std::int64_t bin = 1;                            // detector pixels summed into one, per axis
  std::string mask;                                // FILE[:DATASET], nonzero is good
  std::string dark;                                // FILE[:DATASET], counts
  std::string probe;                               // FILE[:DATASET]
  bool probe_ortho = false;  // the probe belongs to a transform with 1 / sqrt(N): rescaled
  std::optional<std::pair<std::int64_t, std::int64_t>> frames;  // [first, end)
};

// The files that it names.
std::vector<std::filesystem::path> files_of(const ScanOptions& options);

// Used by one thread at a time.
class Scan {
 public:
  // Throws Error (input) when the file cannot be read, an option does not fit, units are
  // ambiguous, or a probe cannot follow the frame through crop and bin.
  static Scan open(const ScanOptions& options);

  std::int64_t count() const { return count_; }
  std::int64_t height() const { return height_; }  // of a preprocessed frame, px
  std::int64_t width() const { return width_; }

  // Frames [first, first + n) of those chosen, f32 [n, h, w] photon counts; a bad pixel is -1.
  // Bad are: masked ones, negatives, NaN, and the file type's largest value.
  Array read(std::int64_t first, std::int64_t n);
  // The same for frames from elsewhere, stored as the scan's: [n, H, W] of u8, u16, u32, i32 or
  // f32.
  Array preprocess(const Array& stored) const;

  bool has_positions() const { return !positions_px_.empty(); }
  // (row, column) of each patch's first pixel, object px, in the scan's own coordinates.
  const std::vector<io::Position>& positions_px() const { return positions_px_; }
  const std::vector<std::int64_t>& frame_index() const { return frame_index_; }
  // c64 [modes, h, w] for the unnormalised transform, resampled with the frame; or empty.
  const Array& probe() const { return probe_; }
  // Instead of its own: c64 [modes, h, w] as probe() has it. Throws Error (input) for another
  // shape.
  void set_probe(const Array& probe);
  const Array& mask() const { return mask_; }  // u8 [h, w] of preprocessed frames, 1 is good
  // wavelength * distance / (N * detector pixel) per axis, after crop and bin; or what was said.
  const std::optional<std::array<double, 2>>& object_pixel_m() const { return object_pixel_m_; }
  const std::optional<double>& energy_ev() const { return file_.energy_ev; }
  // Throws Error (input) for a near-field scan; `advice` ends its message.
  void expect_far_field(const std::string& advice) const;
  const io::ScanFile& file() const { return file_; }
  const std::string& orientation() const { return orientation_; }
  // How things were read that the file or the options leave open, one line each.
  const std::vector<std::string>& notes() const { return file_.notes; }
  // What is most likely a mistake, one line each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  Scan() = default;
  void choose_frames(const ScanOptions& options);

  io::ScanFile file_;
  std::string orientation_ = "none";
  std::int64_t first_ = 0;
  std::int64_t count_ = 0;
  std::int64_t height_ = 0;
  std::int64_t width_ = 0;
  std::vector<io::Position> positions_px_;
  std::vector<std::int64_t> frame_index_;
  std::optional<std::array<double, 2>> object_pixel_m_;
  std::vector<std::string> warnings_;
  Array probe_;
  Array mask_;
  std::shared_ptr<const FramePlan> plan_;
};

}  // namespace ptynet
