#include "engine/train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "engine/held_out_losses.h"
#include "engine/load_architecture.h"
#include "engine/probe_calibration.h"
#include "engine/run_job.h"
#include "engine/training_checkpoint.h"
#include "engine/training_log.h"
#include "engine/training_patterns.h"
#include "io/weights.h"
#include "kernels/random.h"

namespace ptynet {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kJob = "train";
constexpr double kMostSeconds = 1e9;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
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
  TrainerOptions trainer_options() const;
  std::optional<io::Checkpoint> read_resumed() const;
  std::map<std::string, std::string> known_options() const;
  std::map<std::string, std::string> identity() const;
  std::string settings() const;
  double progress_at(std::int64_t step) const;
  double rate_at(std::int64_t step) const;
  bool finished() const;
  void resume();
  void restore(const io::Checkpoint& checkpoint);
  void train_steps();
  std::int64_t patterns_at_a_time() const;
  void begin_stretch(PatternSeries& series, Patterns& room);
  void collect();
  [[noreturn]] void stop_here();
  [[noreturn]] void give_up(const std::string& what) const;
  void end_epoch(bool whole);
  void write_log() const;
  void save_now_and_then();
  HeldOutLosses measure() { return held_out_losses(*trainer_, held_out_, intensity_); }
  TrainerState sound_state() const;
  void write_checkpoint();
  void write_weights() const;
  std::int64_t batches() const { return patterns_.plan.batches(); }  // of an epoch
  std::int64_t epoch() const { return steps_ / batches(); }
  double seconds() const { return seconds_before_ + seconds_since(start_); }

  const TrainOptions& options_;
  io::WeightFile from_;
  Architecture architecture_;
  std::optional<io::Checkpoint> checkpoint_;  // to go on from
  TrainingPatterns patterns_;
  Array intensity_;  // of the probe, f32 [h, w], at most 1
  Patterns held_out_;
  std::unique_ptr<Trainer> trainer_;
  TrainingLog log_;
  EpochSums sums_;
  std::int64_t steps_ = 0;
  std::int64_t looked_at_ = 0;            // the last step whose outcome was; gradients may be older
  std::vector<double> rates_;             // of the steps whose patterns are there
  std::int64_t asked_ = 0;                // of them
  std::int64_t collected_ = 0;            // of them, so that steps_ counts them
  double rate_ = 0;                       // of the last step
  std::unique_ptr<Event> making_, made_;  // their patterns
  bool is_timed_ = true;                  // how long that took
  double seconds_before_ = 0;             // of the runs that the checkpoint goes back to
  Clock::time_point start_;
  Clock::time_point epoch_start_;
  std::string checkpoint_written_;
  TrainSummary summary_;
};

// Members stand in the order of what they cost.
Training::Training(const TrainOptions& options)
    : options_(options),
      from_(options.from.empty() ? io::WeightFile{} : io::read_weights(options.from)),
      architecture_(find_architecture()),
      checkpoint_(read_resumed()),
      patterns_(training_patterns(options, architecture_)),
      intensity_(probe_weight(patterns_.probe)),
      log_({"epoch", "loss", "amplitude_error", "phase_error", "held_out_loss",
            "held_out_weighted_loss", "learning_rate", "seconds"}) {
  const StateDict state =
      options.from.empty()
          // Hashed: neighbouring seeds name streams that are the same but for a step of one.
          ? initial_state(architecture_, CounterRandom(options.seed, "initial weights").bits(0))
          : from_.tensors;
  trainer_ = std::make_unique<Trainer>(architecture_, state, trainer_options());
  if (patterns_.held_out > 0) held_out_ = patterns_.make_held_out(trainer_->context());
}

Architecture Training::find_architecture() const {
  Architecture found = load_architecture(options_.architecture, from_, options_.from);
  if (!options_.from.empty()) check_state(found, from_.tensors);
  return found;
}

// Another run's checkpoint is refused here, before patterns are made or read.
std::optional<io::Checkpoint> Training::read_resumed() const {
  if (options_.resume.empty()) return std::nullopt;
  io::Checkpoint found = io::read_checkpoint(options_.resume, kJob);
  io::expect_same_known_options(options_.resume, found, known_options());
  return found;
}

