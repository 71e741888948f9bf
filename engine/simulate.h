// Simulated diffraction: the frames of an object under a probe, and the job that writes a scan.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "engine/objects.h"
#include "engine/probes.h"
#include "engine/reconstruct.h"
#include "engine/scan_pattern.h"

namespace ptynet {

template <typename Real>
class Fft2;

// Expected counts of frames; made once per frame shape, then used by any number of threads.
class FrameSimulator {
 public:
  FrameSimulator(std::int64_t height, std::int64_t width);
  ~FrameSimulator();
  FrameSimulator(FrameSimulator&&) noexcept;

  // out f32 [h, w] = sum over modes |fftshift(fft2(probe * window))|^2 + background, zero frequency
  // in the centre. `object` c64 [rows, columns] holds the window at (row, column); probe c64
  // [modes, h, w]; background in counts per pixel. Single precision.
  // Throws Error (input) when the window is not within the object or the probe has another shape.
  void expected(const Array& object, std::int64_t row, std::int64_t column, const Array& probe,
                double background, float* out) const;

 private:
  std::int64_t height_;
  std::int64_t width_;
  std::unique_ptr<const Fft2<float>> fft_;
};

// The geometry of the beamline.
struct Geometry {
  double energy_ev = 8000;
  double distance_m = 2.0;
  double detector_pixel_m = 75e-6;
  bool given = false;  // by the user, all of it, in the place of these values
  // wavelength * distance / (N * detector pixel) per axis, of frames of N
  double object_pixel_m(std::int64_t n) const;
};

// Where the probe comes from: a file, or a model. Fields that are empty have the model's defaults.
struct ProbeSource {
  std::string file;    // FILE[:DATASET]; empty: the model
  bool ortho = false;  // the file's belongs to a transform with 1 / sqrt(pixels)
  ProbeKind kind = ProbeKind::kFresnelZonePlate;
  std::optional<double> diameter_m;
  std::optional<double> outermost_zone_width_m;
  std::optional<double> central_stop_diameter_m;
  // Of the model; a probe from a file is propagated that far along the beam from where it is
  std::optional<double> defocus_m;
  // Counts of a frame without a sample; empty: the file's own, or 1e6 for a model
  std::optional<double> photons;
};

// c64 [modes, n, n] in counts. frame_px 0: the file's extent, or 128.
// Throws Error (input) when it cannot be made, or the file's probe has another extent.
Array simulation_probe(const ProbeSource& source, const Geometry& geometry, std::int64_t frame_px);

enum class Noise : std::uint8_t { kNone, kPoisson };
enum class OverlapOf : std::uint8_t { kProbe, kFrame };

struct SimulateOptions {
  ObjectKind objects = ObjectKind::kDeadLeaves;
  std::string amplitude;  // PNG; with `phase` in the place of `objects`
  std::string phase;
  ObjectRanges ranges;
  std::array<std::int64_t, 2> size_px{512, 512};  // of a procedural object, (rows, columns)
  Geometry geometry;
  ProbeSource probe;
  std::int64_t frame_px = 0;  // 0: the probe file's, or 128
  ScanPattern pattern = ScanPattern::kRaster;
  double overlap = 0.75;
  OverlapOf overlap_of = OverlapOf::kProbe;
  std::optional<double> jitter_px;  // in row and column; empty: jitter_of_frame
  double jitter_of_frame = 0;       // the same as a share of the frame's side
  double background = 0;            // counts per pixel
  Noise noise = Noise::kPoisson;
  std::uint64_t seed = 1;
  std::string output = "scan.cxi";
  std::string truth;  // result file of the object; empty: none
  std::string png;    // folder of pictures; empty: none
  int threads = 0;    // 0: as many as the machine has; the bytes do not depend on it
  std::string command_line;
  Progress progress;
  Log log;
  Log warning;
};

struct SimulateSummary {
  std::int64_t frames = 0;
  std::int64_t frame_px = 0;
  std::array<std::int64_t, 2> object_px{};  // (rows, columns)
  double object_pixel_m = 0;
  double probe_diameter_px = 0;  // of 90 % of its energy
  double step_px = 0;
  double overlap_of_probe = 0;  // 1 - step / probe diameter; below 0: the beams do not meet
  double overlap_of_frame = 0;  // 1 - step / frame
  double photons = 0;           // of a frame without a sample
  double mean_counts = 0;       // of the frames
  double max_count = 0;         // of a pixel
  // R factor of the true object, which is the noise. It is no bound: with few counts a pixel an
  // object that fits the noise has a lower one.
  double poisson_r = 0;
  double seconds = 0;
  std::string output;
  std::string truth;
  std::vector<std::string> pictures;
};

// The options of the paper's simulations (iScience, 2023): amplitude 1/3 to 1, phase
// pi/6 to pi/2 that follows it, overlap of the frame, 1 % positional error, 0.1 nm wavelength, 1 um
// field of view (128 px), a focus of 100 nm. How far out of focus is not told there: here 0.3 mm.
// Of the probe only what is empty is set.
void apply_ptynet_preset(SimulateOptions& options);

// Writes a CXI file that Scan::open() reads back, and the truth. Everything that is cheap to know
// is checked first. Throws Error; then nothing was written.
SimulateSummary simulate(const SimulateOptions& options);

}  // namespace ptynet
