// Photon noise: exact Poisson samples from counter-based random numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/random.h"

namespace ptynet {

// What 32 bits hold, but for the largest value, which marks faults: no detector counts so far.
inline constexpr double kMostCounts = 4294967294.0;

// A Poisson sample of that mean from the numbers random.uniform(first + k * stride), k = 0, 1, ...;
// how many it takes differs. Below mean 10 by inversion, from there on by transformed rejection
// (PTRS: Hoermann, Insurance: Mathematics and Economics 12, 39, 1993). Not the standard library's
// distribution: that differs from library to library. A mean that is not above 0 gives 0. Throws
// Error (input) for one that is not a number or over kMostCounts.
std::int64_t poisson(double mean, const CounterRandom& random, std::uint64_t first,
                     std::uint64_t stride);

// The numbers of one frame's noise.
CounterRandom photon_stream(std::uint64_t seed, std::uint64_t frame);

// A sample of the expected counts of each pixel. Pure function of its arguments; may run on several
// threads. Throws as poisson().
std::vector<double> poisson_counts(const float* expected, std::int64_t pixels, std::uint64_t seed,
                                   std::uint64_t frame);

}  // namespace ptynet
