#include "engine/finetune_options.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/bytes.h"
#include "io/datasets.h"
#include "layers/state_dict.h"

namespace ptynet {

namespace {

namespace fs = std::filesystem;

std::string name_of(IntensityLoss loss) {
  constexpr std::array kNames{"l1", "amplitude", "poisson"};
  return kNames.at(static_cast<std::size_t>(loss));
}

std::string name_of(ProbeCalibration calibration) {
  constexpr std::array kNames{"off", "empty-beam", "brightest", "network"};
  return kNames.at(static_cast<std::size_t>(calibration));
}

void expect_together(const FinetuneOptions& o) {
  if (o.batch < 1) fail_input("--batch must be at least 1, found ", o.batch);
  if (o.epochs < 0) fail_input("--epochs must be 0 or more, found ", o.epochs);
  if (o.every < 1) fail_input("--every must be at least 1, found ", o.every);
  if (!(o.learning_rate > 0) || !std::isfinite(o.learning_rate)) {
    fail_input("--learning-rate must be above 0, found ", o.learning_rate);
  }
  if (!(o.half_cycle_epochs > 0) || !std::isfinite(o.half_cycle_epochs)) {
    fail_input("--half-cycle must be above 0, found ", o.half_cycle_epochs);
  }
  if (!(o.consistency >= 0) || !std::isfinite(o.consistency)) {
    fail_input("--consistency must be 0 or more, found ", o.consistency);
  }
  if (!(o.validate >= 0 && o.validate <= 0.5)) {
    fail_input("--validate holds out a share from 0 to 0.5 of the frames, found ", o.validate);
  }
  if (o.patience && o.validate == 0) {
    fail_input("--patience needs frames to judge by: give --validate FRACTION");
  }
  if (o.support && o.update_probe) {
    fail_input("--support and --update-probe exclude each other: a refined probe would leave the ",
               "support");
  }
  if (!o.png.empty() && o.reconstruction.empty()) {
    fail_input("--png shows the reconstruction: give --reconstruction OUT.h5 too");
  }
}

bool is_statistic(const std::string& name) {
  return name.ends_with(".running_mean") || name.ends_with(".running_var") ||
         name.ends_with(".num_batches_tracked");
}

}  // namespace

void expect_usable(const FinetuneOptions& o) {
  expect_together(o);
  std::vector<fs::path> inputs = files_of(o.scan);
  inputs.insert(inputs.end(), {o.weights, o.architecture});
  if (!o.empty_beam.empty()) inputs.push_back(io::parse_dataset_name(o.empty_beam).path);
  const std::string checkpoint = o.checkpoint.empty() ? o.output + ".checkpoint" : o.checkpoint;
  io::expect_outputs({o.output, o.reconstruction, o.log_csv, checkpoint}, inputs);
  // Only the next checkpoint may take the place of the one that the job goes on from.
  for (const std::string* name : {&o.output, &o.reconstruction, &o.log_csv}) {
    if (!name->empty()) io::expect_no_input(*name, {o.resume});
  }
}

void expect_freezable(const Architecture& architecture, const std::vector<std::string>& patterns) {
  const std::vector<TensorSpec> tensors = tensors_of(architecture);
  for (const std::string& pattern : patterns) {
    const bool matches = std::any_of(tensors.begin(), tensors.end(), [&](const TensorSpec& t) {
      return !is_statistic(t.name) && fnmatch(pattern.c_str(), t.name.c_str(), 0) == 0;
    });
    if (!matches) {
      fail_input("no parameter is called like '", pattern, "'; one is called '",
                 tensors.front().name, "'");
    }
  }
}

std::map<std::string, std::string> settings_of(const FinetuneOptions& o) {
  std::string frozen;
  for (const std::string& pattern : o.freeze) frozen += (frozen.empty() ? "" : ",") + pattern;
  const auto number = [](const std::optional<std::int64_t>& n) {
    return n ? text(*n) : std::string("none");
  };
  const bool waves = o.schedule == ScheduleKind::kCyclic;
  return {{"--epochs", text(o.epochs)},
          {"--batch", text(o.batch)},
          {"--learning-rate", shortest(o.learning_rate)},
          {"--schedule", name_of(o.schedule)},
          {"--half-cycle", waves ? shortest(o.half_cycle_epochs) : "none"},
          {"--loss", name_of(o.loss)},
          {"--freeze", frozen.empty() ? "none" : frozen},
          {"--support", o.support ? shortest(*o.support) : "none"},
          {"--calibrate-probe", name_of(o.calibrate)},
          {"--update-probe", number(o.update_probe)},
          {"--consistency", shortest(o.consistency)},
          {"--validate", shortest(o.validate)},
          {"--patience", number(o.patience)},
          {"--shuffle", o.shuffle ? text("with --seed ", o.seed) : "none"},
          {"--input-rule", o.input_rule.empty() ? "none" : o.input_rule},
          {"--precision", std::string(name_of(o.precision))}};
}

std::string json_with_input_rule(const Architecture& architecture, const InputRule& rule) {
  auto root = nlohmann::ordered_json::parse(architecture.json);
  auto& input = root["input"] = nlohmann::ordered_json::object();
  input["quantity"] = rule.quantity == InputQuantity::kAmplitude ? "amplitude" : "intensity";
  switch (rule.scale) {
    case InputScale::kNone:
      input["scale"] = "none";
      break;
    case InputScale::kFrameMax:
      input["scale"] = "frame_max";
      input["epsilon"] = rule.epsilon;
      break;
    case InputScale::kScanMax:
      input["scale"] = "scan_max";
      input["factor"] = rule.factor;
      break;
  }
  return root.dump(1);
}

}  // namespace ptynet
