#include "engine/trainer.h"

#include <fnmatch.h>

#include <algorithm>
#include <complex>

#include "autograd/losses.h"
#include "engine/pattern_series.h"
#include "engine/predictor.h"
#include "engine/training_queue.h"

namespace ptynet {

namespace {

// Pairs (re, im) of a complex array, sharing its elements.
Array as_pairs(const Array& complex) {
  const Shape& s = complex.shape();
  Shape pairs = s.rank() == 3 ? Shape{s[0], s[1], s[2], 2} : Shape{s[0], s[1], 2};
  return Array::view(const_cast<void*>(complex.data()), pairs, DType::kF32, complex.device(),
                     std::make_shared<Array>(complex));
}

Array to_host(Context& context, const Array& array) {
  Array host = Array::host(array.shape(), array.dtype());
  context.backend().copy(array, host);
  context.backend().synchronize();
  return host;
}

// A copy of its own on the device, which training may write to.
Array own(Context& context, const Array& host) { return on_device(context, host.clone()); }

bool matches(const std::string& name, const std::string& pattern) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

double sum_of(const Array& sums, std::int64_t column) {
  const std::int64_t columns = sums.shape().rank() > 1 ? sums.shape()[1] : 1;
  double sum = 0;
  for (std::int64_t i = 0; i < sums.shape()[0]; ++i) {
    sum += sums.data<double>()[i * columns + column];
  }
  return sum;
}

void expect_trainable(const std::vector<LayerSpec>& layers) {
  for (const LayerSpec& layer : layers) {
    if (layer.type == LayerType::kDropout && layer.probability > 0) {
      fail_input("training does not do dropout: set its p to 0 in the architecture");
    }
    if (layer.activation.kind == ActivationKind::kLeakyRelu && layer.activation.alpha < 0) {
      fail_input("training needs a leaky_relu of slope 0 or more, found ", layer.activation.alpha,
                 ": below 0 its output does not tell the side it came from");
    }
    for (const auto& part : layer.parts) expect_trainable(part);
  }
}

StateDict copies(const StateDict& state) {
  StateDict out;
  for (const auto& [name, tensor] : state) out.emplace(name, tensor.clone());
  return out;
}

}  // namespace

// One step over n frames, with all addresses fixed.
struct Trainer::Plan {
  Patterns patterns;  // [n, h, w]; patches with PatchObjective
  Array canvas;       // [n, h, w, 2], with a consistency term
  StepSums sums;
  std::unique_ptr<PlannedReplay> replay;
};

struct Trainer::Forward {
  Array frames;
  Array amplitude;
  Array phase;
  std::unique_ptr<PlannedReplay> replay;
};

Trainer::Trainer(const Architecture& architecture, const StateDict& state,
                 const TrainerOptions& options)
    : architecture_(architecture),
      options_(options),
      rule_(options.input_rule.value_or(architecture.input)) {
  if (options.batch < 1 || options.batch > 65536) {
    fail_input("a batch is 1 to 65536 frames, found ", options.batch);
  }
  trace(architecture, options.height, options.width);
  expect_trainable(architecture.layers);
  if (rule_.scale == InputScale::kScanMax && !(rule_.scan_max > 0)) {
    fail_input("this input rule divides by the scan's largest count, which must be above 0");
  }
  check_objective();
  const bool narrow = array_type(options.precision) != DType::kF32;
  if (narrow && options.context.device.kind == DeviceKind::kCpu) {
    fail_input("--precision ", name_of(options.precision),
               " trains on a CUDA device alone; cpu trains in fp32");
  }
  options_.context.tf32 = options.precision == Precision::kTf32;
  context_ = std::make_unique<Context>(options_.context);
  expect_precision(*context_, options.precision);
  load_choices(choice_file(), context_->backend());
  network_ = std::make_unique<Network>(*context_, architecture, copies(state),
                                       NetworkOptions{.fold_batch_norm = false});
  choose_trained();
  std::vector<Array> values;
  for (const Parameter& p : trained_) values.push_back(p.tensor->value());
  const bool scaled = options.precision == Precision::kF16;
  options_.adam.adapts_scale = scaled;
  adam_ = std::make_unique<Adam>(*context_, values, options_.adam,
                                 LossScale{scaled ? LossScale::kFirst : 1});
  if (const DiffractionObjective* objective = diffraction()) {
    probe_ = Tensor(own(*context_, as_pairs(objective->probe)));
    const auto* p = objective->probe.data<std::complex<float>>();
    for (std::int64_t i = 0; i < objective->probe.elements(); ++i) {
      probe_power_ += std::norm(std::complex<double>(p[i]));
    }
    probe_adam_ = std::make_unique<Adam>(*context_, std::vector{probe_.value()}, options.adam);
    if (!objective->consistency_weight.empty()) {
      weight_ = own(*context_, objective->consistency_weight);
    }
  } else if (const Array& weight = std::get<PatchObjective>(options.objective).weight;
             !weight.empty()) {
    weight_ = own(*context_, weight);
  }
}

Trainer::~Trainer() = default;

void Trainer::check_objective() const {
  const Shape pixels{options_.height, options_.width};
  const auto expect_weight = [&](const Array& weight) {
    if (weight.empty()) return;
    if (weight.shape() != pixels || weight.dtype() != DType::kF32) {
      fail_input("expected weights f32", to_string(pixels), ", found ", describe(weight));
    }
    double sum = 0;
    for (std::int64_t i = 0; i < weight.elements(); ++i) sum += double{weight.data<float>()[i]};
    if (!(sum > 0)) fail_input("the weights of a patch's pixels sum to ", sum, ", not above 0");
  };
  const DiffractionObjective* objective = diffraction();
  if (objective == nullptr)
    return expect_weight(std::get<PatchObjective>(options_.objective).weight);
  expect_weight(objective->consistency_weight);
  const Shape& s = objective->probe.shape();
  if (s.rank() != 3 || s[1] != pixels[0] || s[2] != pixels[1] ||
      objective->probe.dtype() != DType::kC64) {
    fail_input("expected a probe c64[modes, ", pixels[0], ", ", pixels[1], "], found ",
               describe(objective->probe));
  }
}

void Trainer::choose_trained() {
  parameters_ = network_->parameters();
  std::vector<bool> used(options_.freeze.size(), false);
  for (const Parameter& p : parameters_) {
    if (!p.trainable) continue;
    bool frozen = false;
    for (std::size_t i = 0; i < options_.freeze.size(); ++i) {
      if (!matches(p.name, options_.freeze[i])) continue;
      frozen = used[i] = true;
    }
    if (!frozen) trained_.push_back(p);
  }
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) {
      fail_input("no parameter is called like '", options_.freeze[i], "'",
                 parameters_.empty() ? "" : "; one is called '" + parameters_.front().name + "'");
    }
  }
}

