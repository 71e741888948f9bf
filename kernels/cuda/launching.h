// What launchers share: which kernel an array's type and place call for, and how many blocks.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/count_type.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/stream.h"
#include "kernels/error.h"

namespace ptynet::cuda {

// Calls body with a value of the type that arrays of `precision` hold.
template <typename Body>
void with_element(Precision precision, Body&& body) {
  switch (precision) {
    case Precision::kBf16:
      return body(Bfloat16{});
    case Precision::kF16:
      return body(Half{});
    default:
      return body(float{});
  }
}

// Calls body with a value of the type that names what multiplies in `precision`: float (no tensor
// cores), Tf32, Bfloat16 or Half.
template <typename Body>
auto with_math(Precision precision, Body&& body) {
  switch (precision) {
    case Precision::kTf32:
      return body(Tf32{});
    case Precision::kBf16:
      return body(Bfloat16{});
    case Precision::kF16:
      return body(Half{});
    default:
      return body(float{});
  }
}

// Whether all pointers are multiples of `bytes`. Null ones are.
template <typename... Pointers>
bool are_aligned(std::size_t bytes, const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % bytes == 0) && ...);
}

// Blocks of `threads` for so many work items, which kernels number by an int.
inline int blocks_for(const char* kernel, std::int64_t items, int threads) {
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  if (items < 1) fail_runtime(kernel, " takes at least one value, found ", items);
  if (items > kMost - threads) {
    fail_runtime(kernel, " takes arrays of up to ", kMost - threads, " vectors, found ", items,
                 ": use smaller batches");
  }
  return static_cast<int>((items + threads - 1) / threads);
}

// A grid of the frames along x, and of a frame's blocks along y.
inline Index3 grid_of(const char* kernel, int frames, int blocks) {
  constexpr int kMostBlocks = 65535;
  if (frames < 1) fail_runtime(kernel, " takes at least one frame, found ", frames);
  if (blocks > kMostBlocks) {
    fail_runtime(kernel, " takes frames of up to ", kMostBlocks, " blocks, found ", blocks,
                 ": use smaller frames");
  }
  return {frames, blocks};
}

}  // namespace ptynet::cuda
