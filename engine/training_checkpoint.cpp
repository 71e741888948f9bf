#include "engine/training_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <complex>

#include "io/bytes.h"

namespace ptynet {

namespace {

constexpr std::int64_t kMostSteps = std::int64_t{1} << 53;  // whole numbers that f64 holds

template <typename T, typename Good>
bool all(const Array& values, Good good) {
  const auto* p = values.data<T>();
  return std::all_of(p, p + values.elements(), good);
}

bool is_finite(const Array& values) {
  switch (values.dtype()) {
    case DType::kF32:
      return all<float>(values, [](float v) { return std::isfinite(v); });
    case DType::kF64:
      return all<double>(values, [](double v) { return std::isfinite(v); });
    case DType::kC64:
      return all<std::complex<float>>(
          values, [](auto v) { return std::isfinite(v.real()) && std::isfinite(v.imag()); });
    default:
      return true;  // counters
  }
}

void expect_finite(const std::string& name, const Array& values) {
  if (!is_finite(values)) fail_runtime("'", name, "' holds values that are not finite");
}

LossScale scaling_of(const io::Checkpoint& checkpoint) {
  LossScale out;
  if (!checkpoint.numbers.contains("loss_scale")) return out;  // of a version before 16 bits
  out.scale = amount(checkpoint, "loss_scale");
  if (out.scale == 0 || std::exp2(std::round(std::log2(out.scale))) != out.scale) {
    fail_input("expected loss_scale as a power of two, found ", out.scale);
  }
  out.since = static_cast<double>(whole_number(checkpoint, "loss_scale_steps", kMostSteps));
  out.left_out = static_cast<double>(whole_number(checkpoint, "steps_left_out", kMostSteps));
  return out;
}

void expect_not_negative(const std::string& name, const Array& values) {
  if (values.dtype() != DType::kF32) return;  // does not fit, which restore() says
  if (!all<float>(values, [](float v) { return v >= 0; })) {
    fail_input("the second moment of '", name, "' holds values below 0");
  }
}

}  // namespace

void write_or_warn(const std::function<void()>& write, const Log& warning,
                   const std::string& rest) {
  try {
    write();
  } catch (const Error& problem) {
    if (problem.fault() == Fault::kRuntime) throw;
    if (warning) warning(problem.what() + rest);
  }
}

std::string last_good(const std::string& checkpoint) {
  return checkpoint.empty() ? "; there is no checkpoint yet"
                            : "; the last good checkpoint is " + checkpoint;
}

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
  checkpoint.numbers["loss_scale"] = state.scaling.scale;
  checkpoint.numbers["loss_scale_steps"] = state.scaling.since;
  checkpoint.numbers["steps_left_out"] = state.scaling.left_out;
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
  for (const char* group : {"weights", "first_moment", "second_moment"}) {
    expect_finite_group(checkpoint, group);
  }
  for (const auto& [name, values] : out.second_moment) expect_not_negative(name, values);
  out.steps = static_cast<double>(whole_number(checkpoint, "steps", kMostSteps));
  out.scaling = scaling_of(checkpoint);
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
  expect_finite_group(checkpoint, "probe");
  expect_not_negative("probe", out.probe_second_moment);
  out.probe_steps = static_cast<double>(whole_number(checkpoint, "probe_steps", kMostSteps));
  return out;
}

void put_choices(Trainer& trainer, io::Checkpoint& checkpoint) {
  checkpoint.choices = trainer.choices();
  if (checkpoint.choices.empty()) return;
  checkpoint.chosen_on = trainer.context().backend().description();
}

void take_choices(const io::Checkpoint& checkpoint, const std::string& path, Trainer& trainer,
                  const Log& warning) {
  if (checkpoint.choices.empty()) return;
  const std::string here = trainer.context().backend().description();
  if (checkpoint.chosen_on == here) return trainer.take_choices(checkpoint.choices);
  if (!warning) return;
  warning(text(path, ": the run began on '", io::printable(checkpoint.chosen_on),
               "' and goes on on '", here,
               "': its choices are made anew, and the weights may differ in their last digits"));
}

std::int64_t whole_number(const io::Checkpoint& checkpoint, const std::string& name,
                          std::int64_t most) {
  const double value = checkpoint.number(name);
  if (!(value >= 0 && value <= static_cast<double>(most)) || value != std::floor(value)) {
    fail_input("expected ", name, " as a whole number from 0 to ", most, ", found ", value);
  }
  return static_cast<std::int64_t>(value);
}

double amount(const io::Checkpoint& checkpoint, const std::string& name) {
  const double value = checkpoint.number(name);
  if (!(value >= 0) || !std::isfinite(value)) {
    fail_input("expected ", name, " as a number of 0 or more, found ", value);
  }
  return value;
}

void expect_finite_group(const io::Checkpoint& checkpoint, const std::string& group) {
  for (const auto& [name, values] : checkpoint.group(group)) {
    if (is_finite(values)) continue;
    fail_input("'", name, "' of '", group, "' holds values that are not finite");
  }
}

}  // namespace ptynet
