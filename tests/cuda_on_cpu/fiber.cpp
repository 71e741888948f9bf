#include "tests/cuda_on_cpu/fiber.h"

#include <array>
#include <cstring>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace ptynet::cuda::twin {

namespace {

constexpr std::size_t kStackBytes = std::size_t{128} << 10;

thread_local Fiber* entering = nullptr;  // the fiber that enter() begins

}  // namespace

#ifdef __x86_64__

// ucontext asks the kernel for the signal mask at every switch, and a matrix product takes 32
// switches: here only what a function call preserves is kept, on the stack that is left.
extern "C" void ptynet_switch_stack(void** left, void* entered);
asm(R"(
.text
.type ptynet_switch_stack, @function
ptynet_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ptynet_switch_stack, . - ptynet_switch_stack
)");

struct Fiber::Context {
  void* top = nullptr;

  void prepare(std::byte* stack, void (*entry)()) {
    constexpr std::size_t kSaved = 6;  // registers that the switch pops
    std::array<void*, kSaved + 2> frame{};
    frame[kSaved] = reinterpret_cast<void*>(entry);  // then a return address that nobody uses
    top = stack + kStackBytes - sizeof(frame);
    std::memcpy(top, frame.data(), sizeof(frame));
  }
  static void change(Context& left, Context& entered) {
    ptynet_switch_stack(&left.top, entered.top);
  }
#else

struct Fiber::Context {
  ucontext_t state{};

  void prepare(std::byte* stack, void (*entry)()) {
    getcontext(&state);
    state.uc_stack.ss_sp = stack;
    state.uc_stack.ss_size = kStackBytes;
    makecontext(&state, entry, 0);
  }
  static void change(Context& left, Context& entered) { swapcontext(&left.state, &entered.state); }
#endif

  // For AddressSanitizer: the stack that this context runs on, and its frames kept on the heap.
  const void* bottom = nullptr;
  std::size_t bytes = 0;
  void* heap_frames = nullptr;

  // Around change(): `from` is left, for good or not; arrived() is called on the other side.
  static void leaving([[maybe_unused]] Context& from, [[maybe_unused]] const Context& to,
                      [[maybe_unused]] bool for_good) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(for_good ? nullptr : &from.heap_frames, to.bottom, to.bytes);
#endif
  }
  static void arrived([[maybe_unused]] const Context& at, [[maybe_unused]] Context& from) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(at.heap_frames, &from.bottom, &from.bytes);
#endif
  }
};

Fiber::Fiber()
    : stack_(std::make_unique_for_overwrite<std::byte[]>(kStackBytes)),
      own_(std::make_unique<Context>()),
      resumer_(std::make_unique<Context>()) {}

Fiber::~Fiber() {
  if (!waiting_) return;
  body_ = nullptr;  // enter() ends, and AddressSanitizer gives up what it holds for the stack
  failure_ = nullptr;
  resume();
}

void Fiber::start(std::function<void()> body) {
  body_ = std::move(body);
  failure_ = nullptr;
  ended_ = false;
  if (waiting_) return;  // a new stack would cost AddressSanitizer new frames on the heap
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(stack_.get(), kStackBytes);  // frames of a body that was forgotten
#endif
  *own_ = {};
  own_->bottom = stack_.get();
  own_->bytes = kStackBytes;
  own_->prepare(stack_.get(), enter);
}

void Fiber::resume() {
  entering = this;
  Context::leaving(*resumer_, *own_, false);
  Context::change(*resumer_, *own_);
  Context seen;  // the fiber's own stack, known already
  Context::arrived(*resumer_, seen);
  if (failure_) std::rethrow_exception(failure_);
}

void Fiber::pause() { leave(false); }

void Fiber::leave(bool for_good) {
  Context::leaving(*own_, *resumer_, for_good);
  Context::change(*own_, *resumer_);
  Context::arrived(*own_, *resumer_);
}

void Fiber::enter() {
  Fiber& self = *entering;
  Context::arrived(*self.own_, *self.resumer_);
  while (self.body_) {
    self.waiting_ = false;
    try {
      self.body_();
    } catch (...) {
      self.failure_ = std::current_exception();
    }
    self.body_ = nullptr;
    self.ended_ = true;
    self.waiting_ = true;
    self.leave(false);
  }
  self.leave(true);
}

}  // namespace ptynet::cuda::twin
