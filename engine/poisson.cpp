#include "engine/poisson.h"

#include "kernels/error.h"

namespace ptynet {

std::int64_t poisson(double mean, const CounterRandom& random, std::uint64_t first,
                     std::uint64_t stride) {
  if (!(mean <= kMostCounts)) {
    fail_input("a pixel would have ", mean, " counts on average: expected at most ", kMostCounts,
               ", which 32 bits hold; give fewer photons or less background");
  }
  return static_cast<std::int64_t>(poisson_sample(mean, random, first, stride));
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
