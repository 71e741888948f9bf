// Pretraining: a network learns patches from diffraction whose object is known.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "autograd/optimiser.h"
#include "engine/held_out_losses.h"
#include "engine/pattern_simulator.h"
#include "engine/reconstruct.h"
#include "engine/training_pairs.h"

namespace ptynet {

// Weight of a patch's pixels in the loss. The detector knows nothing of pixels that no light went
// through: what a network says there is the mean of what it has seen.
enum class PatchWeight : std::uint8_t { kNone, kProbe };

struct TrainOptions {
  std::string architecture;  // name or FILE.json; empty: that of `from`
  std::string from;          // weights to begin with; empty: initial_state(architecture, seed)
  // In the place of all that is simulated: scans of known objects, trained with again and again.
  // The probe is that of the first one then, if none is given as array or file.
  std::vector<KnownScan> scans;
  // What is simulated. The probe is made from the next three, its pictures are those of a folder.
  PatternRecipe recipe;
  std::string images;  // empty: none
  ProbeSource probe;
  Geometry geometry;
  double jitter_defocus_m = 0;  // sets recipe.jitter.defocus, by the geometry
  std::int64_t frame_px = 0;    // 0: the probe file's, or 128

  EpochPlan epoch;  // with scans, 0 patterns: as many frames as are trained with
  // 0: only measure. The default is one whole wave of the cyclic schedule, which ends low.
  std::int64_t epochs = 120;
  std::optional<double> minutes;  // in the place of epochs
  double learning_rate = 2e-4;
  ScheduleKind schedule = ScheduleKind::kCyclic;
  double half_cycle_epochs = 60;
  PatchWeight weight = PatchWeight::kProbe;
  std::uint64_t seed = 1;  // of initial weights and patterns, or their order
  // Patterns to judge by; 0: none. Of scans the last frames. Empty: 256, of scans at most a tenth.
  std::optional<std::int64_t> held_out;
  std::string output;                     // weights; empty: none
  std::string checkpoint;                 // empty: only when stopped, as <output>.checkpoint
  std::int64_t every = 1;                 // epochs between checkpoints
  std::string resume;                     // checkpoint to go on from; empty: none
  std::string log;                        // CSV; empty: none
  std::optional<Device> device;           // empty: the best there is
  Precision precision = Precision::kF32;  // or tf32, where the device has it
  int threads = 0;                        // of the CPU; 0: as many as the machine has
  Progress progress;                      // patterns of the epoch
  Log tell;                               // what the user may like to know
  Log warning;                            // and what the user has to
  std::function<bool()> stop;             // asked after every batch, or, of a GPU, some of them
};

// Counts of patterns are then whole numbers to a double.
inline constexpr double kMostTrainingBatches = 1e11;

// What can be known without computing or reading anything: whether options go together, and
// whether the outputs can be written and take the place of no input. Throws Error (input).
void check(const TrainOptions& options);
// What of it concerns epochs and batches; with scans an epoch's length is known later than the
// rest.
void check(const EpochPlan& plan, std::int64_t epochs);

struct TrainSummary {
  std::string architecture;
  std::int64_t parameters = 0;
  std::int64_t epochs = 0;  // whole ones, with those before a checkpoint
  std::int64_t steps = 0;
  std::int64_t patterns = 0;   // seen
  std::optional<double> loss;  // of the last epoch, as trained; empty: none ran
  std::optional<HeldOutLosses> held_out;
  double seconds = 0;            // of training, with those before a checkpoint
  double simulated_seconds = 0;  // of them, to make patterns
  std::string output;
  std::string checkpoint;
};

// Trains and writes the weights. With `epochs`, a run that was killed at any moment and goes on
// from its checkpoint ends with the same bytes, given the same device and number of threads; with
// `minutes`, how far it comes depends on the machine. Everything that is cheap to know is checked
// first. A log or a checkpoint that cannot be written (a full disk) is a warning. Throws Error:
// (input) for options that cannot be; (runtime) when the loss or the weights are not finite any
// more, naming epoch, batch and the last good checkpoint, and when `stop` said so, naming the
// checkpoint to resume; `output` is then not written.
TrainSummary train(const TrainOptions& options);

}  // namespace ptynet
