// A recording whose intermediates have their places in one arena.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/context.h"

namespace ptynet {

struct StepTime {
  std::string name;
  double seconds = 0;
};

// run() allocates nothing. Must not outlive the context. Used by one thread at a time.
class PlannedReplay {
 public:
  // Goes through `work` twice: to learn what memory it asks for and when, and to record it. What
  // `work` reads and writes beyond its own intermediates must have been allocated before.
  PlannedReplay(Context& context, const std::function<void()>& work);

  void run() { replay_->run(); }
  // Seconds of each step of one run.
  std::vector<StepTime> profile();
  std::size_t arena_bytes() const { return arena_.peak_bytes(); }

 private:
  Arena arena_;
  std::unique_ptr<Replay> replay_;
};

}  // namespace ptynet