void Trainer::record_step(Plan& plan, const PlanKind& kind) {
  const auto work = [&] {
    if (kind.queued) queue_->take(plan.patterns, plan.canvas);
    Tape tape(*context_);
    for (const Parameter& p : trained_) tape.watch(*p.tensor);
    if (kind.update_probe) tape.watch(probe_);
    const Tensor x =
        input_rule(*context_, plan.patterns.frames, {}, rule_, array_type(options_.precision));
    Tensor y = network_->forward(*context_, x, {.training = true, .fixed_weights = false});
    if (y.value().dtype() != DType::kF32) {
      fail_input("training in ", name_of(options_.precision),
                 " needs a network that ends in a convolution");
    }
    if (options_.adam.adapts_scale) y = scale_gradient(*context_, y, adam_->loss_scale());
    const PatchTensors patch =
        output_heads(*context_, y, architecture_.amplitude, architecture_.phase);
    const DiffractionObjective* objective = diffraction();
    if (objective != nullptr) {
      if (!plan.canvas.empty()) {
        object_error(*context_, patch, plan.canvas, weight_, objective->consistency,
                     plan.sums.object);
      }
      intensity_loss(*context_, objective->loss, diffract(*context_, patch, probe_),
                     plan.patterns.frames, objective->factor, plan.sums.intensity);
    } else {
      const PatchTensors target{Tensor(plan.patterns.amplitude), Tensor(plan.patterns.phase)};
      patch_error(*context_, patch, target, weight_, 1.0, plan.sums.patch);
    }
    tape.backward();
    std::vector<Array> gradients;
    for (const Parameter& p : trained_) gradients.push_back(p.tensor->gradient());
    if (kind.queued) queue_->take_rate(1.0, *adam_);
    adam_->step(gradients);
    if (kind.update_probe) {
      if (kind.queued) queue_->take_rate(objective->probe_rate, *probe_adam_);
      probe_adam_->step({probe_.gradient()});
      context_->backend().keep_power(probe_.value(), probe_power_);
    }
    if (kind.queued) queue_->leave(plan.sums);
  };
  plan.replay = std::make_unique<PlannedReplay>(*context_, work);
}

