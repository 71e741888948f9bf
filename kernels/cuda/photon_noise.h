// Photon noise of simulated frames, by kernels/poisson.h.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

// f32 [n, h, w] on the device, pixels = h w; `counts` may be `expected`. Frame i takes the numbers
// of photon_stream(seed, *first + i).
struct NoisyFrames {
  int n, pixels;
  const float* expected;
  float* counts;
};
void photon_noise(const NoisyFrames& frames, std::uint64_t seed, const double* first,
                  Stream stream);

}  // namespace ptynet::cuda
