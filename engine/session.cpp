#include "engine/session.h"

#include <cstring>

#include "engine/choice_cache.h"

namespace ptynet {

// The whole way from frames to patches for one number of frames, with all addresses fixed.
// What the caller's memory is copied to and from is the host's side of them; on a CPU both sides
// are one.
struct Session::Plan {
  Array host_frames, frames;  // [n, h, w]
  Array host_patches,
      patches;  // f32 [2, n, h, w]: amplitude and phase, so that one copy moves both
  std::unique_ptr<PlannedReplay> replay;
};

Session::Session(const Architecture& architecture, const StateDict& state,
                 const SessionOptions& options)
    : predictor_(std::make_unique<Predictor>(architecture, state, options)) {
  prepare(options.batch);
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
// The plans of the session that was here go before what they lean on, with `other`.
Session& Session::operator=(Session&& other) noexcept {
  std::swap(predictor_, other.predictor_);
  std::swap(plans_, other.plans_);
  return *this;
}

void Session::prepare(std::int64_t n) {
  if (n < 1 || n > options().batch) {
    fail_input("this session takes 1 to ", options().batch, " frames a call, found ", n);
  }
  if (plans_.contains(n)) return;

  Backend& backend = context().backend();
  auto plan = std::make_unique<Plan>();
  const Shape shape{n, options().height, options().width};
  plan->host_frames = backend.staging(shape, options().frame_type);
  // Zeros, since a call of fewer frames computes the others too.
  std::memset(plan->host_frames.data(), 0, plan->host_frames.bytes());
  plan->frames = on_device(context(), plan->host_frames);
  const Shape both{2, n, options().height, options().width};
  plan->host_patches = backend.staging(both, DType::kF32);
  const bool one_side = context().device() == plan->host_frames.device();
  plan->patches = one_side ? plan->host_patches : context().allocate(both, DType::kF32);
  Array amplitude = plan->patches.slice(0, 1).reshape(shape);
  Array phase = plan->patches.slice(1, 1).reshape(shape);
  const auto work = [&] {
    if (!one_side) backend.copy(plan->host_frames, plan->frames);
    predictor_->predict(plan->frames, amplitude, phase);
    if (!one_side) backend.copy(plan->patches, plan->host_patches);
  };
  plan->replay = std::make_unique<PlannedReplay>(context(), work);
  plans_.emplace(n, std::move(plan));
  save_choices(choice_file(), backend);
}

Session::Plan& Session::plan_for(std::int64_t n) {
  const auto own = plans_.find(n);
  return own != plans_.end() ? *own->second : *plans_.at(options().batch);
}

void Session::run(const Array& frames, Array& amplitude, Array& phase) {
  const Shape expected{frames.shape().rank() > 0 ? frames.shape()[0] : 0, options().height,
                       options().width};
  if (frames.shape() != expected || frames.dtype() != options().frame_type) {
    fail_input("expected frames ", name_of(options().frame_type), "[n, ", options().height, ", ",
               options().width, "], found ", describe(frames));
  }
  if (amplitude.shape() != expected || phase.shape() != expected) {
    fail_input("expected room for patches ", to_string(expected), ", found ", describe(amplitude),
               " and ", describe(phase));
  }
  run(frames.data(), expected[0], amplitude.data<float>(), phase.data<float>());
}

void Session::run(const void* frames, std::int64_t n, float* amplitude, float* phase) {
  if (n < 1 || n > options().batch) {
    fail_input("this session takes 1 to ", options().batch, " frames a call, found ", n);
  }
  Plan& ready = plan_for(n);
  // Frames of an earlier call may lie beyond n: their patches are not copied out.
  const auto pixels = static_cast<std::size_t>(n * options().height * options().width);
  std::memcpy(ready.host_frames.data(), frames, pixels * size_of(options().frame_type));
  ready.replay->run();
  context().backend().synchronize();
  const auto* patches = ready.host_patches.data<float>();
  std::memcpy(amplitude, patches, pixels * sizeof(float));
  std::memcpy(phase, patches + ready.host_patches.elements() / 2, pixels * sizeof(float));
}

std::vector<StepTime> Session::profile() { return plan_for(options().batch).replay->profile(); }

std::size_t Session::arena_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [n, plan] : plans_) bytes += plan->replay->arena_bytes();
  return bytes;
}

}  // namespace ptynet
