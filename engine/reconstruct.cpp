#include "engine/reconstruct.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iomanip>

#include "engine/frame_prefetch.h"
#include "engine/load_architecture.h"
#include "engine/residual.h"
#include "engine/version.h"
#include "io/picture.h"
#include "io/result.h"
#include "io/weights.h"

namespace ptynet {

namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// R beside what trivial predictions reach, in one line.
std::string verdict_of(const ReconstructSummary& s) {
  const auto shown = [](double r) {
    std::ostringstream out;
    out << std::setprecision(3) << r;
    return out.str();
  };
  if (!s.r_stitched) {
    return text("no probe, so no R factor of the object; the mean frame reaches R ",
                shown(s.r_mean_frame));
  }
  const double best = std::min(*s.r_patches, *s.r_stitched);
  std::string line =
      text("R ", shown(*s.r_patches), " of the patches, ", shown(*s.r_stitched),
           " of the stitched object; a flat object reaches ", shown(*s.r_flat_object),
           ", the mean frame ", shown(s.r_mean_frame), ": ");
  if (!(best < *s.r_flat_object)) {
    return line + "no better than a flat object: check probe, orientation and counts, or fine-tune";
  }
  if (!(best < s.r_mean_frame)) return line + "better than a flat object, not than the mean frame";
  return line + "better than both";
}

// Circular statistics of how patches agreed where they overlap.
class OverlapStatistics {
 public:
  void add(const std::vector<Overlap>& overlaps) {
    for (const Overlap& o : overlaps) {
      if (!(o.weight > 0)) continue;
      weight_ += o.weight;
      offset_ += o.weight * o.offset_rad * o.offset_rad;
      // -2 ln |C| is the variance of a wrapped normal distribution of that coherence.
      spread_ += o.weight * -2.0 * std::log(std::max(o.coherence, 1e-12));
    }
  }
  std::optional<double> offset_rms_rad() const { return root(offset_); }
  std::optional<double> spread_rms_rad() const { return root(spread_); }

 private:
  std::optional<double> root(double sum) const {
    if (!(weight_ > 0)) return std::nullopt;
    return std::sqrt(std::max(0.0, sum / weight_));
  }
  double weight_ = 0;
  double offset_ = 0;
  double spread_ = 0;
};

class Reconstruction {
 public:
  explicit Reconstruction(const ReconstructOptions& options)
      : options_(options),
        weights_(io::read_weights(options.weights)),
        architecture_(find_architecture()),
        scan_(Scan::open(options.scan)),
        session_(make_session()),
        stitcher_(session_.context(), scan_.height(), scan_.width(), scan_.probe(),
                  stitcher_options()),
        baselines_(session_.context(), scan_.height(), scan_.width(), scan_.probe()) {}

  ReconstructSummary run();

 private:
  Architecture find_architecture() const;
  SessionOptions session_options();
  Session make_session();
  StitcherOptions stitcher_options() const;
  void warn_about_training() const;
  void predict(io::ResultWriter& writer, OverlapStatistics& overlaps);
  void judge();
  io::Result result(const OverlapStatistics& overlaps) const;
  void warn(const std::string& line) const {
    if (options_.warning) options_.warning(line);
  }
  void log(const std::string& line) const {
    if (options_.log) options_.log(line);
  }
  void progress(const char* stage, std::int64_t done) const {
    if (options_.progress) options_.progress(stage, done, scan_.count());
  }

  const ReconstructOptions& options_;
  io::WeightFile weights_;
  Architecture architecture_;
  Scan scan_;
  Session session_;
  Stitcher stitcher_;
  Baselines baselines_;
  RSums patch_sums_;
  RSums stitched_sums_;
  std::vector<float> residual_;
  std::vector<float> residual_stitched_;
  ReconstructSummary summary_;
};

void make_folder(const fs::path& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) fail_input("cannot make the folder ", folder.string(), ": ", problem.message());
}

Architecture Reconstruction::find_architecture() const {
  if (!options_.architecture.empty()) return load_architecture(options_.architecture);
  if (weights_.architecture_json.empty()) {
    fail_input(options_.weights, " does not say which network it belongs to: give --architecture (",
               "one of ptynet-s, ptynet-b, ptychonn, ptychonn-small-phase, ptychonet, or a JSON",
               " file)");
  }
  return parse_architecture(weights_.architecture_json);
}

