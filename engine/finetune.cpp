#include "engine/finetune.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <limits>
#include <numeric>

#include "engine/finetune_loop.h"
#include "engine/finetune_options.h"
#include "engine/load_architecture.h"
#include "engine/run_job.h"
#include "engine/training_warning.h"
#include "io/checkpoint.h"
#include "io/datasets.h"
#include "io/sha256.h"
#include "io/weights.h"
#include "kernels/thread_scope.h"
#include "layers/state_dict.h"

namespace ptynet {

namespace {

constexpr std::int64_t kFramesAtOnce = 64;
// A step of Adam moves a value by about the learning rate. Of the networks' weights, which are
// around 0.1, that is 1e-3 of their size at the published rate; a tenth of the probe's own size
// (RMS of its real and imaginary parts) in the place of 0.1 moves the probe by the same share.
constexpr double kProbeRateOfRms = 10;

// Members stand in the order of what they cost: what is wrong with the request shows before the
// frames are read.
class Finetuning {
 public:
  explicit Finetuning(const FinetuneOptions& options)
      : options_(options),
        weights_(io::read_weights(options.weights)),
        architecture_(load_architecture(options.architecture, weights_, options.weights)),
        checkpoint_(read_resumed()),
        scan_(open_scan()),
        split_(split_frames(scan_.count(), options.validate)),
        settings_(settings()),
        empty_beam_(read_empty_beam()),
        frames_(read()),
        rule_(input_rule()),
        probe_(make_probe()),
        trainer_(architecture_, weights_.tensors, trainer_options()),
        canvas_(make_canvas()),
        identity_(identity()),
        loop_(trainer_, frames_, split_, canvas_ ? &*canvas_ : nullptr, options_, identity_) {}

  FinetuneSummary run();

 private:
  std::optional<io::Checkpoint> read_resumed() const;
  Scan open_scan() const;
  std::map<std::string, std::string> settings();
  Array read_empty_beam();
  Array read();
  InputRule input_rule() const;
  Array make_probe();
  double calibration(const Array& probe);
  double scale_by_network(const Array& probe);
  ContextOptions context_options() const {
    return {device_or_best(options_.device), options_.threads};
  }
  TrainerOptions trainer_options() const;
  std::optional<SharedCanvas> make_canvas();
  std::map<std::string, std::string> identity() const;
  void judge();
  void write_weights() const;
  void reconstruct_all();
  void warn(const std::string& line) const {
    if (options_.warning) options_.warning(line);
  }

