// How a probe differs from pattern to pattern, and what that makes of its spectrum.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "kernels/random.h"

namespace ptynet {

struct ProbeVariation {
  double shift_row_px = 0;
  double shift_column_px = 0;
  double defocus = 0;  // further along the beam, in units of pixel^2 / wavelength
  double scale = 1;    // of its counts
};

// The greatest variations; each is uniform between its negative and itself.
struct ProbeJitter {
  double shift_px = 0;
  double defocus = 0;  // in units of pixel^2 / wavelength; at most n, or the light wraps around
  double scale = 0;    // 0.2: counts between 0.8 and 1.2 times the probe's; below 1
  bool any() const { return shift_px != 0 || defocus != 0 || scale != 0; }
};

// An endless series of variations, each a pure function of its number.
struct ProbeSeries {
  std::uint64_t seed = 0;
  ProbeJitter jitter;
  // Counts over the probe's own, before jitter, drawn between the two evenly in the logarithm.
  double photons_low = 1;
  double photons_high = 1;
};

PTYNET_HOST_DEVICE inline ProbeVariation draw_variation(const ProbeSeries& series,
                                                        std::uint64_t number) {
  constexpr RandomName kJitter("probe-jitter");
  constexpr RandomName kPhotons("photons of a pattern");
  const CounterRandom random(series.seed, kJitter);
  const auto drawn = [&](std::uint64_t which, double most) {
    return most * (2 * random.uniform(4 * number + which) - 1);
  };
  const double share = CounterRandom(series.seed, kPhotons).uniform(number);
  const double photons =
      series.photons_low * std::pow(series.photons_high / series.photons_low, share);
  const ProbeJitter& most = series.jitter;
  return {drawn(0, most.shift_px), drawn(1, most.shift_px), drawn(2, most.defocus),
          (1 + drawn(3, most.scale)) * photons};
}

struct SpectrumFactor {
  float re;
  float im;
};

// Ramp and chirp at element i of n along one axis of a spectrum, zero frequency at 0:
// scale * exp(-i (2 pi k shift + pi defocus k^2)), k the frequency in 1 / px.
PTYNET_HOST_DEVICE inline SpectrumFactor axis_factor(std::int64_t i, std::int64_t n, double shift,
                                                     double defocus, double scale) {
  const double k = static_cast<double>(i < (n + 1) / 2 ? i : i - n) / static_cast<double>(n);
  const double phase = -std::numbers::pi * (2 * k * shift + defocus * k * k);
  return {static_cast<float>(scale * std::cos(phase)), static_cast<float>(scale * std::sin(phase))};
}

// A spectrum's element at (row, column) times row_factor() and column_factor() is that of the
// varied probe, in an endless repetition of the frame.
PTYNET_HOST_DEVICE inline SpectrumFactor row_factor(const ProbeVariation& v, std::int64_t row,
                                                    std::int64_t h) {
  return axis_factor(row, h, v.shift_row_px, v.defocus, v.scale > 0 ? std::sqrt(v.scale) : 0);
}
PTYNET_HOST_DEVICE inline SpectrumFactor column_factor(const ProbeVariation& v, std::int64_t column,
                                                       std::int64_t w) {
  return axis_factor(column, w, v.shift_column_px, v.defocus, 1);
}

}  // namespace ptynet
