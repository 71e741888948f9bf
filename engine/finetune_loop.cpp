#include "engine/finetune_loop.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/interrupt.h"
#include "engine/training_checkpoint.h"

namespace ptynet {

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kDiverged = 1e3;  // times the first epoch's loss
constexpr std::int64_t kFramesAtOnce = 64;
constexpr const char* kThreads = "threads";
// Steps that a device may be ahead of who looks at their losses.
constexpr std::int64_t kMostAhead = 256;

RSums sums_over(Trainer& trainer, const Array& frames, const std::vector<std::int64_t>& indices) {
  Context& context = trainer.context();
  ResidualMeter meter(context, trainer.probe());
  RSums sums;
  const auto n = static_cast<std::int64_t>(indices.size());
  for (std::int64_t first = 0; first < n; first += kFramesAtOnce) {
    const auto begin = indices.begin() + first;
    const Array part = gather(frames, {begin, begin + std::min(kFramesAtOnce, n - first)});
    Array amplitude = Array::host(part.shape(), DType::kF32);
    Array phase = Array::host(part.shape(), DType::kF32);
    trainer.predict(part, amplitude, phase);
    Array object = context.allocate(part.shape(), DType::kC64);
    context.backend().compose_object(on_device(context, amplitude), on_device(context, phase),
                                     object);
    for (const RSums& frame : meter.measure(object, part)) sums += frame;
  }
  return sums;
}

// NaN stands for an R that there is not, as of frames without counts.
double measured(const io::Checkpoint& checkpoint, const char* name) {
  return std::isnan(checkpoint.number(name)) ? kNone : amount(checkpoint, name);
}

}  // namespace

InferenceR inference_r(Trainer& trainer, const Array& frames, const FrameSplit& split) {
  RSums all = sums_over(trainer, frames, split.training);
  if (split.held_out.empty()) return {all.r(), kNone};
  const RSums held_out = sums_over(trainer, frames, split.held_out);
  all += held_out;
  return {all.r(), held_out.r()};
}

FinetuneLoop::FinetuneLoop(Trainer& trainer, const Array& frames, const FrameSplit& split,
                           SharedCanvas* canvas, const FinetuneOptions& options,
                           std::map<std::string, std::string> identity)
    : trainer_(trainer),
      frames_(frames),
      split_(split),
      canvas_(canvas),
      options_(options),
      identity_(std::move(identity)),
      log_({"epoch", "loss", "r_factor", "validation_r_factor", "learning_rate", "seconds"}) {
  const auto n = static_cast<std::int64_t>(split.training.size());
  schedule_.kind = options.schedule;
  schedule_.rate = options.learning_rate;
  schedule_.epochs = std::max<std::int64_t>(options.epochs, 1);
  schedule_.batches_per_epoch = (n + options.batch - 1) / options.batch;
  schedule_.half_cycle_epochs = options.half_cycle_epochs;
  loss_unit_ = loss_unit();
  trainer_.keep({frames, split.training, canvas != nullptr ? canvas->corners() : Array(),
                 canvas != nullptr ? canvas->shape() : Shape()});
}

std::int64_t FinetuneLoop::best_epoch() const { return best_ ? best_->epoch : epoch_; }

void FinetuneLoop::run() {
  std::optional<InterruptGuard> guard;
  if (options_.stop_on_signals) guard.emplace();
  write_log();
  while (epoch_ < epochs() && !patience_is_over()) {
    begin_epoch();
    while (asked_ < schedule_.batches_per_epoch) {
      if (asked_to_stop()) stop();
      step();
    }
    end_epoch();
  }
  guard.reset();
  if (asked_to_stop()) stop();
  expect_finite_state(trainer_.state());  // the last step's loss tells only what it started from
  if (best_) take_best();
}

bool FinetuneLoop::asked_to_stop() const {
  return (options_.stop && options_.stop()) ||
         (options_.stop_on_signals && InterruptGuard::requested());
}

void FinetuneLoop::begin() {
  before_ = inference_r(trainer_, frames_, split_);
  if (!split_.held_out.empty()) keep_best_of_now(0, before_.held_out);
}

