// cos and sin of one angle without a branch or a call, so that loops over it become vector code.
#pragma once

#include <bit>
#include <cstdint>
#include <numbers>

#include "kernels/math.h"

namespace ptynet {

struct UnitPhasor {
  float cosine;
  float sine;
};

// To 1e-7 for |angle| up to 2^30 rad; beyond, where floats are 128 rad apart, no more than bounded.
// The angle is brought to within an eighth of a turn of the nearest quarter turn, in double, where
// both Taylor series end below float's rounding. NaN and infinities give NaN.
PTYNET_HOST_DEVICE inline UnitPhasor unit_phasor(float angle) {
  constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52 leaves whole numbers in the mantissa
  constexpr float kMostRest = 0.7854F;
  const double shifted = double{angle} * (2.0 / std::numbers::pi) + kMagic;
  const double quarters = shifted - kMagic;
  const auto rest = static_cast<float>(double{angle} - quarters * (std::numbers::pi / 2.0));
  const auto quarter = static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(shifted));
  const float r = rest > kMostRest ? kMostRest : (rest < -kMostRest ? -kMostRest : rest);
  const float z = r * r;
  const float odd =
      r + r * z * (-1.0F / 6 + z * (1.0F / 120 + z * (-1.0F / 5040 + z * (1.0F / 362880))));
  const float even =
      1.0F - 0.5F * z +
      z * z * (1.0F / 24 + z * (-1.0F / 720 + z * (1.0F / 40320 - z * (1.0F / 3628800))));
  const bool turned = (quarter & 1U) != 0;
  const auto signed_by = [](float v, std::uint32_t half_turns) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(v) ^ (half_turns & 2U) << 30);
  };
  return {signed_by(turned ? odd : even, quarter + 1), signed_by(turned ? even : odd, quarter)};
}

struct PolarSlopes {
  float amplitude;
  float phase;
};

// Of what has the slopes (re, im) by the parts of amplitude * exp(i phase); u = exp(i phase).
PTYNET_HOST_DEVICE inline PolarSlopes polar_slopes(float amplitude, const UnitPhasor& u, float re,
                                                   float im) {
  return {u.cosine * re + u.sine * im, amplitude * (u.cosine * im - u.sine * re)};
}

}  // namespace ptynet