  FinetuneOptions options_;  // with as many frames in a batch as there are
  io::WeightFile weights_;
  Architecture architecture_;
  std::optional<io::Checkpoint> checkpoint_;  // to go on from
  Scan scan_;
  FrameSplit split_;
  std::map<std::string, std::string> settings_;  // of identity_, what the frames do not tell
  Array empty_beam_;                             // f32 [1, h, w]; or empty
  Array frames_;
  InputRule rule_;
  FinetuneSummary summary_;  // made before the probe, which tells its scale
  Array probe_;
  Trainer trainer_;
  std::optional<SharedCanvas> canvas_;
  std::map<std::string, std::string> identity_;  // all that the weights at the end depend on
  FinetuneLoop loop_;
  double mean_counts_ = 0;  // of a frame
};

std::optional<io::Checkpoint> Finetuning::read_resumed() const {
  expect_freezable(architecture_, options_.freeze);
  if (options_.resume.empty()) return std::nullopt;
  return io::read_checkpoint(options_.resume, "finetune");
}

Scan Finetuning::open_scan() const {
  Scan scan = Scan::open(options_.scan);
  const std::string& path = options_.scan.path;
  if (!options_.force) scan.expect_far_field("use --force to go on anyway");
  if (scan.probe().empty()) {
    fail_input(path, " has no probe, and fine-tuning compares diffraction: give --probe ",
               "FILE[:DATASET]");
  }
  const bool stitches = options_.consistency > 0 || !options_.reconstruction.empty();
  if (stitches && !scan.has_positions()) {
    fail_input(path, " has no positions, which ",
               options_.consistency > 0 ? "--consistency" : "--reconstruction",
               " needs: give --positions FILE[:DATASET], or --raster RxC --step PX");
  }
  trace(architecture_, scan.height(), scan.width());
  const auto unused = check_state(architecture_, weights_.tensors);
  if (!unused.empty()) {
    warn(text(options_.weights, ": ", unused.size(), " tensors are not used, '", unused.front(),
              "' for one"));
  }
  for (const std::string& line : scan.warnings()) warn(line);
  if (options_.log) {
    for (const std::string& note : scan.notes()) options_.log(note);
  }
  return scan;
}

// Another run's checkpoint is refused here, before the frames are read.
std::map<std::string, std::string> Finetuning::settings() {
  options_.batch = std::min(options_.batch, static_cast<std::int64_t>(split_.training.size()));
  std::map<std::string, std::string> out = settings_of(options_);
  out.insert({{"architecture", architecture_.name},
              {"architecture sha256", io::sha256_of(architecture_.json)},
              {"weights sha256", weights_.sha256}});
  if (checkpoint_) io::expect_same_known_options(options_.resume, *checkpoint_, out);
  return out;
}

Array Finetuning::read_empty_beam() {
  if (options_.calibrate != ProbeCalibration::kEmptyBeam) return {};
  const Array image = io::load_image(io::parse_dataset_name(options_.empty_beam));
  const Shape& s = image.shape();
  return scan_.preprocess(image.reshape({1, s[0], s[1]}));
}

Array Finetuning::read() { return read_frames(scan_, memory_for_frames(), options_.stage); }

InputRule Finetuning::input_rule() const {
  InputRule rule =
      options_.input_rule.empty() ? architecture_.input : named_input_rule(options_.input_rule);
  if (rule.scale == InputScale::kScanMax) {
    const auto* values = frames_.data<float>();
    rule.scan_max = std::max(rule.scan_max, *std::max_element(values, values + frames_.elements()));
  }
  return rule;
}

Array Finetuning::make_probe() {
  Array probe = scan_.probe();
  if (options_.support) probe = within_support(probe, *options_.support);
  summary_.probe_scale = calibration(probe);
  if (options_.calibrate != ProbeCalibration::kOff) {
    probe = scaled_probe(probe, summary_.probe_scale);
  }
  if (const auto line = warning_about_counts(probe, frames_)) warn(*line);
  return probe;
}

double Finetuning::calibration(const Array& probe) {
  Context context(context_options());
  switch (options_.calibrate) {
    case ProbeCalibration::kOff:
      return 1;
    case ProbeCalibration::kEmptyBeam:
      return scale_to_counts(context, probe, empty_beam_);
    case ProbeCalibration::kBrightest:
      return scale_to_counts(context, probe, gather(frames_, brightest_frames(frames_)));
    case ProbeCalibration::kNetwork:
      return scale_by_network(probe);
  }
  return 1;
}

double Finetuning::scale_by_network(const Array& probe) {
  SessionOptions o;
  o.context = context_options();
  o.context.tune = false;  // a run that goes on must find the same scale
  o.height = scan_.height();
  o.width = scan_.width();
  o.batch = std::min(kFramesAtOnce, frames_.shape()[0]);
  o.input_rule = rule_;
  Session session(architecture_, weights_.tensors, o);
  ScaleToPrediction scale(session.context(), probe);
  for (std::int64_t first = 0; first < frames_.shape()[0]; first += o.batch) {
    const Array part = frames_.slice(first, std::min(o.batch, frames_.shape()[0] - first));
    Array amplitude = Array::host(part.shape(), DType::kF32);
    Array phase = Array::host(part.shape(), DType::kF32);
    session.run(part, amplitude, phase);
    scale.add(amplitude, phase, part);
  }
  return scale.scale();
}

TrainerOptions Finetuning::trainer_options() const {
  DiffractionObjective objective;
  objective.probe = probe_;
  objective.loss = options_.loss;
  if (options_.consistency > 0) {
    objective.factor = 1 / mean_count(frames_);
    objective.consistency = options_.consistency;
    objective.consistency_weight = probe_weight(probe_);
  }
  const auto parts = 2.0 * static_cast<double>(probe_.elements());
  objective.probe_rate = kProbeRateOfRms * std::sqrt(probe_power(probe_) / parts);
  TrainerOptions o;
  o.context = context_options();
  o.precision = options_.precision;
  o.height = scan_.height();
  o.width = scan_.width();
  o.batch = options_.batch;
  o.objective = objective;
  o.freeze = options_.freeze;
  o.input_rule = rule_;
  return o;
}

std::optional<SharedCanvas> Finetuning::make_canvas() {
  if (!(options_.consistency > 0)) return std::nullopt;
  std::vector<io::Position> positions;
  for (const std::int64_t i : split_.training) {
    positions.push_back(scan_.positions_px()[static_cast<std::size_t>(i)]);
  }
  return std::make_optional<SharedCanvas>(trainer_.context(), probe_, std::move(positions),
                                          options_.max_canvas);
}

std::map<std::string, std::string> Finetuning::identity() const {
  std::map<std::string, std::string> out = settings_;
  out.insert(
      {{"frames sha256", io::sha256_of(frames_)}, {"probe sha256", io::sha256_of_probe(probe_)}});
  if (options_.consistency > 0) {
    Array positions = Array::host({scan_.count(), 2}, DType::kF64);
    auto* to = positions.data<double>();
    for (const io::Position& p : scan_.positions_px()) {
      *to++ = p.row;
      *to++ = p.column;
    }
    out["positions sha256"] = io::sha256_of(positions);
  }
  return out;
}

std::string verdict_of(const FinetuneSummary& s) {
  const auto shown = [](double r) {
    std::ostringstream out;
    out << std::setprecision(3) << r;
    return out.str();
  };
  const std::string line = text("the patches reach R ", shown(s.r_after), ", before fine-tuning ",
                                shown(s.r_before), ", a flat object ", shown(s.r_flat_object),
                                ", the mean frame ", shown(s.r_mean_frame), ": the network is ");
  if (!(s.r_after < s.r_flat_object)) {
    return line + "no better than a flat object: check probe, orientation and counts";
  }
  if (!(s.r_after < s.r_mean_frame)) {
    return line + "better than a flat object, not than the mean frame";
  }
  return line + "better than both";
}

// R after it and what trivial predictions reach.
void Finetuning::judge() {
  const InferenceR after = inference_r(trainer_, frames_, split_);
  FinetuneSummary& s = summary_;
  s.r_before = loop_.before().all;
  s.r_after = after.all;
  if (!split_.held_out.empty()) {
    s.validation_r_before = loop_.before().held_out;
    s.validation_r_after = after.held_out;
  }
  Baselines baselines(trainer_.context(), frames_.shape(), trainer_.probe());
  baselines.add(frames_);
  baselines.measure(frames_);
  mean_counts_ = baselines.mean_counts();
  s.r_flat_object = baselines.flat().r();
  s.r_mean_frame = baselines.mean().r();
  s.verdict = verdict_of(s);
}

void Finetuning::write_weights() const {
  io::WeightFile out;
  out.tensors = trainer_.state().weights;
  out.architecture_json =
      options_.input_rule.empty() ? architecture_.json : json_with_input_rule(architecture_, rule_);
  io::TrainingRecord& record = out.trained_for;
  record.frame_px = {scan_.height(), scan_.width()};
  record.object_pixel_m = scan_.object_pixel_m();
  record.photons = mean_counts_;
  record.orientation = scan_.orientation();
  record.probe = trainer_.probe();
  record.settings = "ptynet finetune\n";
  for (const auto& [name, value] : identity_) record.settings += text(name, " ", value, "\n");
  record.choices = to_text(trainer_.choices());
  record.scores = {{"r_before", summary_.r_before},
                   {"r_after", summary_.r_after},
                   {"r_flat_object", summary_.r_flat_object},
                   {"r_mean_frame", summary_.r_mean_frame},
                   {"epochs", static_cast<double>(summary_.best_epoch)}};
  if (summary_.validation_r_after) {
    record.scores["validation_r_before"] = *summary_.validation_r_before;
    record.scores["validation_r_after"] = *summary_.validation_r_after;
  }
  io::write_weights(options_.output, out);
}

// The whole scan, whatever part of it was trained on.
void Finetuning::reconstruct_all() {
  ReconstructOptions o;
  o.scan = options_.scan;
  o.scan.frames.reset();
  o.weights = options_.output;
  o.rule = rule_;
  o.probe = trainer_.probe();
  o.output = options_.reconstruction;
  o.png = options_.png;
  o.max_canvas = options_.max_canvas;
  o.device = options_.device;
  o.threads = options_.threads;
  o.force = options_.force;
  o.command_line = options_.command_line;
  o.progress = options_.stage;
  o.warning = options_.warning;  // its notes on the scan were said already
  frames_ = {};
  summary_.reconstruction = reconstruct(o);
}

FinetuneSummary Finetuning::run() {
  FinetuneSummary& s = summary_;
  if (checkpoint_) {
    loop_.resume(*checkpoint_);
    checkpoint_.reset();  // its tensors are the trainer's now
  } else {
    loop_.begin();
  }
  const std::vector<double> counts = counts_of_frames(frames_);
  warn_about_training(
      weights_.trained_for, scan_,
      std::accumulate(counts.begin(), counts.end(), 0.0) / static_cast<double>(counts.size()),
      options_.warning);
  loop_.run();
  s.frames = scan_.count();
  s.held_out = static_cast<std::int64_t>(split_.held_out.size());
  s.epochs = static_cast<std::int64_t>(loop_.log().rows());
  s.best_epoch = loop_.best_epoch();
  s.steps = s.epochs * loop_.batches_per_epoch();
  s.trained_values = trainer_.trained_values();
  s.seconds = loop_.seconds();
  const auto loss_of = [&](std::size_t row) {
    return s.epochs > 0 ? loop_.log().at(row, "loss") : std::numeric_limits<double>::quiet_NaN();
  };
  s.first_loss = loss_of(0);
  s.last_loss = loss_of(loop_.log().rows() - 1);
  judge();
  write_weights();
  s.output = options_.output;
  if (!options_.reconstruction.empty()) reconstruct_all();
  return s;
}

}  // namespace

FinetuneSummary finetune(const FinetuneOptions& options) {
  return run_job("cannot fine-tune",
                 "use a smaller --batch, fewer --frames, or fewer pixels (--crop, --bin)",
                 [&options] {
                   expect_usable(options);
                   const ThreadScope scope(options.threads);
                   return Finetuning(options).run();
                 });
}

}  // namespace ptynet
