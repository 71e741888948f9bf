// Photon noise: exact Poisson samples from counter-based random numbers.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/random.h"

namespace ptynet {

// What 32 bits hold, but for the largest value, which marks faults: no detector counts so far.
inline constexpr double kMostCounts = 4294967294.0;

// The numbers of one frame's noise.
PTYNET_HOST_DEVICE inline CounterRandom photon_stream(std::uint64_t seed, std::uint64_t frame) {
  constexpr RandomName kFrames("noise");
  constexpr RandomName kPixels("poisson");
  return {CounterRandom(seed, kFrames).bits(frame), kPixels};
}

// ln k!. Small ones from a table, others by Stirling's series, whose error is below 1e-11 there.
// (std::lgamma writes a global.)
PTYNET_HOST_DEVICE inline double log_factorial(double k) {
  static constexpr double kSmall[] = {0.0,
                                      0.0,
                                      0.69314718055994531,
                                      1.79175946922805500,
                                      3.17805383034794562,
                                      4.78749174278204599,
                                      6.57925121201010100,
                                      8.52516136106541430,
                                      10.6046029027452502,
                                      12.8018274800814696};
  if (k < 10) return kSmall[static_cast<int>(k)];
  const double n = k + 1;
  const double inverse = 1 / n;
  const double square = inverse * inverse;
  const double half_log_two_pi = 0.91893853320467274;
  return (n - 0.5) * std::log(n) - n + half_log_two_pi +
         inverse * (1.0 / 12 - square * (1.0 / 360 - square * (1.0 / 1260 - square / 1680)));
}

// A Poisson sample of that mean, below 10, from a number in [0, 1).
PTYNET_HOST_DEVICE inline double poisson_by_inversion(double mean, double u) {
  double probability = std::exp(-mean);
  double below = probability;
  double k = 0;
  // The last terms vanish beside `below`: the bound is for a u that rounding leaves above all sums.
  while (u >= below && k < 200) {
    ++k;
    probability *= mean / k;
    below += probability;
  }
  return k;
}

// The same from mean 10 on, by transformed rejection (PTRS: Hoermann, Insurance: Mathematics and
// Economics 12, 39, 1993), from the numbers random.uniform(first + k * stride), k = 0, 1, ...
PTYNET_HOST_DEVICE inline double poisson_by_rejection(double mean, const CounterRandom& random,
                                                      std::uint64_t first, std::uint64_t stride) {
  const double b = 0.931 + 2.53 * std::sqrt(mean);
  const double a = -0.059 + 0.02483 * b;
  const double v_r = 0.9277 - 3.6224 / (b - 2);
  for (std::uint64_t counter = first;; counter += 2 * stride) {
    const double u = random.uniform(counter) - 0.5;
    const double v = random.uniform(counter + stride);
    const double us = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / us + b) * u + mean + 0.43);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    if (std::log(v * inverse_alpha / (a / (us * us) + b)) <=
        k * std::log(mean) - mean - log_factorial(k)) {
      return k;
    }
  }
}

// A Poisson sample of that mean from the numbers random.uniform(first + k * stride), k = 0, 1, ...;
// how many it takes differs. Not the standard library's distribution: that differs from library to
// library. A mean that is not above 0 gives 0. NaN and what is over kMostCounts are left as they
// are: noise would be below 2e-5 of it.
PTYNET_HOST_DEVICE inline double poisson_sample(double mean, const CounterRandom& random,
                                                std::uint64_t first, std::uint64_t stride) {
  if (!(mean <= kMostCounts)) return mean;
  if (!(mean > 0)) return 0;
  if (mean < 10) return poisson_by_inversion(mean, random.uniform(first));
  return poisson_by_rejection(mean, random, first, stride);
}

}  // namespace ptynet
