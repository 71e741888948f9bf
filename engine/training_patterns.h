// Part of train(): what a run learns from, and what it is judged by.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "engine/train.h"
#include "layers/architecture.h"

namespace ptynet {

struct TrainingPatterns {
  EpochPlan plan;
  std::int64_t held_out = 0;  // patterns
  // The series, made by a device, of which no more than `most` are asked for at a time.
  std::function<std::unique_ptr<PatternSeries>(Context&, std::int64_t most)> series;
  // All that are held out, on the host; the same whatever the run's seed.
  std::function<Patterns(Context&)> make_held_out;
  Array probe;                                          // c64 [modes, h, w] in counts
  std::optional<std::array<double, 2>> object_pixel_m;  // (row, column), where it is known
  std::map<std::string, std::string> identity;  // all that the patterns depend on but the seed
};

// To be simulated, or those of the scans, whose frames are read last. Throws Error (input) when
// they cannot be made or read, or a network of this architecture cannot take the scans' frames.
TrainingPatterns training_patterns(const TrainOptions& options, const Architecture& architecture);

}  // namespace ptynet
