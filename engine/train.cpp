#include "engine/train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <complex>
#include <memory>
#include <numbers>
#include <thread>
#include <utility>

#include "engine/load_architecture.h"
#include "engine/training_checkpoint.h"
#include "engine/training_log.h"
#include "io/bytes.h"
#include "io/datasets.h"
#include "io/sha256.h"
#include "io/weights.h"

namespace ptynet {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kHeldOutSeed = 1;
constexpr const char* kJob = "train";

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What can be known without computing or reading anything.
const TrainOptions& checked(const TrainOptions& o) {
  if (o.architecture.empty() && o.from.empty()) {
    fail_input("expected --architecture or --from, which network is to learn");
  }
  if (o.epoch.patterns < 1 || o.epoch.batch < 1 || o.epoch.batch > o.epoch.patterns) {
    fail_input("expected a batch of 1 to ", o.epoch.patterns, " patterns, as an epoch has, found ",
               o.epoch.batch);
  }
  if (o.epochs < 0 || o.held_out < 0 || o.every < 1) {
    fail_input("expected 0 epochs and 0 held-out patterns or more, and a checkpoint every epoch ",
               "or less often");
  }
  if (o.minutes && !(*o.minutes > 0)) fail_input("expected minutes above 0, found ", *o.minutes);
  if (!(o.learning_rate > 0) || !(o.half_cycle_epochs > 0)) {
    fail_input("expected a learning rate and a half cycle above 0, found ", o.learning_rate,
               " and ", o.half_cycle_epochs);
  }
  std::vector<std::filesystem::path> inputs{o.from, o.architecture};
  if (!o.probe.file.empty()) inputs.push_back(io::parse_dataset_name(o.probe.file).path);
  for (const std::string* output : {&o.output, &o.checkpoint, &o.log}) {
    if (output->empty()) continue;
    io::expect_no_input(*output, inputs);
    const io::PendingFile place(*output);  // before an hour of training, not after it
  }
  return o;
}

// sum over modes |p|^2, f32 [h, w].
Array intensity_of(const Array& probe) {
  const Shape& s = probe.shape();
  Array out = Array::zeros({s[1], s[2]}, DType::kF32);
  for (std::int64_t k = 0; k < probe.elements(); ++k) {
    out.data<float>()[k % out.elements()] += std::norm(probe.data<std::complex<float>>()[k]);
  }
  return out;
}

// Mean squared error of [n, h, w] values, weighted by [h, w] or not (empty); `found` empty: of the
// target's own mean.
double mean_square(const Array& found, const Array& target, const Array& weight) {
  const std::int64_t pixels = target.shape()[1] * target.shape()[2];
  const auto* t = target.data<float>();
  const auto weighted_mean = [&](auto&& value) {
    double sum = 0;
    double total = 0;
    for (std::int64_t k = 0; k < target.elements(); ++k) {
      const double w = weight.empty() ? 1.0 : double{weight.data<float>()[k % pixels]};
      sum += w * value(k);
      total += w;
    }
    return sum / total;
  };
  const double mean =
      found.empty() ? weighted_mean([&](std::int64_t k) { return double{t[k]}; }) : 0;
  return weighted_mean([&](std::int64_t k) {
    const double from = found.empty() ? mean : double{found.data<float>()[k]};
    return (from - double{t[k]}) * (from - double{t[k]});
  });
}

// Errors summed over the patterns of an epoch.
struct EpochSums {
  double loss = 0;
  double amplitude = 0;
  double phase = 0;
  double patterns = 0;
  double seconds = 0;
};

class Training {
 public:
  explicit Training(const TrainOptions& options);
  TrainSummary run();

 private:
  Architecture find_architecture() const;
  Array find_probe() const;
  TrainerOptions trainer_options() const;
  std::map<std::string, std::string> identity() const;
  double progress_now() const;
  double rate_now() const;
  bool finished() const;
  void resume();
  void train_steps();
  void one_step(PatternSource& source);
  [[noreturn]] void stop_here();
  void end_epoch(bool whole);
  HeldOutLosses measure();
  void write_checkpoint();
  void write_weights() const;
  std::int64_t epoch() const { return steps_ / options_.epoch.batches(); }
  double seconds() const { return seconds_before_ + seconds_since(start_); }

