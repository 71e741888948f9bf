#include <algorithm>
#include <filesystem>
#include <vector>

#include "engine/train.h"
#include "io/bytes.h"
#include "io/datasets.h"

namespace ptynet {

void check(const EpochPlan& plan, std::int64_t epochs) {
  if (plan.patterns < 1 || plan.batch < 1 || plan.batch > plan.patterns) {
    fail_input("expected a batch of 1 to ", plan.patterns, " patterns, as an epoch has, found ",
               plan.batch);
  }
  const auto batches = static_cast<double>(plan.batches());
  if (batches * static_cast<double>(std::max<std::int64_t>(epochs, 1)) > kMostTrainingBatches) {
    fail_input("expected at most ", kMostTrainingBatches, " batches in all, found ", epochs,
               " epochs of ", batches);
  }
}

void check(const TrainOptions& o) {
  if (o.architecture.empty() && o.from.empty()) {
    fail_input("expected --architecture or --from, which network is to learn");
  }
  if (o.epochs < 0 || o.held_out.value_or(0) < 0 || o.every < 1) {
    fail_input("expected 0 epochs and 0 held-out patterns or more, and a checkpoint every epoch ",
               "or less often");
  }
  if (o.scans.empty() || o.epoch.patterns != 0) check(o.epoch, o.epochs);
  if (o.minutes && !(*o.minutes > 0)) fail_input("expected minutes above 0, found ", *o.minutes);
  if (!(o.learning_rate > 0) || !(o.half_cycle_epochs > 0)) {
    fail_input("expected a learning rate and a half cycle above 0, found ", o.learning_rate,
               " and ", o.half_cycle_epochs);
  }
  std::vector<std::filesystem::path> inputs{o.from, o.architecture};
  if (!o.probe.file.empty()) inputs.push_back(io::parse_dataset_name(o.probe.file).path);
  for (const KnownScan& known : o.scans) {
    inputs.insert(inputs.end(), {known.scan, known.truth});
  }
  // Before an hour of training, not after it. Only a checkpoint may take the place of the one that
  // the run goes on from.
  io::expect_outputs({o.output, o.checkpoint, o.log}, inputs);
  for (const std::string& output : {o.output, o.log}) {
    if (!output.empty()) io::expect_no_input(output, {o.resume});
  }
}

}  // namespace ptynet