void FinetuneLoop::begin_epoch() {
  std::vector<std::int64_t> places(split_.training.size());
  std::iota(places.begin(), places.end(), 0);
  const std::vector<std::int64_t> order =
      options_.shuffle ? shuffled(places, options_.seed, epoch_) : places;
  resumed_ = std::chrono::steady_clock::now();
  if (canvas_ != nullptr) {
    // In the middle of an epoch the canvas came with the checkpoint.
    if (partial_.batch == 0) canvas_->renew(trainer_, frames_, split_.training);
    trainer_.set_canvas(canvas_->object());
  }
  std::vector<double> rates;
  for (std::int64_t batch = 0; batch < schedule_.batches_per_epoch; ++batch) {
    rates.push_back(schedule_.at(epoch_, batch));
  }
  trainer_.begin_epoch(order, rates, partial_.batch);
  asked_ = partial_.batch;
}

void FinetuneLoop::step() {
  trainer_.next_step(options_.update_probe && epoch_ >= *options_.update_probe);
  ++asked_;
  // The CPU has done it by now.
  const bool on_cpu = trainer_.context().device().kind == DeviceKind::kCpu;
  if (on_cpu || asked_ - partial_.batch == kMostAhead) collect();
  report(false);
}

// Looks at what the steps so far have given.
void FinetuneLoop::collect() {
  const std::vector<StepOutcome> outcomes = trainer_.outcomes();
  if (outcomes.empty()) return;
  for (const StepOutcome& outcome : outcomes) {
    step_epoch_ = epoch_ + 1;
    step_batch_ = partial_.batch + 1;
    expect_sound(outcome.loss);
    const auto training = static_cast<std::int64_t>(split_.training.size());
    const auto n =
        static_cast<double>(std::min(options_.batch, training - partial_.batch * options_.batch));
    partial_.loss += outcome.loss * n;
    partial_.frames += n;
    partial_.r_difference += outcome.r_difference;
    partial_.r_total += outcome.r_total;
    ++partial_.batch;
  }
  if (!trainer_.gradients_are_sound()) give_up("gradients are not finite");
  const auto now = std::chrono::steady_clock::now();
  partial_.seconds += std::chrono::duration<double>(now - resumed_).count();
  resumed_ = now;
}

void FinetuneLoop::end_epoch() {
  collect();
  double validation_r = kNone;
  if (!split_.held_out.empty()) validate(validation_r);
  log_.add({static_cast<double>(epoch_ + 1), partial_.loss / partial_.frames,
            partial_.r_total > 0 ? partial_.r_difference / partial_.r_total : kNone, validation_r,
            schedule_.at(epoch_, schedule_.batches_per_epoch - 1), partial_.seconds});
  seconds_ += partial_.seconds;
  partial_ = {};
  ++epoch_;
  write_log();
  report(true);
  save_now_and_then();
}

void FinetuneLoop::validate(double& r) {
  r = sums_over(trainer_, frames_, split_.held_out).r();
  if (r < best_->r || std::isnan(best_->r)) keep_best_of_now(epoch_ + 1, r);
  const auto now = std::chrono::steady_clock::now();
  partial_.seconds += std::chrono::duration<double>(now - resumed_).count();
}

void FinetuneLoop::keep_best_of_now(std::int64_t epoch, double r) {
  TrainerState state = trainer_.state();
  best_ = Best{epoch, r, std::move(state.weights), std::move(state.probe)};
}

void FinetuneLoop::take_best() {
  TrainerState state = trainer_.state();
  state.weights = best_->weights;
  state.probe = best_->probe;
  trainer_.restore(state);
}

bool FinetuneLoop::patience_is_over() const {
  return options_.patience && partial_.batch == 0 && epoch_ - best_->epoch >= *options_.patience;
}

// A Poisson loss grows with the counts and passes through 0: beside its magnitude stands the mean
// count of a pixel, in which the loss is measured.
double FinetuneLoop::loss_unit() const {
  if (options_.loss != IntensityLoss::kPoisson) return 0;
  return options_.consistency > 0 ? 1 : mean_count(frames_);  // which divides the loss then
}

