// The main job: from a scan file and weights to the stitched object.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/scan.h"
#include "engine/session.h"
#include "engine/stitcher.h"

namespace ptynet {

// Called now and then from the job's thread: what is being done, how far it is.
using Progress =
    std::function<void(const std::string& stage, std::int64_t done, std::int64_t total)>;
using Log = std::function<void(const std::string& line)>;

struct ReconstructOptions {
  ScanOptions scan;
  std::string weights;
  std::string architecture;       // name or FILE.json; empty: the weight file's own
  std::string input_rule;         // name; empty: the architecture's own
  std::optional<InputRule> rule;  // instead of both, scan_max as it stands
  Array probe;  // c64 [modes, h, w] of preprocessed frames instead of the scan's; or empty
  std::string output = "reconstruction.h5";
  std::string png;                   // folder for pictures; empty: none
  bool patches = false;              // keep every patch
  std::optional<StitchMode> stitch;  // empty: probe when there is one, else mean
  bool phase_align = false;
  Subpixel subpixel = Subpixel::kNone;
  std::int64_t border = 0;
  std::int64_t max_canvas = std::int64_t{1} << 28;
  std::optional<Device> device;  // empty: the best there is
  Precision precision = Precision::kF32;
  int threads = 0;
  std::int64_t batch = 16;
  bool force = false;  // near-field scans too
  std::string command_line;
  Progress progress;
  Log log;      // what the user should know
  Log warning;  // what the user should check
};

struct ReconstructSummary {
  std::int64_t frames = 0;
  std::int64_t frames_without_counts = 0;
  std::int64_t rows = 0;  // of the object, px
  std::int64_t columns = 0;
  std::int64_t patches_with_gaps = 0;  // the network gave values that are not finite: left out
  // From the first frame read to the last residual, both passes over the frames; how many frames
  // that is in a second; and how much of it the network ran.
  double seconds = 0;
  double frames_per_second = 0;
  double network_seconds = 0;
  // R factors over the scan (ratio of sums); only with a probe. That of the stitched object is
  // taken at positions rounded to pixels, with any --subpixel.
  std::optional<double> r_patches;
  std::optional<double> r_stitched;
  std::optional<double> r_flat_object;  // baseline: a flat object at its best scale
  double r_mean_frame = 0;              // baseline: the mean frame as prediction of every frame
  // Agreement of overlapping patches: constant phase between them and what remains, RMS, rad
  std::optional<double> overlap_offset_rms_rad;
  std::optional<double> overlap_spread_rms_rad;
  std::string verdict;  // one line, on the stitched object
  std::string output;
  std::vector<std::string> pictures;
};

// Everything that is cheap to know is checked before the frames are read. Throws Error; then
// nothing was written: the result and the pictures get their names at the very end, when all of
// them lie whole on the disk, and folders made for them are removed again.
ReconstructSummary reconstruct(const ReconstructOptions& options);

}  // namespace ptynet