Trainer::Plan& Trainer::plan_of(const PlanKind& kind) {
  const auto found = plans_.find(kind);
  if (found != plans_.end()) return *found->second;
  // The probe is updated from some step on: plans of before have had their time.
  std::erase_if(plans_, [&](const auto& p) { return p.first.update_probe != kind.update_probe; });
  return *plans_.emplace(kind, make_plan(kind)).first->second;
}

std::unique_ptr<Trainer::Plan> Trainer::make_plan(const PlanKind& kind) {
  auto made = std::make_unique<Plan>();
  const std::int64_t n = kind.frames;
  const Shape shape{n, options_.height, options_.width};
  made->patterns.frames = context_->allocate(shape, DType::kF32);
  if (const DiffractionObjective* objective = diffraction()) {
    made->sums.intensity = context_->allocate({n, 4}, DType::kF64);
    if (objective->consistency > 0) {
      made->sums.object = context_->allocate({n}, DType::kF64);
      made->canvas = context_->allocate({n, options_.height, options_.width, 2}, DType::kF32);
    }
  } else {
    made->sums.patch = context_->allocate({n, 2}, DType::kF64);
    made->patterns.amplitude = context_->allocate(shape, DType::kF32);
    made->patterns.phase = context_->allocate(shape, DType::kF32);
  }
  record_step(*made, kind);
  save_choices(choice_file(), context_->backend());
  return made;
}

void Trainer::load(Plan& plan, const TrainingBatch& batch) {
  const auto copy = [&](const char* what, const Array& from, Array& to) {
    if (to.empty()) return;
    if (from.shape() != to.shape() || from.dtype() != to.dtype()) {
      fail_input("a training step expects ", what, " ", describe(to), ", found ", describe(from));
    }
    context_->backend().copy(from, to);
  };
  copy("frames", batch.frames, plan.patterns.frames);
  copy("amplitudes", batch.amplitude, plan.patterns.amplitude);
  copy("phases", batch.phase, plan.patterns.phase);
  const bool complex = !batch.canvas.empty() && batch.canvas.dtype() == DType::kC64;
  copy("a canvas", complex ? as_pairs(batch.canvas) : batch.canvas, plan.canvas);
}

StepOutcome Trainer::step(const TrainingBatch& batch, double learning_rate, bool update_probe) {
  const std::int64_t n = batch.frames.shape().rank() == 3 ? batch.frames.shape()[0] : 0;
  if (n < 1 || n > options_.batch) {
    fail_input("a training step takes f32[n, ", options_.height, ", ", options_.width,
               "] with n from 1 to ", options_.batch, ", found ", describe(batch.frames));
  }
  const DiffractionObjective* objective = diffraction();
  if (update_probe && objective == nullptr) fail_input("known patches say nothing of a probe");
  Plan& plan = plan_of({n, update_probe, false});
  load(plan, batch);
  adam_->set_learning_rate(learning_rate);
  if (update_probe) probe_adam_->set_learning_rate(learning_rate * objective->probe_rate);
  plan.replay->run();
  const auto fetch = [this](const Array& sums) {
    return sums.empty() ? Array() : to_host(*context_, sums);
  };
  return outcome_of({fetch(plan.sums.intensity), fetch(plan.sums.object), fetch(plan.sums.patch)});
}

StepOutcome Trainer::outcome_of(const StepSums& sums) const {
  StepOutcome out;
  if (!sums.patch.empty()) {
    const auto frames = static_cast<double>(sums.patch.shape()[0]);
    out.amplitude_error = sum_of(sums.patch, 0) / frames;
    out.phase_error = sum_of(sums.patch, 1) / frames;
    out.loss = out.amplitude_error + out.phase_error;
    return out;
  }
  const DiffractionObjective& objective = *diffraction();
  out.intensity = sum_of(sums.intensity, 0) / std::max(sum_of(sums.intensity, 1), 1.0);
  out.r_difference = sum_of(sums.intensity, 2);
  out.r_total = sum_of(sums.intensity, 3);
  if (!sums.object.empty()) {
    out.consistency = sum_of(sums.object, 0) / static_cast<double>(sums.object.shape()[0]);
  }
  out.loss = objective.factor * out.intensity + objective.consistency * out.consistency;
  return out;
}