void FinetuneLoop::expect_sound(double loss) const {
  if (!std::isfinite(loss)) give_up(text("the loss is ", loss));
  if (log_.rows() == 0) return;
  const double first = log_.at(0, "loss");
  if (loss > kDiverged * (std::abs(first) + loss_unit_)) {
    give_up(text("the loss is ", loss, ", over ", kDiverged, " times the first epoch's ", first));
  }
}

void FinetuneLoop::give_up(const std::string& what) const {
  fail_runtime("epoch ", step_epoch_, ", batch ", step_batch_, ": ", what, ": ",
               last_good_.empty() ? "no checkpoint was written before"
                                  : "the last good checkpoint is " + last_good_,
               "; try a smaller --learning-rate");
}

void FinetuneLoop::report(bool epoch_ended) const {
  if (!options_.progress) return;
  FinetuneProgress p;
  const std::int64_t batches = schedule_.batches_per_epoch;
  p.epoch = epoch_ended ? epoch_ : epoch_ + 1;
  p.epochs = epochs();
  p.steps_done = epoch_ * batches + (epoch_ended ? 0 : asked_);
  p.steps = epochs() * batches;
  p.epoch_ended = epoch_ended;
  const auto last = [&](const char* column) {
    return log_.rows() > 0 ? log_.at(log_.rows() - 1, column) : kNone;
  };
  p.loss = last("loss");
  p.r_factor = last("r_factor");
  p.validation_r_factor = last("validation_r_factor");
  p.learning_rate = last("learning_rate");
  options_.progress(p);
}

void FinetuneLoop::write_log() const {
  if (options_.log_csv.empty()) return;
  write_or_warn([this] { log_.write_csv(options_.log_csv); }, options_.warning);
}

void FinetuneLoop::save_now_and_then() {
  if (options_.checkpoint.empty() || epoch_ % options_.every != 0) return;
  write_or_warn([this] { save(options_.checkpoint); }, options_.warning, last_good(last_good_));
}

std::string FinetuneLoop::checkpoint_path() const {
  return options_.checkpoint.empty() ? options_.output + ".checkpoint" : options_.checkpoint;
}

void FinetuneLoop::stop() {
  collect();
  save(checkpoint_path());
  if (epoch_ == epochs()) {
    fail_runtime("stopped after the last epoch: go on with --resume ", checkpoint_path());
  }
  fail_runtime("stopped in epoch ", epoch_ + 1, " after ", partial_.batch, " of ",
               schedule_.batches_per_epoch, " batches: go on with --resume ", checkpoint_path());
}

void FinetuneLoop::expect_finite_state(const TrainerState& state) const {
  try {
    expect_finite(state);
  } catch (const Error& problem) {
    give_up(problem.what());
  }
}

void FinetuneLoop::save(const std::string& path) {
  const TrainerState state = trainer_.state();
  expect_finite_state(state);
  io::Checkpoint c;
  c.job = "finetune";
  c.options = identity_;
  c.numbers = {{"epoch", static_cast<double>(epoch_)},
               {"batch", static_cast<double>(partial_.batch)},
               {"loss_sum", partial_.loss},
               {"frames", partial_.frames},
               {"r_difference", partial_.r_difference},
               {"r_total", partial_.r_total},
               {"epoch_seconds", partial_.seconds},
               {"seconds", seconds_},
               {kThreads, static_cast<double>(omp_get_max_threads())},
               {"r_before", before_.all},
               {"validation_r_before", before_.held_out}};
  put(state, c);
  put_choices(trainer_, c);
  log_.put(c);
  if (canvas_ != nullptr && partial_.batch > 0) c.tensors["canvas"]["object"] = canvas_->object();
  if (best_) {
    c.numbers["best_epoch"] = static_cast<double>(best_->epoch);
    c.numbers["best_r"] = best_->r;
    c.tensors["best_weights"] = best_->weights;
    c.tensors["best_probe"]["value"] = best_->probe;
  }
  io::write_checkpoint(path, c);
  last_good_ = text(path, " (", epoch_, " epochs and ", partial_.batch, " batches)");
}

