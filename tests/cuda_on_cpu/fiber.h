// A function on a stack of its own, which can pause in the middle and go on later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>

namespace ptynet::cuda::twin {

// The operating-system thread that made a fiber resumes it.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // What the next resume() begins with; a body that had not ended is forgotten.
  void start(std::function<void()> body);
  // Runs the body until it pauses or ends. Throws what the body threw.
  void resume();
  // Called from within the body: back to who resumed it.
  void pause();
  bool ended() const { return ended_; }

 private:
  static void enter();
  void leave(bool for_good);

  struct Context;  // where a stack of execution stands
  std::unique_ptr<std::byte[]> stack_;
  std::unique_ptr<Context> own_;
  std::unique_ptr<Context> resumer_;
  std::function<void()> body_;
  std::exception_ptr failure_;
  bool ended_ = true;
  bool waiting_ = false;  // within enter(), for the next body
};

}  // namespace ptynet::cuda::twin
