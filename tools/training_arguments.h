// The options of commands that train: how, and how they stop and go on.
#pragma once

#include <optional>
#include <string>

#include "autograd/optimiser.h"
#include "tools/options.h"

namespace ptynet::tools {

// --batch, --learning-rate, --schedule, --seed. What the fields hold when added are the defaults
// that the descriptions end with.
struct TrainingArguments {
  std::int64_t batch = 16;
  double learning_rate = 1e-4;
  ScheduleKind schedule = ScheduleKind::kStep;
  std::uint64_t seed = 1;

  void add_to(CLI::App& command);
};

// --checkpoint, --every, --resume, --log.
struct CheckpointArguments {
  std::string checkpoint;   // empty: none but after Ctrl-C, beside the output
  std::int64_t every = 10;  // epochs
  std::string resume;       // empty: from the beginning
  std::string log;          // CSV; empty: none

  // `columns` of the log, for its description.
  void add_to(CLI::App& command, const std::string& columns);
};

}  // namespace ptynet::tools
