// Internal: threads of loops.
#pragma once

#include <omp.h>

namespace ptynet {

// While it lives, OpenMP loops that this thread starts have so many threads, and the number of
// before afterwards. 0: as it is.
class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) {
    if (threads > 0 && threads != before_) omp_set_num_threads(threads);
  }
  ~ThreadScope() {
    if (omp_get_max_threads() != before_) omp_set_num_threads(before_);
  }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

}  // namespace ptynet
