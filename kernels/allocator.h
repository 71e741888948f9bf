// Who gives arrays their memory: a pool for eager work, an arena for a planned sequence.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "kernels/array.h"

namespace ptynet {

class Allocator {
 public:
  virtual ~Allocator() = default;
  // Uninitialised; the memory goes back when the last Array on it is gone.
  virtual Array allocate(const Shape& shape, DType type) = 0;
};

// Raw memory of a device, as a backend hands it out.
using RawAllocate = std::function<std::shared_ptr<void>(std::size_t bytes)>;
std::shared_ptr<void> allocate_host_memory(std::size_t bytes);

// Keeps freed blocks for the next request of the same size class. Thread-safe.
class MemoryPool final : public Allocator {
 public:
  explicit MemoryPool(Device device = {}, RawAllocate raw = allocate_host_memory);
  Array allocate(const Shape& shape, DType type) override;
  // Gives memory that nobody uses back to the system.
  void trim();
  std::size_t bytes_held() const;  // used and unused

 private:
  struct State;
  std::shared_ptr<State> state_;
  Device device_;
  RawAllocate raw_;
};

// Memory planning for a sequence of operations that is always the same. The first run measures:
// arrays get memory from `backing`, while the arena follows their life times and finds the peak.
// After place(), the same sequence of requests gets the same offsets in one slab of that size.
// One thread at a time; arrays may outlive the arena.
class Arena final : public Allocator {
 public:
  explicit Arena(Allocator& backing);
  Array allocate(const Shape& shape, DType type) override;
  // Allocates the slab; every array of the measuring run must be gone.
  void place();
  std::size_t peak_bytes() const;

 private:
  struct State;
  Allocator& backing_;
  std::shared_ptr<State> state_;
};

}  // namespace ptynet
