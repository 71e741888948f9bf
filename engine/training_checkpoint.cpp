#include "engine/training_checkpoint.h"

#include <algorithm>
#include <cmath>

namespace ptynet {

namespace {

void expect_finite(const std::string& name, const Array& values) {
  if (values.dtype() != DType::kF32) return;  // counters
  const auto* p = values.data<float>();
  if (!std::all_of(p, p + values.elements(), [](float v) { return std::isfinite(v); })) {
    fail_runtime("'", name, "' holds values that are not finite");
  }
}

}  // namespace

void expect_finite(const TrainerState& state) {
  for (const StateDict* tensors : {&state.weights, &state.first_moment, &state.second_moment}) {
    for (const auto& [name, values] : *tensors) expect_finite(name, values);
  }
  if (!state.probe.empty()) expect_finite("probe", state.probe);
}

void put(const TrainerState& state, io::Checkpoint& checkpoint) {
  checkpoint.tensors["weights"] = state.weights;
  checkpoint.tensors["first_moment"] = state.first_moment;
  checkpoint.tensors["second_moment"] = state.second_moment;
  checkpoint.numbers["steps"] = state.steps;
  if (state.probe.empty()) return;
  checkpoint.tensors["probe"] = {{"value", state.probe},
                                 {"first_moment", state.probe_first_moment},
                                 {"second_moment", state.probe_second_moment}};
  checkpoint.numbers["probe_steps"] = state.probe_steps;
}

TrainerState trainer_state_of(const io::Checkpoint& checkpoint) {
  TrainerState out;
  out.weights = checkpoint.group("weights");
  out.first_moment = checkpoint.group("first_moment");
  out.second_moment = checkpoint.group("second_moment");
  out.steps = checkpoint.number("steps");
  if (!checkpoint.tensors.contains("probe")) return out;
  const auto part = [&](const char* name) {
    const StateDict& probe = checkpoint.group("probe");
    const auto found = probe.find(name);
    if (found == probe.end()) fail_input("the checkpoint's probe has no '", name, "'");
    return found->second;
  };
  out.probe = part("value");
  out.probe_first_moment = part("first_moment");
  out.probe_second_moment = part("second_moment");
  out.probe_steps = checkpoint.number("probe_steps");
  return out;
}

}  // namespace ptynet