SessionOptions Reconstruction::session_options() {
  SessionOptions o;
  o.context.device = options_.device.value_or(best_device());
  o.context.threads = options_.threads;
  o.precision = options_.precision;
  o.height = scan_.height();
  o.width = scan_.width();
  o.batch = std::min(options_.batch, scan_.count());
  InputRule rule = options_.input_rule.empty() ? architecture_.input
                                               : named_input_rule(options_.input_rule);
  if (rule.scale == InputScale::kScanMax) {
    FramePrefetch frames(scan_, o.batch);
    while (const auto batch = frames.next()) {
      const auto* values = batch->frames.data<float>();
      rule.scan_max =
          std::max(rule.scan_max, *std::max_element(values, values + batch->frames.elements()));
      progress("scan maximum", batch->first + batch->frames.shape()[0]);
    }
  }
  o.input_rule = rule;
  return o;
}

Session Reconstruction::make_session() {
  if (scan_.file().near_field && !options_.force) {
    fail_input(options_.scan.path, ": a near-field scan (", scan_.file().near_field_reason,
               "), and these networks are for the far field: use --force to go on anyway");
  }
  if (!scan_.has_positions()) {
    fail_input(options_.scan.path, " has no positions: give --positions FILE[:DATASET], or",
               " --raster RxC --step PX");
  }
  if (options_.batch < 1) fail_input("--batch must be at least 1, found ", options_.batch);
  return Session(architecture_, weights_.tensors, session_options());
}

StitcherOptions Reconstruction::stitcher_options() const {
  StitcherOptions o;
  const StitchMode usual = scan_.probe().empty() ? StitchMode::kMean : StitchMode::kProbe;
  o.mode = options_.stitch.value_or(usual);
  o.subpixel = options_.subpixel;
  o.border = options_.border;
  o.phase_align = options_.phase_align;
  o.max_canvas = options_.max_canvas;
  return o;
}

// Weights see only what they were trained for: says where this scan differs.
void Reconstruction::warn_about_training() const {
  const io::TrainingRecord& trained = weights_.trained_for;
  if (trained.frame_px && *trained.frame_px != std::array{scan_.height(), scan_.width()}) {
    warn(text("the weights were trained on frames of ", (*trained.frame_px)[0], "x",
              (*trained.frame_px)[1], " px, this scan has ", scan_.height(), "x", scan_.width()));
  }
  if (trained.object_pixel_m && scan_.object_pixel_m()) {
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const double expected = (*trained.object_pixel_m)[axis];
      const double found = (*scan_.object_pixel_m())[axis];
      if (std::abs(found - expected) > 0.01 * expected) {
        warn(text("the weights were trained for an object pixel of ", expected, " m, this scan has ",
                  found, " m"));
        break;
      }
    }
  }
  if (trained.probe_sha256 && !scan_.probe().empty() &&
      *trained.probe_sha256 != io::sha256_of_probe(scan_.probe())) {
    warn("the weights were trained with another probe than this scan's");
  }
  if (trained.orientation && *trained.orientation != scan_.orientation()) {
    warn(text("the weights were trained on frames of orientation ", *trained.orientation,
              ", this scan is read with ", scan_.orientation()));
  }
  if (trained.photons && *trained.photons > 0 && summary_.frames > 0) {
    const double photons = baselines_.mean_counts();
    if (photons < *trained.photons / 10 || photons > *trained.photons * 10) {
      warn(text("the weights were trained for ", *trained.photons,
                " counts a frame, this scan has ", photons));
    }
  }
}

// First pass: every frame through the network and onto the canvas.
void Reconstruction::predict(io::ResultWriter& writer, OverlapStatistics& overlaps) {
  std::optional<ResidualMeter> meter;
  if (!scan_.probe().empty()) meter.emplace(session_.context(), scan_.probe());
  FramePrefetch source(scan_, session_.options().batch);
  const Clock::time_point start = Clock::now();
  while (const auto batch = source.next()) {
    const std::int64_t n = batch->frames.shape()[0];
    Array amplitude = Array::host(batch->frames.shape(), DType::kF32);
    Array phase = Array::host(batch->frames.shape(), DType::kF32);
    session_.run(batch->frames, amplitude, phase);
    const auto first = scan_.positions_px().begin() + batch->first;
    overlaps.add(stitcher_.add(amplitude, phase, {first, first + n}));
    baselines_.add(batch->frames);
    if (meter) {
      Array object = session_.context().allocate(batch->frames.shape(), DType::kC64);
      session_.context().backend().compose_object(on_device(session_.context(), amplitude),
                                                  on_device(session_.context(), phase), object);
      for (const RSums& sums : meter->measure(object, batch->frames)) {
        patch_sums_ += sums;
        residual_.push_back(static_cast<float>(sums.r()));
      }
    }
    if (options_.patches) writer.append_patches(amplitude, phase);
    progress("reconstructing", batch->first + n);
  }
  summary_.seconds = seconds_since(start);
  summary_.frames_per_second = static_cast<double>(scan_.count()) / summary_.seconds;
}