void FinetuneLoop::resume(const io::Checkpoint& checkpoint) {
  io::expect_same_options(options_.resume, checkpoint, identity_);
  try {
    restore(checkpoint);
  } catch (const Error& problem) {
    if (problem.fault() == Fault::kRuntime) throw;
    fail_input(options_.resume, ": ", problem.what(),
               ": the checkpoint is damaged: use another one, or begin again without --resume");
  }
  last_good_ = text(options_.resume, " (", epoch_, " epochs and ", partial_.batch, " batches)");
  take_choices(checkpoint, options_.resume, trainer_, options_.warning);
  const auto before = checkpoint.numbers.find(kThreads);
  const int now = omp_get_max_threads();
  const bool on_cpu = trainer_.context().device().kind == DeviceKind::kCpu;
  if (before != checkpoint.numbers.end() && before->second != now && on_cpu && options_.warning) {
    options_.warning(text(options_.resume, ": the run began with ", before->second,
                          " threads and goes on with ", now,
                          ": the weights may differ in their last digits (--threads)"));
  }
}

void FinetuneLoop::restore(const io::Checkpoint& checkpoint) {
  epoch_ = whole_number(checkpoint, "epoch", epochs());
  seconds_ = amount(checkpoint, "seconds");
  before_ = {measured(checkpoint, "r_before"), measured(checkpoint, "validation_r_before")};
  log_.take(checkpoint, epoch_);
  for (std::size_t row = 0; row < log_.rows(); ++row) {
    if (!std::isfinite(log_.at(row, "loss"))) {
      fail_input("expected a finite loss of epoch ", row + 1, ", found ", log_.at(row, "loss"));
    }
  }
  restore_partial(checkpoint);
  const TrainerState state = trainer_state_of(checkpoint);
  const std::int64_t steps = epoch_ * schedule_.batches_per_epoch + partial_.batch;
  const double done = state.steps + state.scaling.left_out;
  if (done != static_cast<double>(steps) || state.probe_steps > done) {
    fail_input("expected ", steps, " steps and at most as many of the probe, found ", done, " and ",
               state.probe_steps);
  }
  if (!split_.held_out.empty()) restore_best(checkpoint, state);
  trainer_.restore(state);
}

void FinetuneLoop::restore_partial(const io::Checkpoint& checkpoint) {
  const auto training = static_cast<std::int64_t>(split_.training.size());
  const std::int64_t batches = epoch_ < epochs() ? schedule_.batches_per_epoch : 1;
  partial_.batch = whole_number(checkpoint, "batch", batches - 1);
  partial_.loss = checkpoint.number("loss_sum");  // a Poisson loss may be below 0
  if (!std::isfinite(partial_.loss)) fail_input("expected a finite loss_sum");
  partial_.frames = static_cast<double>(whole_number(checkpoint, "frames", training));
  const std::int64_t frames = partial_.batch * options_.batch;
  if (partial_.frames != static_cast<double>(frames)) {
    fail_input("expected the sums of ", frames, " frames, found ", partial_.frames);
  }
  partial_.r_difference = amount(checkpoint, "r_difference");
  partial_.r_total = amount(checkpoint, "r_total");
  partial_.seconds = amount(checkpoint, "epoch_seconds");
  if (canvas_ == nullptr || partial_.batch == 0) return;
  const StateDict& canvas = checkpoint.group("canvas");
  if (!canvas.contains("object")) fail_input("the canvas has no object");
  expect_finite_group(checkpoint, "canvas");
  canvas_->restore(canvas.at("object"));
}

void FinetuneLoop::restore_best(const io::Checkpoint& checkpoint, const TrainerState& state) {
  const StateDict& probe = checkpoint.group("best_probe");
  if (!probe.contains("value")) fail_input("the best probe has no value");
  expect_finite_group(checkpoint, "best_probe");
  expect_finite_group(checkpoint, "best_weights");
  best_ = Best{whole_number(checkpoint, "best_epoch", epoch_), measured(checkpoint, "best_r"),
               checkpoint.group("best_weights"), probe.at("value")};
  TrainerState best = state;  // does it fit?
  best.weights = best_->weights;
  best.probe = best_->probe;
  trainer_.restore(best);
}

}  // namespace ptynet
