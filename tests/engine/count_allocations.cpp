#include "tests/engine/count_allocations.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string_view>

namespace ptynet::tests {

namespace {

std::atomic<bool> counting{false};
std::atomic<int> own_allocations{0};
std::atomic<int> onednn_allocations{0};

}  // namespace

#ifdef PTYNET_COUNTS_ALLOCATIONS
// Whose it is, is told by who called.
void note_allocation(const void* caller) {
  if (!counting.load(std::memory_order_relaxed)) return;
  Dl_info info{};
  const bool named = dladdr(caller, &info) != 0 && info.dli_fname != nullptr;
  const bool onednn =
      named && std::string_view(info.dli_fname).find("dnnl") != std::string_view::npos;
  (onednn ? onednn_allocations : own_allocations).fetch_add(1);
}
#endif

AllocationCount::AllocationCount() {
  own_allocations = 0;
  onednn_allocations = 0;
  counting = true;
}
AllocationCount::~AllocationCount() { counting = false; }
int AllocationCount::own() const { return own_allocations; }
int AllocationCount::of_onednn() const { return onednn_allocations; }

}  // namespace ptynet::tests

#ifdef PTYNET_COUNTS_ALLOCATIONS
void* operator new(std::size_t bytes) {
  ptynet::tests::note_allocation(__builtin_return_address(0));
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif
