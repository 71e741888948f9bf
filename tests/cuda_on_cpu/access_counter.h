// Puts the accesses of 32 lanes together to those of a warp, and counts what they cost.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "tests/cuda_on_cpu/twin.h"

namespace ptynet::cuda::twin {

enum class Space : std::uint8_t { kGlobal, kShared };

// Lanes run one after the other, so that a warp's access is known by its line of code and by how
// often the lane came there before.
class AccessCounter {
 public:
  void note(int thread, const Site& site, Space space, const void* address, std::size_t bytes);
  // Counts what was noted of the block that ends.
  void end_block(Counts& counts);

 private:
  struct Access {
    Space space;
    std::size_t bytes;
    std::vector<std::uintptr_t> addresses;  // in the order of lanes where those ascend
    std::vector<int> lanes;
  };
  using Key = std::uint64_t;
  static void count(const Access& access, Counts& counts);
  static void count_shared(const Access& access, Counts& counts);

  std::unordered_map<Key, std::uint32_t> visits_;  // of a thread to a line
  std::unordered_map<Key, Access> accesses_;       // of a warp
};

}  // namespace ptynet::cuda::twin