void Trainer::keep(const TrainingSet& set) {
  const DiffractionObjective* objective = diffraction();
  if (objective == nullptr) fail_input("frames are kept for training on diffraction alone");
  const Shape& s = set.frames.shape();
  if (s.rank() != 3 || s[1] != options_.height || s[2] != options_.width) {
    fail_input("training expects frames f32[m, ", options_.height, ", ", options_.width,
               "], found ", describe(set.frames));
  }
  if (set.corners.empty() == (objective->consistency > 0)) {
    fail_input("a consistency term needs corners on the canvas, and nothing else does");
  }
  std::erase_if(plans_, [](const auto& plan) { return plan.first.queued; });
  queue_.reset();  // its frames may have no room beside the new ones
  queue_ = std::make_unique<TrainingQueue>(*context_, set, options_.batch);
}

Patterns& Trainer::keep_patterns(std::int64_t count) {
  if (diffraction() != nullptr) fail_input("patterns are kept for training on known patches alone");
  if (count < 1) fail_input("training keeps at least one pattern, found ", count);
  std::erase_if(plans_, [](const auto& plan) { return plan.first.queued; });
  queue_.reset();
  patterns_ = room_for_patterns(*context_, count, options_.height, options_.width);
  queue_ = std::make_unique<TrainingQueue>(*context_, patterns_, options_.batch);
  return patterns_;
}

TrainingQueue& Trainer::queue() {
  if (queue_ == nullptr) fail_input("steps of an epoch need keep() or keep_patterns() before");
  return *queue_;
}

void Trainer::set_canvas(const Array& object) { queue().set_canvas(object); }

void Trainer::begin_epoch(const std::vector<std::int64_t>& order, const std::vector<double>& rates,
                          std::int64_t first_batch) {
  queue().begin_epoch(order, rates, first_batch);
  next_batch_ = told_batch_ = first_batch;
}

void Trainer::next_step(bool update_probe) {
  const std::int64_t n = queue().size_of(next_batch_);
  if (n < 1) fail_input("the epoch has no step ", next_batch_ + 1);
  plan_of({n, update_probe, true}).replay->run();
  ++next_batch_;
}

std::vector<StepOutcome> Trainer::outcomes() {
  std::vector<StepOutcome> out;
  if (told_batch_ == next_batch_) return out;
  const StepSums sums = queue_->sums_of(told_batch_, next_batch_);
  for (std::int64_t first = 0; told_batch_ < next_batch_; ++told_batch_) {
    const std::int64_t n = queue_->size_of(told_batch_);
    const auto part = [&](const Array& all) { return all.empty() ? all : all.slice(first, n); };
    out.push_back(outcome_of({part(sums.intensity), part(sums.object), part(sums.patch)}));
    first += n;
  }
  return out;
}

bool Trainer::gradients_are_sound() const {
  const LossScale scaling = adam_->scaling();
  return options_.adam.adapts_scale ? scaling.scale >= 1 : scaling.left_out == 0;
}

void Trainer::predict(const Array& frames, Array& amplitude, Array& phase) {
  const Shape expected{frames.shape().rank() > 0 ? frames.shape()[0] : 0, options_.height,
                       options_.width};
  for (const Array* array :
       {&frames, static_cast<const Array*>(&amplitude), static_cast<const Array*>(&phase)}) {
    if (array->shape() != expected || array->dtype() != DType::kF32) {
      fail_input("expected f32", to_string(expected), ", found ", describe(*array));
    }
  }
  const Shape shape{options_.batch, options_.height, options_.width};
  Backend& backend = context_->backend();
  if (forward_ == nullptr) {
    auto made = std::make_unique<Forward>();
    made->frames = on_device(*context_, Array::zeros(shape, DType::kF32));
    made->amplitude = context_->allocate(shape, DType::kF32);
    made->phase = context_->allocate(shape, DType::kF32);
    made->replay = std::make_unique<PlannedReplay>(*context_, [&] {
      const Tensor x =
          input_rule(*context_, made->frames, {}, rule_, array_type(options_.precision));
      const Tensor y = network_->forward(*context_, x, {.fixed_weights = false});
      backend.output_heads(y.value(), architecture_.amplitude, architecture_.phase, made->amplitude,
                           made->phase);
    });
    forward_ = std::move(made);
  }
  for (std::int64_t first = 0; first < expected[0]; first += options_.batch) {
    const std::int64_t n = std::min(options_.batch, expected[0] - first);
    Array frames_to = forward_->frames.slice(0, n);
    Array amplitude_to = amplitude.slice(first, n);
    Array phase_to = phase.slice(first, n);
    backend.copy(frames.slice(first, n), frames_to);
    forward_->replay->run();
    backend.copy(forward_->amplitude.slice(0, n), amplitude_to);
    backend.copy(forward_->phase.slice(0, n), phase_to);
    backend.synchronize();
  }
}

