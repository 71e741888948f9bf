// The host twin of a device, as tests steer and question it. Kernels know it by
// kernels/cuda/device_host.h.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/cuda/device.h"

namespace ptynet::cuda::twin {

// In which order warps of a block, and lanes of a warp, get to run. A warp runs until all its lanes
// wait for the block: a kernel that is right in one order only lacks a barrier.
enum class Order : std::uint8_t { kAscending, kDescending, kRandom };
void set_order(Order order, std::uint64_t seed = 0);

// Work of a capture, in the order of its stream.
struct Captured {
  Stream stream = nullptr;
  std::function<void()> work;
  // Instead of work: it waits for what `other` had been given before entry `before` of the capture.
  Stream other = nullptr;
  std::size_t before = 0;
};

// From here on the calling thread's work is not done but kept, until end_capture() hands it out.
// One at a time in a thread.
void start_capture();
std::vector<Captured> end_capture();
// Entries of the capture under way; 0 without one.
std::size_t captured();
void submit_wait(Stream stream, Stream other, std::size_t before);

// What warps asked of the memories and matrix units.
struct Counts {
  std::int64_t global_accesses = 0;  // of a warp
  std::int64_t global_sectors = 0;   // of 32 bytes
  std::int64_t shared_accesses = 0;  // of a warp, in parts of at most 128 bytes
  std::int64_t shared_waves = 0;     // that those parts take: 1 each without bank conflicts
  std::int64_t matrix_instructions = 0;
};

// Counts all launches of its life. One at a time.
class Counting {
 public:
  Counting();
  ~Counting();
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;
  const Counts& counts() const;
};

}  // namespace ptynet::cuda::twin
