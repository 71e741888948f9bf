// Fine-tuning: a pretrained network adapts to one sample by making the diffraction that it predicts
// match the measured one (PtyNet, iScience 2023). No truth is needed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/probe_calibration.h"
#include "engine/reconstruct.h"
#include "engine/trainer.h"

namespace ptynet {

// How far it is, after every batch; NaN where there is no such value yet.
struct FinetuneProgress {
  std::int64_t epoch = 0;  // being worked on, from 1
  std::int64_t epochs = 0;
  std::int64_t steps_done = 0;  // batches, over all epochs
  std::int64_t steps = 0;
  bool epoch_ended = false;  // then the rest is of this epoch, else of the one before
  double loss = 0;
  double r_factor = 0;
  double validation_r_factor = 0;
  double learning_rate = 0;
};

// The defaults are the published procedure.
struct FinetuneOptions {
  ScanOptions scan;  // with the probe
  std::string weights;
  std::string architecture;  // name or FILE.json; empty: the weight file's own
  std::string input_rule;    // name; empty: the architecture's own
  std::string output = "tuned.h5";
  std::string reconstruction;  // result file of the whole scan; empty: none
  std::string png;             // folder for its pictures; empty: none
  std::int64_t epochs = 300;
  std::int64_t batch = 16;  // more than there are frames: one batch an epoch
  double learning_rate = 1e-4;
  ScheduleKind schedule = ScheduleKind::kStep;
  double half_cycle_epochs = 60;  // of the cyclic schedule
  IntensityLoss loss = IntensityLoss::kL1;
  std::vector<std::string> freeze;  // patterns of parameter names
  std::optional<double> support;    // within_support() of the probe
  ProbeCalibration calibrate = ProbeCalibration::kOff;
  std::string empty_beam;                    // FILE[:DATASET], with kEmptyBeam
  std::optional<std::int64_t> update_probe;  // epoch (from 0) from which the probe is refined
  double consistency = 0;                    // weight of the term; 0: none
  double validate = 0;                       // share of the frames held out, at most 0.5
  std::optional<std::int64_t> patience;      // epochs without a better validation R
  bool shuffle = false;
  std::uint64_t seed = 1;
  std::string checkpoint;   // empty: only when stopped, as <output>.checkpoint
  std::int64_t every = 10;  // epochs
  std::string resume;
  std::string log_csv;
  std::optional<Device> device;           // empty: the best there is
  Precision precision = Precision::kF32;  // or tf32, where the device has it
  int threads = 0;
  std::int64_t max_canvas = std::int64_t{1} << 28;
  bool force = false;  // near-field scans too
  std::string command_line;
  std::function<void(const FinetuneProgress&)> progress;
  Progress stage;              // of what goes before and after
  Log log;                     // what the user should know
  Log warning;                 // what the user should check
  std::function<bool()> stop;  // asked after every batch
  // SIGINT and SIGTERM stop it like `stop`, and only while epochs run (engine/interrupt.h).
  bool stop_on_signals = false;
};

struct FinetuneSummary {
  std::int64_t frames = 0;  // held out ones too
  std::int64_t held_out = 0;
  std::int64_t epochs = 0;      // done
  std::int64_t best_epoch = 0;  // whose weights were kept; 0: those from before
  std::int64_t steps = 0;
  std::int64_t trained_values = 0;
  double seconds = 0;     // of all epochs, before a resume too
  double first_loss = 0;  // NaN without epochs
  double last_loss = 0;
  // In inference mode over all frames, each with the probe that goes with it.
  double r_before = 0;
  double r_after = 0;
  std::optional<double> validation_r_before;
  std::optional<double> validation_r_after;
  double r_flat_object = 0;  // baselines (engine/residual.h), with the probe of the end
  double r_mean_frame = 0;
  double probe_scale = 1;  // that calibration multiplied the probe with
  std::string verdict;     // one line
  std::string output;
  std::optional<ReconstructSummary> reconstruction;
};

// Everything that is cheap to know is checked before the frames are read; then all frames are held
// in memory. The same inputs, options and number of threads give the same bytes of `output`,
// however often the run was killed and resumed. Throws Error: input; or runtime when the loss is
// not finite or over 1000 times the first epoch's, naming epoch, batch and the last good
// checkpoint, and when `stop` said so, naming the checkpoint to resume; `output` is then not
// written.
FinetuneSummary finetune(const FinetuneOptions& options);

}  // namespace ptynet