TrainerState Trainer::state() const {
  const auto host = [&](const Array& array) { return channels_second(to_host(*context_, array)); };
  TrainerState out;
  for (const Parameter& p : parameters_) out.weights.emplace(p.name, host(p.tensor->value()));
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    out.first_moment.emplace(trained_[i].name, host(adam_->moments(i).first));
    out.second_moment.emplace(trained_[i].name, host(adam_->moments(i).second));
  }
  out.steps = adam_->steps_done();
  out.scaling = adam_->scaling();
  if (probe_adam_ != nullptr) {
    out.probe = to_host(*context_, probe_.value());
    out.probe_first_moment = to_host(*context_, probe_adam_->moments(0).first);
    out.probe_second_moment = to_host(*context_, probe_adam_->moments(0).second);
    out.probe_steps = probe_adam_->steps_done();
  }
  return out;
}

void Trainer::restore(const TrainerState& state) {
  const auto find = [](const StateDict& tensors, const std::string& name) -> const Array& {
    const auto found = tensors.find(name);
    if (found == tensors.end()) fail_input("the training state has no tensor '", name, "'");
    return found->second;
  };
  std::vector<std::pair<Array, Array>> values;  // from, to: all are looked at before one is changed
  for (const Parameter& p : parameters_) {
    values.emplace_back(channels_last(find(state.weights, p.name)), p.tensor->value());
  }
  if (probe_adam_ != nullptr) values.emplace_back(state.probe, probe_.value());
  for (const auto& [from, to] : values) {
    if (from.shape() != to.shape() || from.dtype() != to.dtype()) {
      fail_input("the training state holds ", describe(from), " where ", describe(to), " belongs");
    }
  }
  std::vector<Adam::Moments> moments;
  for (const Parameter& p : trained_) {
    moments.push_back({channels_last(find(state.first_moment, p.name)),
                       channels_last(find(state.second_moment, p.name))});
  }
  adam_->restore(state.steps, moments);
  adam_->set_scaling(state.scaling);
  if (probe_adam_ != nullptr) {
    probe_adam_->restore(state.probe_steps,
                         {{state.probe_first_moment, state.probe_second_moment}});
  }
  for (auto& [from, to] : values) context_->backend().copy(from, to);
  context_->backend().synchronize();
}

ChosenWays Trainer::choices() const {
  ChosenWays out = used_choices(context_->backend());
  out.insert(taken_.begin(), taken_.end());
  return out;
}

void Trainer::take_choices(const ChosenWays& ways) {
  ptynet::take_choices(ways, context_->backend());
  taken_ = ways;
}

Array Trainer::probe() const {
  if (probe_adam_ == nullptr) return {};
  const Shape& s = probe_.shape();
  const Array pairs = to_host(*context_, probe_.value());
  return Array::view(const_cast<void*>(pairs.data()), {s[0], s[1], s[2]}, DType::kC64, {},
                     std::make_shared<Array>(pairs));
}

std::int64_t Trainer::trained_values() const {
  std::int64_t values = 0;
  for (const Parameter& p : trained_) values += p.tensor->value().elements();
  return values;
}

std::vector<StepTime> Trainer::profile(const TrainingBatch& batch) {
  Plan& plan = plan_of({options_.batch, false, false});
  load(plan, batch);
  return plan.replay->profile();
}

std::size_t Trainer::arena_bytes() const {
  std::size_t bytes = forward_ != nullptr ? forward_->replay->arena_bytes() : 0;
  for (const auto& [key, plan] : plans_) bytes += plan->replay->arena_bytes();
  return bytes;
}

}  // namespace ptynet
