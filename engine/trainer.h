// A network being trained: forward, loss, gradients and Adam recorded once, replayed at every step.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "autograd/optimiser.h"
#include "engine/choice_cache.h"
#include "engine/planned_replay.h"
#include "layers/network.h"

namespace ptynet {

class TrainingQueue;
struct StepSums;

// The predicted diffraction is to match the measured one.
struct DiffractionObjective {
  Array probe;  // c64 [modes, h, w]
  IntensityLoss loss = IntensityLoss::kL1;
  double factor = 1.0;       // of the intensity loss
  double consistency = 0.0;  // factor of |patch - canvas|^2; above 0, every step needs a canvas
  Array consistency_weight;  // f32 [h, w], of its pixels; empty: all the same
  double probe_rate = 1.0;   // learning rate of the probe over the network's, where it is updated
};

// The predicted patches are to match known ones.
struct PatchObjective {
  Array weight;  // f32 [h, w], of a patch's pixels; empty: all the same
};

struct TrainerOptions {
  ContextOptions context;
  // Of the convolutions' factors; in bf16 and fp16 also of all arrays between layers, whose
  // gradients in fp16 are those of the loss times a LossScale. Parameters, their gradients, patches
  // and the diffraction stay f32.
  Precision precision = Precision::kF32;
  std::int64_t height = 128;  // rows of a frame, px
  std::int64_t width = 128;   // columns of a frame, px
  std::int64_t batch = 16;    // frames of a step at most
  std::variant<DiffractionObjective, PatchObjective> objective;
  // Patterns of parameter names with * and ?, which stay as they are ("encoder.*"). The running
  // statistics of batch norms follow the batches all the same, as in PyTorch.
  std::vector<std::string> freeze;
  AdamOptions adam;
  std::optional<InputRule> input_rule;  // instead of the architecture's own
};

struct TrainingBatch {
  Array frames;     // host f32 [n, h, w] counts, bad pixels negative; 1 <= n <= batch
  Array amplitude;  // host f32 [n, h, w], with PatchObjective
  Array phase;      // rad
  Array canvas;     // host c64 [n, h, w], with a consistency term
};

// Frames and the patches that they are of, f32 [n, h, w] each, frames in counts, phases in rad.
struct Patterns {
  Array frames;
  Array amplitude;
  Array phase;
};

// What all the steps of an epoch take their frames from.
struct TrainingSet {
  Array frames;                       // host f32 [m, h, w] counts, bad pixels negative
  std::vector<std::int64_t> indices;  // of the frames that are trained on: their places, in order
  // With a consistency term: where each place's patch begins on the canvas, (row, column) px, i32
  // [places, 2], and the canvas's rows and columns.
  Array corners;
  Shape canvas;
};

struct StepOutcome {
  double loss = 0;  // what the step made smaller: every term times its factor
  // Means over the batch before factors; 0 where the objective has no such term.
  double intensity = 0;        // over good pixels
  double consistency = 0;      // weighted
  double amplitude_error = 0;  // weighted mean square
  double phase_error = 0;      // weighted mean square, rad^2
  // Of the R factor (docs/conventions.md), summed over the batch, by the prediction that the step
  // started from.
  double r_difference = 0;
  double r_total = 0;
};

// All that training changes, on the host, in the order of PyTorch's state dicts.
struct TrainerState {
  StateDict weights;  // running statistics too
  StateDict first_moment;
  StateDict second_moment;
  double steps = 0;
  LossScale scaling;  // its scale is 1 but in fp16
  // The probe as real pairs f32 [modes, h, w, 2], with Adam's moments; empty with PatchObjective.
  Array probe;
  Array probe_first_moment;
  Array probe_second_moment;
  double probe_steps = 0;
};

// The same weights, batches and number of threads give the same bytes. Used by one thread at a
// time.
class Trainer {
 public:
  // Throws Error (input) when weights, architecture, frames or objective do not fit, the device has
  // not the precision or it is none to train in, a pattern of `freeze` matches no parameter, or the
  // network has layers that cannot be trained: dropout, and leaky_relu with a slope below 0.
  Trainer(const Architecture& architecture, const StateDict& state, const TrainerOptions& options);
  ~Trainer();

  // One step on one batch. With `update_probe` the probe takes a step too and keeps its power.
  // Whether the outcome is finite is for the caller to look at.
  StepOutcome step(const TrainingBatch& batch, double learning_rate, bool update_probe = false);

  // The same steps with the frames on the device, for which the host need not wait. First keep(),
  // with DiffractionObjective, or keep_patterns(), with PatchObjective; then for each epoch
  // begin_epoch(), its steps, and, now and then, outcomes().
  void keep(const TrainingSet& set);
  // Room for so many patterns on the device, which the caller fills, and fills again.
  Patterns& keep_patterns(std::int64_t count);
  // c64 [rows, columns] on the host, before the first step of a set with corners.
  void set_canvas(const Array& object);
  // `order`: places in the set, batch after batch, each at most once. `rates`: of each step. The
  // epoch begins with `first_batch`, as when it goes on from a checkpoint.
  void begin_epoch(const std::vector<std::int64_t>& order, const std::vector<double>& rates,
                   std::int64_t first_batch = 0);
  // Asks for the epoch's next step and returns.
  void next_step(bool update_probe = false);
  // Of the steps asked for since the last call; waits for them.
  std::vector<StepOutcome> outcomes();
  // Whether the gradients so far were finite; in fp16, with some loss scale. Steps where they were
  // not have left everything as it was. Waits for the device.
  bool gradients_are_sound() const;

  // Patches as inference gives them with the weights of now: batch norm with running statistics.
  // frames host f32 [n, h, w], any n; amplitude and phase (rad) host f32 [n, h, w], written.
  void predict(const Array& frames, Array& amplitude, Array& phase);

  TrainerState state() const;
  void restore(const TrainerState& state);  // Throws Error (input) when it does not fit.
  Array probe() const;                      // c64 [modes, h, w] on the host; empty without one

  // The way that computed each convolution so far, by what is computed, in this trainer and the one
  // that its choices were taken from; empty on a device without a choice.
  ChosenWays choices() const;
  // To compute as that one did. On the same device and versions (Backend::description()), before
  // the first step and the first prediction.
  void take_choices(const ChosenWays& ways);

  Context& context() { return *context_; }
  const Context& context() const { return *context_; }
  // Trainable values that are not frozen.
  std::int64_t trained_values() const;
  // Seconds of each part of one step over a full batch; the step changes the weights.
  std::vector<StepTime> profile(const TrainingBatch& batch);
  std::size_t arena_bytes() const;

 private:
  struct Plan;     // of one step over n frames
  struct Forward;  // of a prediction

  void check_objective() const;
  void choose_trained();
  struct PlanKind {
    std::int64_t frames;
    bool update_probe;
    bool queued;  // takes its operands from the queue
    bool operator<(const PlanKind& other) const {
      return std::tie(frames, update_probe, queued) <
             std::tie(other.frames, other.update_probe, other.queued);
    }
  };
  TrainingQueue& queue();  // Throws Error (input) before keep() and keep_patterns().
  Plan& plan_of(const PlanKind& kind);
  std::unique_ptr<Plan> make_plan(const PlanKind& kind);
  void record_step(Plan& plan, const PlanKind& kind);
  void load(Plan& plan, const TrainingBatch& batch);
  StepOutcome outcome_of(const StepSums& sums) const;
  const DiffractionObjective* diffraction() const {
    return std::get_if<DiffractionObjective>(&options_.objective);
  }

  Architecture architecture_;
  TrainerOptions options_;
  InputRule rule_;
  std::unique_ptr<Context> context_;
  std::unique_ptr<Network> network_;
  std::vector<Parameter> parameters_;  // every tensor of the state dict
  std::vector<Parameter> trained_;     // those that Adam moves
  std::unique_ptr<Adam> adam_;
  Tensor probe_;            // f32 [modes, h, w, 2]
  double probe_power_ = 0;  // sum |probe|^2
  std::unique_ptr<Adam> probe_adam_;
  Array weight_;  // of the consistency term or the patches, on the device
  // Before the plans, which wait for what is under way when they go.
  Patterns patterns_;                     // after keep_patterns()
  std::unique_ptr<TrainingQueue> queue_;  // after keep() or keep_patterns()
  std::map<PlanKind, std::unique_ptr<Plan>> plans_;
  std::int64_t next_batch_ = 0;  // of the epoch, to be asked for
  std::int64_t told_batch_ = 0;  // the first that outcomes() has not told of
  std::unique_ptr<Forward> forward_;
  ChosenWays taken_;
};

}  // namespace ptynet
