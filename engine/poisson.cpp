#include "engine/poisson.h"

#include <array>
#include <cmath>

#include "kernels/error.h"

namespace ptynet {

namespace {

// ln k!. Small ones from a table, others by Stirling's series, whose error is below 1e-11 there.
// (std::lgamma writes a global.)
double log_factorial(double k) {
  static constexpr std::array<double, 10> kSmall = {0.0,
                                                    0.0,
                                                    0.69314718055994531,
                                                    1.79175946922805500,
                                                    3.17805383034794562,
                                                    4.78749174278204599,
                                                    6.57925121201010100,
                                                    8.52516136106541430,
                                                    10.6046029027452502,
                                                    12.8018274800814696};
  if (k < 10) return kSmall[static_cast<std::size_t>(k)];
  const double n = k + 1;
  const double inverse = 1 / n;
  const double square = inverse * inverse;
  const double half_log_two_pi = 0.91893853320467274;
  return (n - 0.5) * std::log(n) - n + half_log_two_pi +
         inverse * (1.0 / 12 - square * (1.0 / 360 - square * (1.0 / 1260 - square / 1680)));
}

std::int64_t by_inversion(double mean, double u) {
  double probability = std::exp(-mean);
  double below = probability;
  std::int64_t k = 0;
  // The last terms vanish beside `below`: the bound is for a u that rounding leaves above all sums.
  while (u >= below && k < 200) {
    ++k;
    probability *= mean / static_cast<double>(k);
    below += probability;
  }
  return k;
}

}  // namespace

std::int64_t poisson(double mean, const CounterRandom& random, std::uint64_t first,
                     std::uint64_t stride) {
  if (!(mean <= kMostCounts)) {
    fail_input("a pixel would have ", mean, " counts on average: expected at most ", kMostCounts,
               ", which 32 bits hold; give fewer photons or less background");
  }
  if (!(mean > 0)) return 0;
  if (mean < 10) return by_inversion(mean, random.uniform(first));
  const double b = 0.931 + 2.53 * std::sqrt(mean);
  const double a = -0.059 + 0.02483 * b;
  const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
  const double v_r = 0.9277 - 3.6224 / (b - 2);
  const double log_mean = std::log(mean);
  for (std::uint64_t counter = first;; counter += 2 * stride) {
    const double u = random.uniform(counter) - 0.5;
    const double v = random.uniform(counter + stride);
    const double us = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / us + b) * u + mean + 0.43);
    if (us >= 0.07 && v <= v_r) return static_cast<std::int64_t>(k);
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (std::log(v * inverse_alpha / (a / (us * us) + b)) <=
        k * log_mean - mean - log_factorial(k)) {
      return static_cast<std::int64_t>(k);
    }
  }
}

CounterRandom photon_stream(std::uint64_t seed, std::uint64_t frame) {
  return {CounterRandom(seed, "noise").bits(frame), "poisson"};
}

std::vector<double> poisson_counts(const float* expected, std::int64_t pixels, std::uint64_t seed,
                                   std::uint64_t frame) {
  const CounterRandom random = photon_stream(seed, frame);
  const auto stride = static_cast<std::uint64_t>(pixels);
  std::vector<double> out(static_cast<std::size_t>(pixels));
  for (std::size_t p = 0; p < out.size(); ++p) {
    out[p] = static_cast<double>(poisson(double{expected[p]}, random, p, stride));
  }
  return out;
}

}  // namespace ptynet
