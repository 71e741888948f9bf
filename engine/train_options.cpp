#include <algorithm>
#include <array>
#include <filesystem>
#include <vector>

#include "engine/train.h"
#include "io/bytes.h"
#include "io/datasets.h"

namespace ptynet {

std::string name_of(ScheduleKind kind) {
  constexpr std::array kNames{"constant", "step", "cosine", "cyclic"};
  return kNames.at(static_cast<std::size_t>(kind));
}

void check(const TrainOptions& o) {
  if (o.architecture.empty() && o.from.empty()) {
    fail_input("expected --architecture or --from, which network is to learn");
  }
  if (o.epoch.patterns < 1 || o.epoch.batch < 1 || o.epoch.batch > o.epoch.patterns) {
    fail_input("expected a batch of 1 to ", o.epoch.patterns, " patterns, as an epoch has, found ",
               o.epoch.batch);
  }
  if (o.epochs < 0 || o.held_out < 0 || o.every < 1) {
    fail_input("expected 0 epochs and 0 held-out patterns or more, and a checkpoint every epoch ",
               "or less often");
  }
  const auto batches = static_cast<double>(o.epoch.batches());
  if (batches * static_cast<double>(std::max<std::int64_t>(o.epochs, 1)) > kMostTrainingBatches) {
    fail_input("expected at most ", kMostTrainingBatches, " batches in all, found ", o.epochs,
               " epochs of ", batches);
  }
  if (o.minutes && !(*o.minutes > 0)) fail_input("expected minutes above 0, found ", *o.minutes);
  if (!(o.learning_rate > 0) || !(o.half_cycle_epochs > 0)) {
    fail_input("expected a learning rate and a half cycle above 0, found ", o.learning_rate,
               " and ", o.half_cycle_epochs);
  }
  std::vector<std::filesystem::path> inputs{o.from, o.architecture};
  if (!o.probe.file.empty()) inputs.push_back(io::parse_dataset_name(o.probe.file).path);
  // Before an hour of training, not after it. Only a checkpoint may take the place of the one that
  // the run goes on from.
  io::expect_outputs({o.output, o.checkpoint, o.log}, inputs);
  for (const std::string& output : {o.output, o.log}) {
    if (!output.empty()) io::expect_no_input(output, {o.resume});
  }
}

}  // namespace ptynet
