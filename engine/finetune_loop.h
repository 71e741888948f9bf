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
    std::int64_t batch = 0;  // done
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

  void begin();
  void resume();
  void begin_epoch();
  void step();
  void end_epoch();
  void validate(double& r);
  void keep_best_of_now(std::int64_t epoch, double r);
  void take_best();
  bool patience_is_over() const;
  void expect_sound(double loss) const;
  void write_log() const;
  void report(bool epoch_ended) const;
  std::string checkpoint_path() const;
  void save(const std::string& path);
  void save_now_and_then();
  [[noreturn]] void stop();
  [[noreturn]] void give_up(const std::string& what) const;
  std::int64_t epochs() const { return options_.epochs; }

  Trainer& trainer_;
  const Array& frames_;
  const FrameSplit& split_;
  SharedCanvas* canvas_;
  const FinetuneOptions& options_;
  std::map<std::string, std::string> identity_;
  Schedule schedule_;
  TrainingLog log_;
  InferenceR before_;
  std::int64_t epoch_ = 0;  // being worked on
  Partial partial_;
  std::optional<Best> best_;
  double seconds_ = 0;               // of the epochs that ended
  std::vector<std::int64_t> order_;  // of the epoch's frames, as places in split_.training
  std::chrono::steady_clock::time_point resumed_;
  std::string last_good_;  // checkpoint, in words
};

}  // namespace ptynet
