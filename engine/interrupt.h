// Ctrl-C that lets a job end in order.
#pragma once

namespace ptynet {

// While one lives, the first SIGINT or SIGTERM only raises a flag, which the job looks at between
// its steps, and the next one kills the program. So it should live no longer than the flag is
// looked at; what came in its last moment requested() tells even after its end. At most one at a
// time, made and destroyed by the same thread; requested() may be called by any.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();  // puts back what there was before, and keeps the flag
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool requested();
};

}  // namespace ptynet