  const TrainOptions& options_;
  io::WeightFile from_;
  Architecture architecture_;
  PatternRecipe recipe_;
  Array intensity_;  // of the probe, f32 [h, w]
  std::shared_ptr<const PatternMaker> maker_;
  TrainingBatch held_out_;
  std::unique_ptr<Trainer> trainer_;
  TrainingLog log_;
  EpochSums sums_;
  std::int64_t steps_ = 0;
  double rate_ = 0;            // of the last step
  double seconds_before_ = 0;  // of the runs that the checkpoint goes back to
  Clock::time_point start_;
  Clock::time_point epoch_start_;
  std::string checkpoint_written_;
  TrainSummary summary_;
};

Training::Training(const TrainOptions& options)
    : options_(checked(options)),
      from_(options.from.empty() ? io::WeightFile{} : io::read_weights(options.from)),
      architecture_(find_architecture()),
      recipe_(options.recipe),
      log_({"epoch", "loss", "amplitude_error", "phase_error", "held_out_loss",
            "held_out_weighted_loss", "learning_rate", "seconds"}) {
  recipe_.probe = find_probe();
  recipe_.seed = options.seed;
  intensity_ = intensity_of(recipe_.probe);
  maker_ = std::make_shared<PatternMaker>(recipe_, "training");
  if (!options.from.empty()) check_state(architecture_, from_.tensors);
  const StateDict state =
      options.from.empty() ? initial_state(architecture_, options.seed) : from_.tensors;
  trainer_ = std::make_unique<Trainer>(architecture_, state, trainer_options());
  if (options.held_out > 0) {
    PatternRecipe recipe = recipe_;
    recipe.seed = kHeldOutSeed;
    held_out_ = PatternMaker(recipe, "held-out").batch(0, options.held_out);
  }
}

Architecture Training::find_architecture() const {
  if (!options_.architecture.empty()) return load_architecture(options_.architecture);
  if (from_.architecture_json.empty()) {
    fail_input(options_.from, " does not say which network it belongs to: give --architecture");
  }
  return parse_architecture(from_.architecture_json);
}

Array Training::find_probe() const {
  if (!options_.recipe.probe.empty()) return options_.recipe.probe;
  return simulation_probe(options_.probe, options_.geometry, options_.frame_px);
}

TrainerOptions Training::trainer_options() const {
  TrainerOptions o;
  o.context.device = options_.device.value_or(best_device());
  o.context.threads = options_.threads;
  o.height = maker_->height();
  o.width = maker_->width();
  o.batch = options_.epoch.batch;
  PatchObjective objective;
  if (options_.weight == PatchWeight::kProbe) objective.weight = intensity_;
  o.objective = objective;
  return o;
}

// All that the weights depend on beside device and threads.
std::map<std::string, std::string> Training::identity() const {
  const TrainOptions& o = options_;
  const PatternRecipe& r = recipe_;
  const ObjectRanges& g = r.ranges;
  std::map<std::string, std::string> out;
  out["architecture"] = architecture_.json;
  out["from"] = from_.sha256;
  out["probe"] = io::sha256_of_probe(r.probe);
  out["objects"] = r.images.empty() ? text("kind ", static_cast<int>(r.objects)) : r.images;
  out["ranges"] =
      text(g.amplitude_low, ":", g.amplitude_high, " ", g.phase_low_rad, ":", g.phase_high_rad, " ",
           g.feature_low_px, ":", g.feature_high_px, g.shared ? " shared" : "");
  out["noise"] = r.noise == Noise::kPoisson ? "poisson" : "none";
  if (r.photons) out["photons"] = text((*r.photons)[0], ":", (*r.photons)[1]);
  out["probe-jitter"] = text(r.jitter.shift_px, ",", r.jitter.defocus, ",", r.jitter.scale);
  out["patterns"] = text(o.epoch.patterns);
  out["batch"] = text(o.epoch.batch);
  out["learning-rate"] = text(o.learning_rate);
  out["schedule"] = text("kind ", static_cast<int>(o.schedule));
  out["half-cycle"] = text(o.half_cycle_epochs);
  out["weight"] = o.weight == PatchWeight::kProbe ? "probe" : "none";
  out["held-out"] = text(o.held_out);
  out["seed"] = text(o.seed);
  // Waves and a constant rate do not know the end, so such a run may be made longer.
  const bool knows_end = o.schedule == ScheduleKind::kStep || o.schedule == ScheduleKind::kCosine;
  if (knows_end && o.minutes) out["minutes"] = text(*o.minutes);
  if (knows_end && !o.minutes) out["epochs"] = text(o.epochs);
  return out;
}

// The share of the run that is done, by steps or by the clock.
double Training::progress_now() const {
  if (options_.minutes) return std::min(1.0, seconds() / (60 * *options_.minutes));
  return static_cast<double>(steps_) /
         static_cast<double>(options_.epochs * options_.epoch.batches());
}

double Training::rate_now() const {
  const double rate = options_.learning_rate;
  switch (options_.schedule) {
    case ScheduleKind::kConstant:
      return rate;
    case ScheduleKind::kCosine:
      return rate / 2 * (1 + std::cos(std::numbers::pi * progress_now()));
    case ScheduleKind::kStep:
      return rate * std::exp2(-std::floor(5 * progress_now()));
    case ScheduleKind::kCyclic: {
      const std::int64_t batches = options_.epoch.batches();
      const Schedule schedule{ScheduleKind::kCyclic, rate, options_.epochs, batches,
                              options_.half_cycle_epochs};
      return schedule.at(steps_ / batches, steps_ % batches);
    }
  }
  return rate;
}

bool Training::finished() const {
  if (options_.minutes) return seconds() >= 60 * *options_.minutes;
  return steps_ >= options_.epochs * options_.epoch.batches();
}

void Training::resume() {
  const std::filesystem::path path = options_.resume;
  const io::Checkpoint found = io::read_checkpoint(path, kJob);
  io::expect_same_options(path, found, identity());
  trainer_->restore(trainer_state_of(found));
  log_.take(found);
  steps_ = static_cast<std::int64_t>(found.number("batches"));
  if (steps_ < 0) fail_input(options_.resume, ": a run of ", steps_, " batches");
  seconds_before_ = found.number("seconds");
  sums_ = {found.number("epoch_loss"), found.number("epoch_amplitude"), found.number("epoch_phase"),
           found.number("epoch_patterns"), found.number("epoch_seconds")};
  if (options_.tell) {
    options_.tell(text("goes on after ", steps_, " batches (epoch ", epoch(), ")"));
  }
}

void Training::write_checkpoint() {
  io::Checkpoint out;
  out.job = kJob;
  out.options = identity();
  const TrainerState state = trainer_->state();
  expect_finite(state);
  put(state, out);
  log_.put(out);
  out.numbers["batches"] = static_cast<double>(steps_);
  out.numbers["seconds"] = seconds();
  out.numbers["epoch_loss"] = sums_.loss;
  out.numbers["epoch_amplitude"] = sums_.amplitude;
  out.numbers["epoch_phase"] = sums_.phase;
  out.numbers["epoch_patterns"] = sums_.patterns;
  out.numbers["epoch_seconds"] = sums_.patterns > 0 ? seconds_since(epoch_start_) : 0;
  const std::string path =
      options_.checkpoint.empty() ? options_.output + ".checkpoint" : options_.checkpoint;
  io::write_checkpoint(path, out);
  checkpoint_written_ = path;
}

void Training::write_weights() const {
  io::WeightFile out;
  const TrainerState state = trainer_->state();
  expect_finite(state);
  out.tensors = state.weights;
  out.architecture_json = architecture_.json;
  io::TrainingRecord& record = out.trained_for;
  record.frame_px = {{maker_->height(), maker_->width()}};
  const double pixel_m = options_.geometry.object_pixel_m(maker_->width());
  record.object_pixel_m = {{pixel_m, pixel_m}};
  // Of the samples trained with: most of the light goes through.
  const Array& frames = held_out_.frames;
  if (!frames.empty()) {
    double counts = 0;
    for (std::int64_t k = 0; k < frames.elements(); ++k) counts += double{frames.data<float>()[k]};
    record.photons = counts / static_cast<double>(frames.shape()[0]);
  }
  record.probe = recipe_.probe;
  io::write_weights(options_.output, out);
}

HeldOutLosses Training::measure() {
  HeldOutLosses out;
  out.patterns = held_out_.frames.shape()[0];
  Array amplitude = Array::host(held_out_.frames.shape(), DType::kF32);
  Array phase = Array::host(held_out_.frames.shape(), DType::kF32);
  trainer_->predict(held_out_.frames, amplitude, phase);
  const auto losses = [this](const Array& a, const Array& p, const Array& weight) {
    return PatchLosses{mean_square(a, held_out_.amplitude, weight),
                       mean_square(p, held_out_.phase, weight)};
  };
  out.plain = losses(amplitude, phase, {});
  out.weighted = losses(amplitude, phase, intensity_);
  out.mean_plain = losses({}, {}, {});
  out.mean_weighted = losses({}, {}, intensity_);
  return out;
}

void Training::one_step(PatternSource& source) {
  const Clock::time_point asked = Clock::now();
  const TrainingBatch batch = source.next();
  summary_.waited_seconds += seconds_since(asked);
  rate_ = rate_now();
  const StepOutcome outcome = trainer_->step(batch, rate_);
  if (!std::isfinite(outcome.loss)) {
    const std::int64_t batches = options_.epoch.batches();
    fail_runtime("the loss is ", outcome.loss, " in epoch ", epoch() + 1, ", batch ",
                 steps_ % batches + 1,
                 ": try a lower --learning-rate; the last good checkpoint is ",
                 checkpoint_written_.empty() ? "none" : checkpoint_written_);
  }
  const auto n = static_cast<double>(batch.frames.shape()[0]);
  sums_.loss += n * outcome.loss;
  sums_.amplitude += n * outcome.amplitude_error;
  sums_.phase += n * outcome.phase_error;
  sums_.patterns += n;
  ++steps_;
}

// Of a run by the clock the last epoch may be a part of one.
void Training::end_epoch(bool whole) {
  const auto batches = static_cast<double>(options_.epoch.batches());
  const double n = sums_.patterns;
  const double seconds_of_epoch = seconds_since(epoch_start_);
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  summary_.loss = sums_.loss / n;
  summary_.held_out.reset();
  if (options_.held_out > 0) summary_.held_out = measure();
  const auto& held_out = summary_.held_out;
  log_.add({static_cast<double>(steps_) / batches, sums_.loss / n, sums_.amplitude / n,
            sums_.phase / n, held_out ? held_out->plain.sum() : kNone,
            held_out ? held_out->weighted.sum() : kNone, rate_, seconds_of_epoch});
  if (!options_.log.empty()) log_.write_csv(options_.log);
  if (options_.tell) {
    options_.tell(text("epoch ", static_cast<double>(steps_) / batches, ": loss ", sums_.loss / n,
                       held_out ? text(", held out ", held_out->plain.sum(), ", weighted ",
                                       held_out->weighted.sum())
                                : "",
                       ", rate ", rate_, ", ", seconds(), " s"));
  }
  sums_ = {};
  epoch_start_ = Clock::now();
  if (whole && !options_.checkpoint.empty() && epoch() % options_.every == 0) write_checkpoint();
}

void Training::train_steps() {
  const bool on_cpu = trainer_->context().device().kind == DeviceKind::kCpu;
  const int cores = options_.threads > 0
                        ? options_.threads
                        : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  PatternThreads threads;
  threads.count = options_.pattern_threads > 0 ? options_.pattern_threads : cores;
  threads.high = std::max<std::size_t>(4, 2 * static_cast<std::size_t>(threads.count));
  threads.low = on_cpu ? 0 : threads.high - 1;
  PatternSource source(maker_, options_.epoch, threads, steps_);
  const std::int64_t batches = options_.epoch.batches();
  epoch_start_ -=
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(sums_.seconds));
  while (!finished()) {
    one_step(source);
    if (options_.progress) {
      options_.progress(text("epoch ", (steps_ - 1) / batches + 1),
                        static_cast<std::int64_t>(sums_.patterns), options_.epoch.patterns);
    }
    if (steps_ % batches == 0) end_epoch(true);
    if (options_.stop && options_.stop()) stop_here();
  }
  if (sums_.patterns > 0) end_epoch(false);
}

void Training::stop_here() {
  if (options_.output.empty() && options_.checkpoint.empty()) {
    fail_runtime("stopped after ", steps_, " batches; nothing was written, as no --output or ",
                 "--checkpoint says where");
  }
  write_checkpoint();
  fail_runtime("stopped after ", steps_, " batches (epoch ", epoch() + 1, "); go on with --resume ",
               checkpoint_written_);
}

TrainSummary Training::run() {
  start_ = epoch_start_ = Clock::now();
  if (!options_.resume.empty()) resume();
  if (!finished()) train_steps();
  summary_.seconds = seconds();
  if (options_.held_out > 0 && !summary_.held_out) summary_.held_out = measure();
  if (!options_.output.empty()) write_weights();
  TrainSummary& s = summary_;
  s.architecture = architecture_.name;
  s.parameters = parameter_count(architecture_);
  s.epochs = epoch();
  s.steps = steps_;
  const EpochPlan& plan = options_.epoch;
  s.patterns = static_cast<std::int64_t>(plan.first(steps_));
  s.output = options_.output;
  s.checkpoint = checkpoint_written_;
  return s;
}

}  // namespace

TrainSummary train(const TrainOptions& options) { return Training(options).run(); }

}  // namespace ptynet
