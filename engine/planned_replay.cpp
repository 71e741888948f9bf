#include "engine/planned_replay.h"

namespace ptynet {

namespace {

// Gives the backend an allocator for the length of a scope.
class AllocatorScope {
 public:
  AllocatorScope(Backend& backend, Allocator& allocator) : backend_(backend) {
    backend_.set_allocator(&allocator);
  }
  ~AllocatorScope() { backend_.set_allocator(nullptr); }
  AllocatorScope(const AllocatorScope&) = delete;
  AllocatorScope& operator=(const AllocatorScope&) = delete;

 private:
  Backend& backend_;
};

}  // namespace

PlannedReplay::PlannedReplay(Context& context, const std::function<void()>& work)
    : arena_(context.backend().allocator()) {
  Backend& backend = context.backend();
  {
    const AllocatorScope scope(backend, arena_);
    backend.rehearse(work);  // the arena follows the life of every intermediate
  }
  backend.synchronize();
  backend.release_unused();
  arena_.place();
  {
    const AllocatorScope scope(backend, arena_);
    replay_ = backend.record(work);
  }
  backend.release_unused();
}

std::vector<StepTime> PlannedReplay::profile() {
  const std::vector<std::string> names = replay_->steps();
  const std::vector<double> seconds = replay_->time_steps();
  std::vector<StepTime> out;
  for (std::size_t i = 0; i < names.size(); ++i) out.push_back({names[i], seconds[i]});
  return out;
}

}  // namespace ptynet
