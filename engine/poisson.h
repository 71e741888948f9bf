// Photon noise: exact Poisson samples from counter-based random numbers.
#pragma once

#include <cstdint>

#include "kernels/random.h"

namespace ptynet {

// A Poisson sample of that mean from the numbers random.uniform(first + k * stride), k = 0, 1, ...;
// how many it takes differs. Below mean 10 by inversion, from there on by transformed rejection
// (PTRS: Hoermann, Insurance: Mathematics and Economics 12, 39, 1993). Not the standard library's
// distribution: that differs from library to library. A mean that is not above 0 gives 0.
std::int64_t poisson(double mean, const CounterRandom& random, std::uint64_t first,
                     std::uint64_t stride);

// The numbers of one frame's noise.
CounterRandom photon_stream(std::uint64_t seed, std::uint64_t frame);

// Replaces expected counts by a sample of them, pixel by pixel. Pure function of (seed, frame);
// may run on several threads. Counts over 2^24 are rounded to what a float holds.
void add_poisson_noise(float* counts, std::int64_t pixels, std::uint64_t seed, std::uint64_t frame);

}  // namespace ptynet