// Second pass: the stitched object and the trivial predictions against every frame.
void Reconstruction::judge() {
  std::optional<ResidualMeter> meter;
  if (!scan_.probe().empty()) meter.emplace(session_.context(), scan_.probe());
  FramePrefetch source(scan_, session_.options().batch);
  while (const auto batch = source.next()) {
    const std::int64_t n = batch->frames.shape()[0];
    baselines_.measure(batch->frames);
    if (meter) {
      Array object = Array::host(batch->frames.shape(), DType::kC64);
      for (std::int64_t i = 0; i < n; ++i) {
        Array patch = object.slice(i, 1);
        const Array cut =
            stitcher_.cut(scan_.positions_px()[static_cast<std::size_t>(batch->first + i)]);
        std::copy_n(cut.data<std::complex<float>>(), cut.elements(),
                    patch.data<std::complex<float>>());
      }
      for (const RSums& sums : meter->measure(object, batch->frames)) {
        stitched_sums_ += sums;
        residual_stitched_.push_back(static_cast<float>(sums.r()));
        if (!(sums.total > 0)) ++summary_.frames_without_counts;
      }
    }
    progress("residuals", batch->first + n);
  }
}

io::Result Reconstruction::result(const OverlapStatistics& overlaps) const {
  io::Result r;
  r.object = stitcher_.object();
  r.coverage = stitcher_.coverage();
  r.count = stitcher_.count();
  r.positions = scan_.positions_px();
  r.frame_index = scan_.frame_index();
  r.residual = residual_;
  r.residual_stitched = residual_stitched_;
  r.origin_px = {static_cast<double>(stitcher_.origin()[0]),
                 static_cast<double>(stitcher_.origin()[1])};
  r.pixel_size_m = scan_.object_pixel_m();
  r.energy_ev = scan_.energy_ev();
  io::Process& p = r.process;
  p.version = version();
  p.command_line = options_.command_line;
  p.weights_sha256 = weights_.sha256;
  p.architecture = architecture_.name;
  p.device = to_string(session_.options().context.device);
  p.precision = options_.precision == Precision::kBf16 ? "bf16" : "fp32";
  p.seconds = summary_.seconds;
  p.frames_per_second = summary_.frames_per_second;
  p.residual = summary_.r_patches;
  p.residual_stitched = summary_.r_stitched;
  p.residual_flat = summary_.r_flat_object;
  p.residual_mean = summary_.r_mean_frame;
  p.overlap_rms_rad = overlaps.offset_rms_rad();
  return r;
}

ReconstructSummary Reconstruction::run() {
  stitcher_.reserve(scan_.positions_px());
  io::ResultWriter writer(options_.output);
  if (!options_.png.empty()) make_folder(options_.png);
  const auto unused = session_.unused_tensors();
  if (!unused.empty()) {
    std::string names;
    for (const std::string& name : unused) names += (names.empty() ? "" : ", ") + name;
    warn(text(options_.weights, ": ", unused.size(), " tensors are not used: ", names));
  }
  for (const std::string& note : scan_.notes()) log(note);

  OverlapStatistics overlaps;
  predict(writer, overlaps);
  judge();
  summary_.frames = scan_.count();
  summary_.rows = stitcher_.rows();
  summary_.columns = stitcher_.columns();
  summary_.r_mean_frame = baselines_.mean().r();
  if (baselines_.has_flat()) {
    summary_.r_patches = patch_sums_.r();
    summary_.r_stitched = stitched_sums_.r();
    summary_.r_flat_object = baselines_.flat().r();
  }
  summary_.overlap_offset_rms_rad = overlaps.offset_rms_rad();
  summary_.overlap_spread_rms_rad = overlaps.spread_rms_rad();
  summary_.verdict = verdict_of(summary_);
  warn_about_training();

  const io::Result made = result(overlaps);
  writer.finish(made);
  summary_.output = options_.output;
  if (!options_.png.empty()) {
    io::write_pictures(options_.png, made);
    for (const char* name : {"amplitude.png", "phase.png", "coverage.png"}) {
      summary_.pictures.push_back((fs::path(options_.png) / name).string());
    }
  }
  return summary_;
}

}  // namespace

ReconstructSummary reconstruct(const ReconstructOptions& options) {
  return Reconstruction(options).run();
}

}  // namespace ptynet