TrainerOptions Training::trainer_options() const {
  TrainerOptions o;
  o.context.device = device_or_best(options_.device);
  o.context.threads = options_.threads;
  o.precision = options_.precision;
  o.height = patterns_.probe.shape()[1];
  o.width = patterns_.probe.shape()[2];
  o.batch = patterns_.plan.batch;
  PatchObjective objective;
  if (options_.weight == PatchWeight::kProbe) objective.weight = intensity_;
  o.objective = objective;
  return o;
}

// Of identity(), what the patterns do not tell.
std::map<std::string, std::string> Training::known_options() const {
  const TrainOptions& o = options_;
  std::map<std::string, std::string> out;
  out["architecture"] = architecture_.json;
  out["from"] = from_.sha256;
  out["batch"] = text(o.epoch.batch);
  out["learning-rate"] = shortest(o.learning_rate);
  out["schedule"] = name_of(o.schedule);
  out["half-cycle"] = shortest(o.half_cycle_epochs);
  out["weight"] = o.weight == PatchWeight::kProbe ? "probe" : "none";
  out["seed"] = text(o.seed);
  out["precision"] = name_of(o.precision);
  // Waves and a constant rate do not know the end, so such a run may be made longer.
  const bool knows_end = o.schedule == ScheduleKind::kStep || o.schedule == ScheduleKind::kCosine;
  if (knows_end && o.minutes) out["minutes"] = shortest(*o.minutes);
  if (knows_end && !o.minutes) out["epochs"] = text(o.epochs);
  return out;
}

// All that the weights depend on beside device and threads.
std::map<std::string, std::string> Training::identity() const {
  std::map<std::string, std::string> out = known_options();
  out.insert(patterns_.identity.begin(), patterns_.identity.end());
  return out;
}

// For those who find the weights: all of the above.
std::string Training::settings() const {
  std::string out = "ptynet train\n";
  for (const auto& [name, value] : identity()) out += text(name, " ", value, "\n");
  return out;
}

// The share of the run that is done before a step, or now by the clock.
double Training::progress_at(std::int64_t step) const {
  if (options_.minutes) return std::min(1.0, seconds() / (60 * *options_.minutes));
  return static_cast<double>(step) / static_cast<double>(options_.epochs * batches());
}

double Training::rate_at(std::int64_t step) const {
  const double rate = options_.learning_rate;
  switch (options_.schedule) {
    case ScheduleKind::kConstant:
      return rate;
    case ScheduleKind::kCosine:
      return rate / 2 * (1 + std::cos(std::numbers::pi * progress_at(step)));
    case ScheduleKind::kStep:
      return rate * std::exp2(-std::floor(5 * progress_at(step)));
    case ScheduleKind::kCyclic: {
      const Schedule schedule{ScheduleKind::kCyclic, rate, options_.epochs, batches(),
                              options_.half_cycle_epochs};
      return schedule.at(step / batches(), step % batches());
    }
  }
  return rate;
}

bool Training::finished() const {
  if (options_.minutes) return seconds() >= 60 * *options_.minutes;
  return steps_ >= options_.epochs * batches();
}

void Training::restore(const io::Checkpoint& checkpoint) {
  const auto seconds_of = [&](const char* name) {
    const double value = amount(checkpoint, name);
    if (value > kMostSeconds)
      fail_input("expected ", name, " of ", kMostSeconds, " at most, found ", value);
    return value;
  };
  trainer_->restore(trainer_state_of(checkpoint));
  log_.take(checkpoint);
  steps_ = whole_number(checkpoint, "batches", static_cast<std::int64_t>(kMostTrainingBatches));
  seconds_before_ = seconds_of("seconds");
  if (checkpoint.numbers.contains("simulated_seconds")) {  // older ones have not
    summary_.simulated_seconds = seconds_of("simulated_seconds");
  }
  sums_.loss = amount(checkpoint, "epoch_loss");
  sums_.amplitude = amount(checkpoint, "epoch_amplitude");
  sums_.phase = amount(checkpoint, "epoch_phase");
  sums_.patterns =
      static_cast<double>(whole_number(checkpoint, "epoch_patterns", patterns_.plan.patterns));
  sums_.seconds = seconds_of("epoch_seconds");
}

