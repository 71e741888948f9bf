#include "engine/reconstruct.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iomanip>

#include "engine/choice_cache.h"
#include "engine/frame_prefetch.h"
#include "engine/load_architecture.h"
#include "engine/residual.h"
#include "engine/run_job.h"
#include "engine/training_warning.h"
#include "engine/version.h"
#include "io/bytes.h"
#include "io/datasets.h"
#include "io/picture.h"
#include "io/result.h"
#include "io/weights.h"
#include "kernels/thread_scope.h"
#include "layers/state_dict.h"

namespace ptynet {

namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The stitched object's R beside what trivial predictions reach, in one line.
std::string verdict_of(const ReconstructSummary& s) {
  const auto shown = [](double r) {
    std::ostringstream out;
    out << std::setprecision(3) << r;
    return out.str();
  };
  if (s.frames_without_counts == s.frames) {
    return "no counts in any frame, so no R factor: check the scan, --mask and --dark";
  }
  if (!s.r_stitched) {
    return text("no probe, so no R factor of the object; the mean frame reaches R ",
                shown(s.r_mean_frame));
  }
  const std::string line =
      text("the stitched object reaches R ", shown(*s.r_stitched), ", the patches by themselves ",
           shown(*s.r_patches), ", a flat object ", shown(*s.r_flat_object), ", the mean frame ",
           shown(s.r_mean_frame), ": the stitched object is ");
  if (!(*s.r_stitched < *s.r_flat_object)) {
    return line + "no better than a flat object: check probe, orientation and counts, or fine-tune";
  }
  if (!(*s.r_stitched < s.r_mean_frame)) {
    return line + "better than a flat object, not than the mean frame";
  }
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

// Members stand in the order of what they cost: what is wrong with the request shows before the
// frames are read.
class Reconstruction {
 public:
  explicit Reconstruction(const ReconstructOptions& options)
      : options_(options),
        weights_(io::read_weights(options.weights)),
        architecture_(load_architecture(options.architecture, weights_, options.weights)),
        scan_(open_scan()),
        context_(context_options()),
        host_(make_host_backend(options_.threads)),
        stitcher_(host_, scan_.height(), scan_.width(), scan_.probe(), stitcher_options()),
        baselines_(context_, {scan_.count(), scan_.height(), scan_.width()}, scan_.probe()) {}

  ReconstructSummary run();

 private:
  Scan open_scan() const;
  ContextOptions context_options() const;
  StitcherOptions stitcher_options() const;
  InputRule input_rule();
  Session make_session();
  void predict(Session& session, io::ResultWriter& writer);
  void judge();
  void summarise();
  io::Result result() const;
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
  Context context_;
  Context host_;  // stitches
  Stitcher stitcher_;
  Baselines baselines_;
  OverlapStatistics overlaps_;
  RSums patch_sums_;
  RSums stitched_sums_;
  std::vector<float> residual_;
  std::vector<float> residual_stitched_;
  std::string choices_;  // of the session, as text
  ReconstructSummary summary_;
};

// The result takes the place of no file that the job reads.
void expect_usable(const ReconstructOptions& options) {
  if (options.batch < 1) fail_input("--batch must be at least 1, found ", options.batch);
  std::vector<fs::path> inputs = files_of(options.scan);
  inputs.insert(inputs.end(), {options.weights, options.architecture});
  io::expect_no_input(options.output, inputs);
}

Scan Reconstruction::open_scan() const {
  Scan scan = Scan::open(options_.scan);
  if (!options_.force) scan.expect_far_field("use --force to go on anyway");
  if (!scan.has_positions()) {
    fail_input(options_.scan.path, " has no positions: give --positions FILE[:DATASET], or",
               " --raster RxC --step PX");
  }
  if (!options_.probe.empty()) {
    scan.set_probe(options_.probe);
  } else {
    for (const std::string& line : scan.warnings()) warn(line);
  }
  return scan;
}

ContextOptions Reconstruction::context_options() const {
  return {device_or_best(options_.device), options_.threads};
}

// The rule with the scan's largest count in it, for which all frames are read, if it needs that.
InputRule Reconstruction::input_rule() {
  if (options_.rule) return *options_.rule;
  InputRule rule =
      options_.input_rule.empty() ? architecture_.input : named_input_rule(options_.input_rule);
  if (rule.scale != InputScale::kScanMax) return rule;
  FramePrefetch frames(scan_, options_.batch);
  while (const auto batch = frames.next()) {
    const auto* values = batch->frames.data<float>();
    rule.scan_max =
        std::max(rule.scan_max, *std::max_element(values, values + batch->frames.elements()));
    progress("scan maximum", batch->first + batch->frames.shape()[0]);
  }
  return rule;
}

Session Reconstruction::make_session() {
  // The session checks these too, but needs the input rule first.
  expect_precision(context_, options_.precision);
  trace(architecture_, scan_.height(), scan_.width());
  check_state(architecture_, weights_.tensors);
  SessionOptions o;
  o.context = context_options();
  o.precision = options_.precision;
  o.height = scan_.height();
  o.width = scan_.width();
  o.batch = std::min(options_.batch, scan_.count());
  o.input_rule = input_rule();
  return Session(architecture_, weights_.tensors, o);
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

// First pass: every frame through the network and onto the canvas.
void Reconstruction::predict(Session& session, io::ResultWriter& writer) {
  std::optional<ResidualMeter> meter;
  if (!scan_.probe().empty()) meter.emplace(context_, scan_.probe());
  FramePrefetch source(scan_, session.options().batch);
  while (const auto batch = source.next()) {
    const Shape& shape = batch->frames.shape();
    Array amplitude = Array::host(shape, DType::kF32);
    Array phase = Array::host(shape, DType::kF32);
    const Clock::time_point start = Clock::now();
    session.run(batch->frames, amplitude, phase);
    summary_.network_seconds += seconds_since(start);
    Array object = host_.allocate(shape, DType::kC64);
    host_.backend().compose_object(amplitude, phase, object);
    const auto first = scan_.positions_px().begin() + batch->first;
    overlaps_.add(stitcher_.add(object, {first, first + shape[0]}));
    baselines_.add(batch->frames);
    if (meter) {
      for (const RSums& sums : meter->measure(object, batch->frames)) {
        patch_sums_ += sums;
        residual_.push_back(static_cast<float>(sums.r()));
      }
    }
    if (options_.patches) writer.append_patches(amplitude, phase);
    progress("reconstructing", batch->first + shape[0]);
  }
}

// Second pass: the stitched object and the trivial predictions against every frame.
void Reconstruction::judge() {
  std::optional<ResidualMeter> meter;
  if (!scan_.probe().empty()) meter.emplace(context_, scan_.probe());
  const Array stitched = stitcher_.object();
  FramePrefetch source(scan_, options_.batch);
  while (const auto batch = source.next()) {
    const std::int64_t n = batch->frames.shape()[0];
    baselines_.measure(batch->frames);
    if (meter) {
      const auto first = scan_.positions_px().begin() + batch->first;
      const Array object = stitcher_.cut(stitched, {first, first + n});
      for (const RSums& sums : meter->measure(object, batch->frames)) {
        stitched_sums_ += sums;
        residual_stitched_.push_back(static_cast<float>(sums.r()));
      }
    }
    progress("residuals", batch->first + n);
  }
}

io::Result Reconstruction::result() const {
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
  p.device = to_string(context_.device());
  p.precision = name_of(options_.precision);
  if (!choices_.empty()) p.more["choices"] = choices_;
  p.seconds = summary_.seconds;
  p.frames_per_second = summary_.frames_per_second;
  p.network_seconds = summary_.network_seconds;
  p.residual = summary_.r_patches;
  p.residual_stitched = summary_.r_stitched;
  p.residual_flat = summary_.r_flat_object;
  p.residual_mean = summary_.r_mean_frame;
  p.overlap_offset_rms_rad = summary_.overlap_offset_rms_rad;
  p.overlap_spread_rms_rad = summary_.overlap_spread_rms_rad;
  return r;
}

void Reconstruction::summarise() {
  ReconstructSummary& s = summary_;
  s.frames = scan_.count();
  s.frames_without_counts = baselines_.frames_without_counts();
  s.patches_with_gaps = stitcher_.patches_with_gaps();
  s.rows = stitcher_.rows();
  s.columns = stitcher_.columns();
  s.frames_per_second = static_cast<double>(s.frames) / s.seconds;
  s.r_mean_frame = baselines_.mean().r();
  if (baselines_.has_flat()) {
    s.r_patches = patch_sums_.r();
    s.r_stitched = stitched_sums_.r();
    s.r_flat_object = baselines_.flat().r();
  }
  s.overlap_offset_rms_rad = overlaps_.offset_rms_rad();
  s.overlap_spread_rms_rad = overlaps_.spread_rms_rad();
  s.verdict = verdict_of(s);
  if (s.patches_with_gaps > 0) {
    warn(text("the network gave values that are not finite for ", s.patches_with_gaps, " of ",
              s.frames, " frames: they are left out of the object; check weights and input rule"));
  }
}

ReconstructSummary Reconstruction::run() {
  stitcher_.reserve(scan_.positions_px());
  io::ResultWriter writer(options_.output);
  std::optional<io::PictureWriter> pictures;
  if (!options_.png.empty()) pictures.emplace(options_.png);
  Session session = make_session();
  const auto unused = session.unused_tensors();
  if (!unused.empty()) {
    std::string names;
    for (const std::string& name : unused) names += (names.empty() ? "" : ", ") + name;
    warn(text(options_.weights, ": ", unused.size(), " tensors are not used: ", names));
  }
  for (const std::string& note : scan_.notes()) log(note);

  const Clock::time_point start = Clock::now();
  predict(session, writer);
  judge();
  summary_.seconds = seconds_since(start);
  summarise();
  std::optional<double> mean_counts;
  if (summary_.frames > 0) mean_counts = baselines_.mean_counts();
  warn_about_training(weights_.trained_for, scan_, mean_counts, options_.warning);

  choices_ = to_text(used_choices(session.context().backend()));
  const io::Result made = result();
  writer.write(made);
  if (pictures) pictures->draw(made);
  // From here on only names change.
  if (pictures) {
    pictures->commit();
    for (const fs::path& path : pictures->paths()) summary_.pictures.push_back(path.string());
  }
  writer.commit();
  summary_.output = options_.output;
  return summary_;
}

}  // namespace

ReconstructSummary reconstruct(const ReconstructOptions& options) {
  return run_job("cannot reconstruct",
                 "use a smaller --batch, or fewer pixels (--max-canvas limits them)", [&options] {
                   expect_usable(options);
                   const ThreadScope scope(options.threads);
                   return Reconstruction(options).run();
                 });
}

}  // namespace ptynet
