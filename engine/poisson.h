// Photon noise on the host (kernels/poisson.h has the samples), of counts that a detector can have.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/poisson.h"

namespace ptynet {

// poisson_sample() for who must not take what is no count. Throws Error (input) for a mean that is
// not a number or over kMostCounts.
std::int64_t poisson(double mean, const CounterRandom& random, std::uint64_t first,
                     std::uint64_t stride);

// A sample of the expected counts of each pixel. Pure function of its arguments; may run on several
// threads. Throws as poisson().
std::vector<double> poisson_counts(const float* expected, std::int64_t pixels, std::uint64_t seed,
                                   std::uint64_t frame);

}  // namespace ptynet
