#include "engine/session.h"

#include <cstring>

namespace ptynet {

namespace {

void expect_usable(const SessionOptions& options, const InputRule& rule) {
  if (options.batch < 1 || options.batch > 65536) {
    fail_input("a batch is 1 to 65536 frames, found ", options.batch);
  }
  switch (options.frame_type) {
    case DType::kU8:
    case DType::kU16:
    case DType::kU32:
    case DType::kI32:
    case DType::kF32:
      break;
    default:
      fail_input("frames are u8, u16, u32, i32 or f32, found ", name_of(options.frame_type));
  }
  if (rule.scale == InputScale::kScanMax && !(rule.scan_max > 0)) {
    fail_input("this input rule divides by the scan's largest count, which must be above 0");
  }
}

}  // namespace

// The whole way from frames to patches for one number of frames, with all addresses fixed.
struct Session::Plan {
  Array frames;     // [n, h, w]
  Array amplitude;  // f32 [n, h, w]
  Array phase;      // f32 [n, h, w]
  std::unique_ptr<PlannedReplay> replay;
};

Session::Session(const Architecture& architecture, const StateDict& state,
                 const SessionOptions& options)
    : options_(options), rule_(options.input_rule.value_or(architecture.input)) {
  expect_usable(options, rule_);
  trace(architecture, options.height, options.width);
  context_ = std::make_unique<Context>(options.context);
  network_ = std::make_unique<Network>(*context_, architecture, state);
  if (!options.mask.empty()) {
    if (options.mask.shape() != Shape{options.height, options.width}) {
      fail_input("expected a mask of ", options.height, "x", options.width, ", found ",
                 describe(options.mask));
    }
    mask_ = on_device(*context_, options.mask.clone());
  }
  prepare(options.batch);
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

void Session::prepare(std::int64_t n) {
  if (n < 1 || n > options_.batch) {
    fail_input("this session takes 1 to ", options_.batch, " frames a call, found ", n);
  }
  if (plans_.contains(n)) return;

  Backend& backend = context_->backend();
  auto plan = std::make_unique<Plan>();
  const Shape shape{n, options_.height, options_.width};
  // Zeros, since a call of fewer frames computes the others too.
  plan->frames = on_device(*context_, Array::zeros(shape, options_.frame_type));
  plan->amplitude = context_->allocate(shape, DType::kF32);
  plan->phase = context_->allocate(shape, DType::kF32);
  const auto work = [&] {
    const DType type = options_.precision == Precision::kBf16 ? DType::kBf16 : DType::kF32;
    const Tensor input = input_rule(*context_, plan->frames, mask_, rule_, type);
    const Tensor output = network_->forward(*context_, input);
    backend.output_heads(output.value(), network_->architecture().amplitude,
                         network_->architecture().phase, plan->amplitude, plan->phase);
  };
  plan->replay = std::make_unique<PlannedReplay>(*context_, work);
  plans_.emplace(n, std::move(plan));
}

Session::Plan& Session::plan_for(std::int64_t n) {
  const auto own = plans_.find(n);
  return own != plans_.end() ? *own->second : *plans_.at(options_.batch);
}

void Session::run(const Array& frames, Array& amplitude, Array& phase) {
  const Shape expected{frames.shape().rank() > 0 ? frames.shape()[0] : 0, options_.height,
                       options_.width};
  if (frames.shape() != expected || frames.dtype() != options_.frame_type) {
    fail_input("expected frames ", name_of(options_.frame_type), "[n, ", options_.height, ", ",
               options_.width, "], found ", describe(frames));
  }
  if (amplitude.shape() != expected || phase.shape() != expected) {
    fail_input("expected room for patches ", to_string(expected), ", found ", describe(amplitude),
               " and ", describe(phase));
  }
  run(frames.data(), expected[0], amplitude.data<float>(), phase.data<float>());
}

void Session::run(const void* frames, std::int64_t n, float* amplitude, float* phase) {
  if (n < 1 || n > options_.batch) {
    fail_input("this session takes 1 to ", options_.batch, " frames a call, found ", n);
  }
  Plan& ready = plan_for(n);
  Backend& backend = context_->backend();
  const Shape shape = ready.frames.shape().with_first(n);
  // The views own nothing, so that nothing is allocated here. Frames of an earlier call may lie
  // beyond n: their patches are not copied out.
  const Array from = Array::view(const_cast<void*>(frames), shape, options_.frame_type);
  Array frames_to = ready.frames.slice(0, n);
  Array amplitude_to = Array::view(amplitude, shape, DType::kF32);
  Array phase_to = Array::view(phase, shape, DType::kF32);
  backend.copy(from, frames_to);
  ready.replay->run();
  backend.copy(ready.amplitude.slice(0, n), amplitude_to);
  backend.copy(ready.phase.slice(0, n), phase_to);
  backend.synchronize();
}

std::vector<StepTime> Session::profile() { return plan_for(options_.batch).replay->profile(); }

std::size_t Session::arena_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [n, plan] : plans_) bytes += plan->replay->arena_bytes();
  return bytes;
}

}  // namespace ptynet
