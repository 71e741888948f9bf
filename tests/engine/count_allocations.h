// Counts the allocations of a stretch of work, on every thread, by replacing operator new.
#pragma once

// The sanitizers bring an operator new of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PTYNET_COUNTS_ALLOCATIONS
#endif

namespace ptynet::tests {

// From construction on. One at a time.
class AllocationCount {
 public:
  AllocationCount();
  ~AllocationCount();
  AllocationCount(const AllocationCount&) = delete;
  AllocationCount& operator=(const AllocationCount&) = delete;

  // Asked for by this program's own code.
  int own() const;
  // By oneDNN, which makes a small map of arguments within each of its primitives.
  int of_onednn() const;
};

}  // namespace ptynet::tests
