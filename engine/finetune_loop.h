// The epochs of a fine-tuning job: batches, validation, checkpoints, and going on from one.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/consistency.h"
#include "engine/finetune.h"
#include "engine/residual.h"
#include "engine/trainer.h"
#include "engine/training_frames.h"
#include "engine/training_log.h"
#include "io/checkpoint.h"

namespace ptynet {

// R factors over the scan, in inference mode, with the trainer's probe of now.
struct InferenceR {
  double all = 0;
  double held_out = 0;  // NaN: none is
};
InferenceR inference_r(Trainer& trainer, const Array& frames, const FrameSplit& split);

// Part of finetune(); everything it is given must outlive it.
class FinetuneLoop {
 public:
  // `frames` f32 [n, h, w]; `canvas` of the training frames, or null without a consistency term;
  // `identity` is all that the run's result depends on, by name.
  FinetuneLoop(Trainer& trainer, const Array& frames, const FrameSplit& split, SharedCanvas* canvas,
               const FinetuneOptions& options, std::map<std::string, std::string> identity);

  // Once, first: judges what is there, or goes on from a checkpoint.
  void begin();
  void resume(const io::Checkpoint& checkpoint);
  // To the last epoch, or until patience ends; with validation the trainer has the best weights
  // then. Throws as finetune() does.
  void run();

  const InferenceR& before() const { return before_; }
  const TrainingLog& log() const { return log_; }
  std::int64_t best_epoch() const;
  double seconds() const { return seconds_; }
  std::int64_t batches_per_epoch() const { return schedule_.batches_per_epoch; }

 private:
  // Of the epoch that is being worked on.
  struct Partial {
    std::int64_t batch = 0;  // done, and looked at
    double loss = 0;         // sum over frames
    double frames = 0;
    double r_difference = 0;
    double r_total = 0;
    double seconds = 0;
  };
  // By the R of the held-out frames.
  struct Best {
    std::int64_t epoch = 0;
    double r = 0;
    StateDict weights;
    Array probe;  // as TrainerState has it
  };

  void restore(const io::Checkpoint& checkpoint);
  void restore_partial(const io::Checkpoint& checkpoint);
  void restore_best(const io::Checkpoint& checkpoint, const TrainerState& state);
  void begin_epoch();
  void step();
  void collect();
  void end_epoch();
  void validate(double& r);
  void keep_best_of_now(std::int64_t epoch, double r);
  void take_best();
  bool patience_is_over() const;
  void expect_sound(double loss) const;
  void expect_finite_state(const TrainerState& state) const;
  void write_log() const;
  void report(bool epoch_ended) const;
  std::string checkpoint_path() const;
  void save(const std::string& path);
  void save_now_and_then();
  [[noreturn]] void stop();
  [[noreturn]] void give_up(const std::string& what) const;
  bool asked_to_stop() const;
  std::int64_t epochs() const { return options_.epochs; }
  double loss_unit() const;

  Trainer& trainer_;
  const Array& frames_;
  const FrameSplit& split_;
  SharedCanvas* canvas_;
  const FinetuneOptions& options_;
  std::map<std::string, std::string> identity_;
  Schedule schedule_;
  double loss_unit_ = 0;
  TrainingLog log_;
  InferenceR before_;
  std::int64_t epoch_ = 0;  // being worked on
  Partial partial_;
  std::int64_t asked_ = 0;       // batches of the epoch, of the device
  std::int64_t step_epoch_ = 0;  // of the step that was looked at last, from 1
  std::int64_t step_batch_ = 0;
  std::optional<Best> best_;
  double seconds_ = 0;  // of the epochs that ended
  std::chrono::steady_clock::time_point resumed_;
  std::string last_good_;  // checkpoint, in words
};

}  // namespace ptynet