void Training::resume() {
  io::expect_same_options(options_.resume, *checkpoint_, identity());
  try {
    restore(*checkpoint_);
  } catch (const Error& problem) {
    if (problem.fault() == Fault::kRuntime) throw;
    fail_input(options_.resume, ": ", problem.what(),
               ": the checkpoint is damaged: use another one, or begin again without --resume");
  }
  take_choices(*checkpoint_, options_.resume, *trainer_, options_.warning);
  checkpoint_.reset();  // its tensors are the trainer's now
  checkpoint_written_ = options_.resume;
  if (options_.tell) {
    options_.tell(text("goes on after ", steps_, " batches (epoch ", epoch(), ")"));
  }
}

TrainerState Training::sound_state() const {
  TrainerState state = trainer_->state();
  try {
    expect_finite(state);
  } catch (const Error& problem) {
    give_up(problem.what());
  }
  return state;
}

void Training::write_checkpoint() {
  io::Checkpoint out;
  out.job = kJob;
  out.options = identity();
  put(sound_state(), out);
  put_choices(*trainer_, out);
  log_.put(out);
  out.numbers["batches"] = static_cast<double>(steps_);
  out.numbers["seconds"] = seconds();
  out.numbers["simulated_seconds"] = summary_.simulated_seconds;
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
  out.tensors = sound_state().weights;
  out.architecture_json = architecture_.json;
  io::TrainingRecord& record = out.trained_for;
  record.frame_px = {{patterns_.probe.shape()[1], patterns_.probe.shape()[2]}};
  record.object_pixel_m = patterns_.object_pixel_m;
  // Of the samples trained with: most of the light goes through.
  if (patterns_.held_out > 0) {
    const std::vector<double> counts = counts_of_frames(held_out_.frames);
    record.photons = std::accumulate(counts.begin(), counts.end(), 0.0) /
                     static_cast<double>(patterns_.held_out);
  }
  record.probe = patterns_.probe;
  record.settings = settings();
  record.choices = to_text(trainer_->choices());
  record.scores["epochs"] = static_cast<double>(steps_) / static_cast<double>(batches());
  if (log_.rows() > 0) record.scores["loss"] = log_.at(log_.rows() - 1, "loss");
  if (const auto& held_out = summary_.held_out) {
    record.scores["held_out_loss"] = held_out->plain.sum();
    record.scores["held_out_weighted_loss"] = held_out->weighted.sum();
  }
  io::write_weights(options_.output, out);
}

// So many on a GPU that to wait for them costs little, and no more than are welcome in memory. On
// the CPU few batches, whose patterns occupy all threads.
std::int64_t Training::patterns_at_a_time() const {
  constexpr std::int64_t kBatchesOnGpu = 32;
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 28;
  const EpochPlan& plan = patterns_.plan;
  const Shape& s = patterns_.probe.shape();
  const std::int64_t bytes = 3 * static_cast<std::int64_t>(sizeof(float)) * s[1] * s[2];
  const bool on_cpu = trainer_->context().device().kind == DeviceKind::kCpu;
  const std::int64_t threads =
      options_.threads > 0 ? options_.threads : std::max(1U, std::thread::hardware_concurrency());
  const std::int64_t wanted = on_cpu ? 2 * threads : kBatchesOnGpu * plan.batch;
  const std::int64_t most = std::min({wanted, kMostBytes / bytes, plan.patterns});
  return std::max<std::int64_t>(1, (most + plan.batch - 1) / plan.batch) * plan.batch;
}

// Makes the epoch's next patterns and lines up the steps that take them.
void Training::begin_stretch(PatternSeries& series, Patterns& room) {
  const EpochPlan& plan = patterns_.plan;
  const std::int64_t left = plan.patterns - steps_ % batches() * plan.batch;
  const std::int64_t count = std::min(room.frames.shape()[0], left);
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  rates_.clear();
  for (std::int64_t first = 0; first < count; first += plan.batch) {
    rates_.push_back(rate_at(steps_ + static_cast<std::int64_t>(rates_.size())));
  }
  // What waits for the device comes first.
  trainer_->begin_epoch(order, rates_);
  making_->renew();
  Patterns made = patterns_within(room, 0, count);
  series.make(plan.first(steps_), made);
  made_->renew();
  asked_ = collected_ = 0;
  is_timed_ = false;
}

