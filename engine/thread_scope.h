// Internal: threads of the loops of a job.
#pragma once

#include <omp.h>

namespace ptynet {

// While it lives, OpenMP loops of this thread have as many threads as the job's backend, and the
// caller's own number afterwards. 0: as it is.
class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) {
    if (threads > 0) omp_set_num_threads(threads);
  }
  ~ThreadScope() { omp_set_num_threads(before_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

}  // namespace ptynet
