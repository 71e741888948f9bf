// Judges result files against the truth they were simulated from (`ptynet evaluate`).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/metrics.h"
#include "io/datasets.h"

namespace ptynet {

enum class Convention { kPaper, kStandard, kPhysical };  // as engine/metrics.h explains them
// "paper", "standard" or "physical"; throws Error (input) for anything else.
Convention parse_convention(std::string_view name);

struct EvaluateRequest {
  std::filesystem::path result;
  // Two maps [rows, columns] of one shape: amplitude, and phase in radians. .npy, .npz, HDF5, or a
  // grey .png, whose values are divided by 255 (or 65535): 0 to 1.
  io::DatasetName truth_amplitude;
  io::DatasetName truth_phase;
  // The pixel (r, c) of the scan's coordinates is the truth's pixel (r, c) + offset; rounded to
  // the nearest pixel when the result's origin is between two.
  std::array<std::int64_t, 2> truth_offset_px{};
  std::int64_t border_px = 0;  // left out on every side of what the frames cover
  // Further results of the same object, such as those after fine-tuning. Every result is then
  // judged on the part of the truth that frames of all of them cover.
  std::vector<std::filesystem::path> beside{};
  // Folder, made when missing, for a picture of the results beside the truth (comparison.png,
  // engine/comparison.h); empty: none.
  std::filesystem::path png{};
};

// A part of the truth, first pixel included, last one not.
struct Region {
  std::int64_t first_row, end_row, first_column, end_column;
};

// Where a correlation curve falls below its criterion.
struct Crossing {
  double frequency = 0;                 // cycles per pixel; NaN: it never does
  std::optional<double> half_period_m;  // 1 / (2 frequency), when the pixels are known and square
};

// R factors over the scan that the result was made from, as its file says.
struct ScanR {
  double stitched = 0;
  double flat_object = 0;  // baselines (engine/residual.h)
  double mean_frame = 0;
};

struct Evaluation {
  std::filesystem::path result;
  std::optional<ScanR> r_factor;  // only of a result that was made with a probe
  // What was judged: the rectangle around the covered pixels, less the border, as far as there is
  // truth. A pixel in it which no frame covers takes the truth's value: it is not judged.
  Region region{};
  std::int64_t uncovered_pixels = 0;  // in the region
  ImageScores amplitude_paper, amplitude_standard;
  ImageScores phase_paper, phase_standard;  // of the phases as they are, in (-pi, pi]
  PhysicalScores physical;
  // Of the complex objects, after the best constant phase between them is removed.
  RingCorrelation ring_correlation;
  Crossing half_bit, fixed_05, fixed_0143;
};

// Of `result` and of those beside it, in this order. Throws Error (input) when a file cannot be
// read, the two truths differ in shape, the results do not overlap each other or the truth, the
// border leaves nothing, or the picture cannot be written or would replace an input.
std::vector<Evaluation> evaluate_all(const EvaluateRequest& request);
// Of `result` alone.
Evaluation evaluate(const EvaluateRequest& request);

// JSON, indented: {"result", "region", "uncovered_pixels", "amplitude": {"paper": {"psnr", "ssim",
// "mse"}, "standard": the same}, "phase": as amplitude, "physical": {"phase_rms_rad",
// "amplitude_rms"}, "r_factor": {"stitched", "flat_object", "mean_frame"}, "frc": {"frequency",
// "correlation", "crossings"}}; with a convention, its scores only. What is not defined is null,
// and an infinite PSNR is "infinity". Of several results, an array of such objects.
std::string to_json(const Evaluation& evaluation, std::optional<Convention> convention = {});
std::string to_json(const std::vector<Evaluation>& evaluations,
                    std::optional<Convention> convention = {});

// The same for people, several lines, the curve left out; of several results each line holds the
// numbers of all, from the first to the last: "phase RMS 0.31 -> 0.18 rad".
std::string to_text(const Evaluation& evaluation, std::optional<Convention> convention = {});
std::string to_text(const std::vector<Evaluation>& evaluations,
                    std::optional<Convention> convention = {});

}  // namespace ptynet
