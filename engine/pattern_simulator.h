// Training patterns simulated where the network is trained.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "engine/objects.h"
#include "engine/pattern_series.h"
#include "engine/planned_replay.h"
#include "engine/simulate.h"
#include "kernels/probe_variation.h"

namespace ptynet {

// What patterns are made of.
struct PatternRecipe {
  ObjectKind objects = ObjectKind::kDeadLeaves;
  std::shared_ptr<const ImageLibrary> images;  // in the place of `objects`; null: none
  ObjectRanges ranges;
  Array probe;  // c64 [modes, h, w], in counts
  ProbeJitter jitter;
  Noise noise = Noise::kNone;
  // Expected counts of a frame without a sample, drawn for every pattern between these two, evenly
  // in the logarithm; empty: the probe's own.
  std::optional<std::array<double, 2>> photons;
  std::uint64_t seed = 1;
};

// Throws Error (input) when the recipe cannot be followed.
void check(const PatternRecipe& recipe);

// The series that a recipe names. Objects, probes, diffraction and noise are recorded once, for
// some patterns at a time, which find their numbers on the device.
class PatternSimulator final : public PatternSeries {
 public:
  // `series` sets apart what must not meet: "training", "held-out". At most `at_a_time` patterns
  // are under way together, which take 20 bytes per pixel, and up to 24 for every mode of the
  // probe. The context must outlive it. Throws Error (input) when the recipe cannot be followed.
  PatternSimulator(Context& context, const PatternRecipe& recipe, const std::string& series,
                   std::int64_t at_a_time);

  // Numbers below 2^53.
  void make(std::uint64_t first, Patterns& to) override;

 private:
  void send_numbers(double first);
  void record(const PatternRecipe& recipe, std::uint64_t seed);

  Context& context_;
  ObjectSeries objects_;
  Array light_;      // the probe, or, where it varies, its spectrum: c64 [modes, h, w]
  Array number_;     // f64 [1], of the first pattern under way
  StepQueue turns_;  // what number_ is in the turns of one make()
  Patterns made_;
  std::unique_ptr<PlannedReplay> replay_;
};

}  // namespace ptynet
