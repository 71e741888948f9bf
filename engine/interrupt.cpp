#include "engine/interrupt.h"

#include <csignal>

namespace ptynet {

namespace {

volatile std::sig_atomic_t flag = 0;
struct sigaction before_int {};
struct sigaction before_term {};

// Handlers may do little: the flag, and from now on the usual end.
void raise_flag(int /*signal*/) {
  flag = 1;
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  flag = 0;
  struct sigaction action {};
  action.sa_handler = raise_flag;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &before_int);
  sigaction(SIGTERM, &action, &before_term);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &before_int, nullptr);
  sigaction(SIGTERM, &before_term, nullptr);
}

bool InterruptGuard::requested() { return flag != 0; }

}  // namespace ptynet
