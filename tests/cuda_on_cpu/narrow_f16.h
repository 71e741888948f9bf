// float -> f16 for the host, where bf16's twin is kernels/math.h.
#pragma once

#include <bit>
#include <cmath>

#include "kernels/dtype.h"

namespace ptynet::cuda {

// Round to nearest, ties to even; subnormals and infinities included.
inline Half narrow_f16(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  const auto with_sign = [sign](std::uint32_t half) {
    return Half{static_cast<std::uint16_t>(sign | half)};
  };
  if (magnitude > 0x7F800000U) return with_sign(0x7E00);   // NaN
  if (magnitude >= 0x477FF000U) return with_sign(0x7C00);  // from 65520 on: infinity
  if (magnitude < 0x38800000U) {                           // below 2^-14: whole multiples of 2^-24
    const float units = std::bit_cast<float>(magnitude) * 0x1p24F;
    return with_sign(static_cast<std::uint32_t>(std::nearbyint(units)));
  }
  const std::uint32_t rounded = magnitude + 0xFFFU + (magnitude >> 13 & 1U);
  return with_sign((rounded >> 13) - (112U << 10));
}

}  // namespace ptynet::cuda
