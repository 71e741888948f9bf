// What both directions of a batch norm share. Sums over pixels are taken in float over blocks that
// stay in the cache, and from there in double; which pixels meet in which order depends on the
// shape alone, not on the threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/array.h"

namespace ptynet::cpu {

inline constexpr std::int64_t kBlockPixels = 64;
inline constexpr std::int64_t kMostParts = 64;

// All pixels of a batch, cut into parts for the threads.
struct Pixels {
  std::int64_t count, c;

  explicit Pixels(const Array& x)
      : count(x.elements() / std::max<std::int64_t>(x.shape()[3], 1)), c(x.shape()[3]) {}
  std::int64_t blocks() const { return (count + kBlockPixels - 1) / kBlockPixels; }
  std::int64_t parts() const { return std::clamp<std::int64_t>(blocks(), 1, kMostParts); }
  std::int64_t first(std::int64_t part) const {
    return std::min(part * blocks() / parts() * kBlockPixels, count);
  }
};

// Per channel, of some pixels: their mean and the sum of squared deviations from it.
struct Moments {
  double* mean;
  double* spread;
};

// Scratch memory of a reduction: what each part found, and its room for blocks.
struct Partial {
  double* sums;  // [parts, 4, c]: of the part, of the block under way
  float* room;   // [parts, 3, c]
  std::int64_t c;

  Moments part(std::int64_t i) const { return {sums + i * 4 * c, sums + (i * 4 + 1) * c}; }
  Moments block(std::int64_t i) const { return {sums + (i * 4 + 2) * c, sums + (i * 4 + 3) * c}; }
  float* block_room(std::int64_t i) const { return room + i * 3 * c; }
};

// Runs body(first row, rows of it) by fours and then by ones, the number known to the compiler: a
// sum over four rows is read and written once.
template <typename Body>
void by_rows(std::int64_t rows, const Body& body) {
  std::int64_t row = 0;
  for (; row + 4 <= rows; row += 4) body(row, std::integral_constant<std::int64_t, 4>{});
  for (; row < rows; ++row) body(row, std::integral_constant<std::int64_t, 1>{});
}

// Per channel: y = activation((x - mean) * scale + shift).
struct Normalisation {
  const float* mean;
  const float* scale;
  const float* shift;
};

}  // namespace ptynet::cpu
