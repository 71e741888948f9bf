// Counter-based random numbers: the value at index i depends on seed, name and i alone.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/math.h"

namespace ptynet {

// A stream's name as numbers are drawn with it, FNV-1a(name). Device code has no strings: there it
// is a constexpr variable.
struct RandomName {
  constexpr explicit RandomName(std::string_view name) {
    for (const char letter : name) {
      hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001B3U;
    }
  }
  std::uint64_t hash = 0xCBF29CE484222325U;
};

// SplitMix64 (Steele, Lea, Flood 2014) of FNV-1a(name) + seed * golden + (i + 1) * golden: the
// same stream as the Python oracle, in any order and on any device.
class CounterRandom {
 public:
  CounterRandom(std::uint64_t seed, std::string_view name)
      : CounterRandom(seed, RandomName(name)) {}
  PTYNET_HOST_DEVICE CounterRandom(std::uint64_t seed, RandomName name)
      : key_(name.hash + seed * kGolden) {}

  PTYNET_HOST_DEVICE std::uint64_t bits(std::uint64_t i) const {
    std::uint64_t z = key_ + (i + 1) * kGolden;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
  }

  // In [0, 1), 53 bits.
  PTYNET_HOST_DEVICE double uniform(std::uint64_t i) const {
    return static_cast<double>(bits(i) >> 11) * 0x1p-53;
  }

 private:
  static constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15U;
  std::uint64_t key_;
};

}  // namespace ptynet
