#include "tools/training_arguments.h"

#include <limits>

#include "tools/simulation_arguments.h"

namespace ptynet::tools {

namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
constexpr const char* kGroup = "Stopping and going on";

}  // namespace

void TrainingArguments::add_to(CLI::App& command) {
  add_integer(command, {"--batch", "N", "frames of one training step"}, {1, 65536}, batch);
  add_positive(command, {"--learning-rate", "RATE", "of Adam, at its highest"}, learning_rate);
  std::vector<std::pair<std::string, ScheduleKind>> schedules;
  for (const ScheduleKind kind : {ScheduleKind::kStep, ScheduleKind::kCyclic, ScheduleKind::kCosine,
                                  ScheduleKind::kConstant}) {
    schedules.emplace_back(name_of(kind), kind);
  }
  add_choice<ScheduleKind>(
      command,
      {"--schedule", "",
       text("learning rate over the run: halved after 20, 40, 60 and 80 % of the epochs, between a "
            "tenth and all of it in waves that get lower, falling to 0, or the same (default ",
            name_of(schedule), ")")},
      schedules, [this](const ScheduleKind& kind) { schedule = kind; });
  add_seed(command, seed);
}

void CheckpointArguments::add_to(CLI::App& command, const std::string& columns) {
  add_text(command,
           {"--checkpoint", "FILE",
            "write the state of the run there, to go on with --resume (default: only after Ctrl-C, "
            "beside the output)"},
           checkpoint)
      ->group(kGroup);
  add_integer(command, {"--every", "EPOCHS", "how often --checkpoint is written"}, {1, kNoLimit},
              every)
      ->group(kGroup);
  add_text(command,
           {"--resume", "FILE", "go on from a checkpoint, with the options the run began with"},
           resume)
      ->group(kGroup);
  add_text(command,
           {"--log", "FILE.csv", text("one row per epoch: ", columns, "; rewritten every epoch")},
           log)
      ->group(kGroup);
}

}  // namespace ptynet::tools