// Looks at what the steps so far have given.
void Training::collect() {
  for (const StepOutcome& outcome : trainer_->outcomes()) {
    looked_at_ = steps_;
    if (!std::isfinite(outcome.loss)) give_up(text("the loss is ", outcome.loss));
    const auto n = static_cast<double>(patterns_.plan.size(steps_));
    sums_.loss += n * outcome.loss;
    sums_.amplitude += n * outcome.amplitude_error;
    sums_.phase += n * outcome.phase_error;
    sums_.patterns += n;
    rate_ = rates_[static_cast<std::size_t>(collected_++)];
    ++steps_;
  }
  if (!trainer_->gradients_are_sound()) give_up("gradients are not finite");
  if (std::exchange(is_timed_, true)) return;
  summary_.simulated_seconds += trainer_->context().backend().seconds_between(*making_, *made_);
}

void Training::give_up(const std::string& what) const {
  fail_runtime(what, " in epoch ", looked_at_ / batches() + 1, ", batch ",
               looked_at_ % batches() + 1,
               ": try a lower --learning-rate; the last good checkpoint is ",
               checkpoint_written_.empty() ? "none" : checkpoint_written_);
}

void Training::write_log() const {
  if (options_.log.empty()) return;
  write_or_warn([this] { log_.write_csv(options_.log); }, options_.warning);
}

void Training::save_now_and_then() {
  if (options_.checkpoint.empty() || epoch() % options_.every != 0) return;
  write_or_warn([this] { write_checkpoint(); }, options_.warning, last_good(checkpoint_written_));
}

// Of a run by the clock the last epoch may be a part of one.
void Training::end_epoch(bool whole) {
  const double epochs_done = static_cast<double>(steps_) / static_cast<double>(batches());
  const double n = sums_.patterns;
  const double seconds_of_epoch = seconds_since(epoch_start_);
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  summary_.loss = sums_.loss / n;
  summary_.held_out.reset();
  if (patterns_.held_out > 0) summary_.held_out = measure();
  const auto& held_out = summary_.held_out;
  log_.add({epochs_done, sums_.loss / n, sums_.amplitude / n, sums_.phase / n,
            held_out ? held_out->plain.sum() : kNone, held_out ? held_out->weighted.sum() : kNone,
            rate_, seconds_of_epoch});
  write_log();
  if (options_.tell) {
    options_.tell(text("epoch ", epochs_done, ": loss ", sums_.loss / n,
                       held_out ? text(", held out ", held_out->plain.sum(), ", weighted ",
                                       held_out->weighted.sum())
                                : "",
                       ", rate ", rate_, ", ", seconds(), " s"));
  }
  sums_ = {};
  epoch_start_ = Clock::now();
  if (whole) save_now_and_then();
}

void Training::train_steps() {
  const bool on_cpu = trainer_->context().device().kind == DeviceKind::kCpu;
  const std::int64_t at_a_time = patterns_at_a_time();
  Patterns& room = trainer_->keep_patterns(at_a_time);
  const std::unique_ptr<PatternSeries> series = patterns_.series(trainer_->context(), at_a_time);
  making_ = trainer_->context().backend().event();
  made_ = trainer_->context().backend().event();
  epoch_start_ -=
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(sums_.seconds));
  while (!finished() || collected_ < asked_) {
    if (asked_ == static_cast<std::int64_t>(rates_.size())) begin_stretch(*series, room);
    trainer_->next_step();
    ++asked_;
    // The CPU has done it by now.
    if (!on_cpu && asked_ < static_cast<std::int64_t>(rates_.size())) continue;
    collect();
    if (options_.progress) {
      options_.progress(text("epoch ", (steps_ - 1) / batches() + 1),
                        static_cast<std::int64_t>(sums_.patterns), patterns_.plan.patterns);
    }
    if (steps_ % batches() == 0) end_epoch(true);
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
  if (checkpoint_) resume();
  if (!finished()) train_steps();
  summary_.seconds = seconds();
  if (patterns_.held_out > 0 && !summary_.held_out) summary_.held_out = measure();
  if (!options_.output.empty()) write_weights();
  TrainSummary& s = summary_;
  s.architecture = architecture_.name;
  s.parameters = parameter_count(architecture_);
  s.epochs = epoch();
  s.steps = steps_;
  s.patterns = static_cast<std::int64_t>(patterns_.plan.first(steps_));
  s.output = options_.output;
  s.checkpoint = checkpoint_written_;
  return s;
}

}  // namespace

TrainSummary train(const TrainOptions& options) {
  return run_job("cannot train", "use a smaller --batch, fewer --held-out, or fewer --scans",
                 [&options] {
                   check(options);
                   return Training(options).run();
                 });
}

}  // namespace ptynet
