// Scalar arithmetic written once, for every backend that loops over it.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/dtype.h"

#ifdef __CUDACC__
#define PTYNET_HOST_DEVICE __host__ __device__
#else
#define PTYNET_HOST_DEVICE
#endif

namespace ptynet {

enum class FftDirection : std::uint8_t { kForward, kInverse };

// leaky_relu: alpha is the slope below 0; hardtanh: clamp to [alpha, beta].
enum class ActivationKind : std::uint8_t { kNone, kLeakyRelu, kRelu, kHardtanh, kSigmoid, kTanh };
struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float alpha = 0;
  float beta = 0;
  bool operator==(const Activation&) const = default;
};

// In Real = float on devices; in double in the reference backend.
template <typename Real>
PTYNET_HOST_DEVICE inline Real activate(Real v, const Activation& a) {
  switch (a.kind) {
    case ActivationKind::kNone:
      return v;
    case ActivationKind::kLeakyRelu:
      return v > 0 ? v : v * static_cast<Real>(a.alpha);
    case ActivationKind::kRelu:
      return v > 0 ? v : Real{0};
    case ActivationKind::kHardtanh: {
      const Real low = static_cast<Real>(a.alpha);
      const Real high = static_cast<Real>(a.beta);
      return v < low ? low : (v > high ? high : v);
    }
    case ActivationKind::kSigmoid:
      return Real{1} / (Real{1} + std::exp(-v));
    case ActivationKind::kTanh:
      return std::tanh(v);
  }
  return v;
}

// The activation's derivative where it gave y. At a kink it is PyTorch's: that of the lower side,
// and 0 at both ends of a clamp. (leaky_relu needs alpha >= 0, or y would not tell the side.)
template <typename Real>
PTYNET_HOST_DEVICE inline Real activation_slope(Real y, const Activation& a) {
  switch (a.kind) {
    case ActivationKind::kNone:
      return Real{1};
    case ActivationKind::kLeakyRelu:
      return y > 0 ? Real{1} : static_cast<Real>(a.alpha);
    case ActivationKind::kRelu:
      return y > 0 ? Real{1} : Real{0};
    case ActivationKind::kHardtanh:
      return y > static_cast<Real>(a.alpha) && y < static_cast<Real>(a.beta) ? Real{1} : Real{0};
    case ActivationKind::kSigmoid:
      return y * (Real{1} - y);
    case ActivationKind::kTanh:
      return Real{1} - y * y;
  }
  return Real{1};
}

// A value of a batch norm, before its activation: the difference first, for means far larger than
// the spread.
template <typename Real>
PTYNET_HOST_DEVICE inline Real normalised(Real x, Real mean, Real scale, Real shift) {
  return (x - mean) * scale + shift;
}

// Of the values of one channel, over n, h and w.
struct ChannelMoments {
  double count;
  double mean;
  double spread;  // sum of squared deviations from the mean

  PTYNET_HOST_DEVICE double unbiased_variance() const {
    return spread / (count > 2.0 ? count - 1.0 : 1.0);
  }
};

// What a batch's own moments make of a channel of its batch norm (BatchStatistics of
// kernels/backend.h).
template <typename Real>
struct ChannelNorm {
  Real mean;
  Real inverse_std;
  Real scale;
  Real shift;

  PTYNET_HOST_DEVICE static ChannelNorm of(const ChannelMoments& batch, Real weight, Real bias,
                                           double epsilon) {
    ChannelNorm out;
    out.mean = static_cast<Real>(batch.mean);
    out.inverse_std = static_cast<Real>(1.0 / std::sqrt(batch.spread / batch.count + epsilon));
    out.scale = weight * out.inverse_std;
    // With what rounding took from the mean.
    const double lost = static_cast<double>(out.mean) - batch.mean;
    out.shift =
        static_cast<Real>(static_cast<double>(bias) + lost * static_cast<double>(out.scale));
    return out;
  }
};

// A running statistic after a batch.
template <typename Real>
PTYNET_HOST_DEVICE inline Real followed(Real running, double batch, double momentum) {
  const double before = static_cast<double>(running);
  return static_cast<Real>(before + momentum * (batch - before));
}

// The gradient of a channel of a batch norm, from sums over its values of g, the derivative by what
// was normalised (before the activation), and of g * (x - mean): the chain rule through mean and
// variance (Ioffe and Szegedy 2015, section 3), with what all values share taken out.
template <typename Real>
struct ChannelGradient {
  Real offset;
  Real tilt;
  Real dw;
  Real db;

  PTYNET_HOST_DEVICE static ChannelGradient of(double sum, double weighted_sum, Real inverse_std,
                                               double count) {
    const double narrow = static_cast<double>(inverse_std);
    const double share = 1.0 / count;
    return {static_cast<Real>(sum * share),
            static_cast<Real>(weighted_sum * narrow * narrow * share),
            static_cast<Real>(weighted_sum * narrow), static_cast<Real>(sum)};
  }
};
// The derivative by x; `deviation` is x - mean.
template <typename Real>
PTYNET_HOST_DEVICE inline Real normalised_gradient(Real g, Real deviation, Real scale, Real offset,
                                                   Real tilt) {
  return scale * (g - offset - deviation * tilt);
}

// What output `o` of bilinear upsampling by `scale` takes of input `i` of `extent`, along one axis,
// in units of 1 / (2 scale): pixel centres are at half-integers, edges are clamped. Of `i`'s
// outputs none comes before scale * i - scale / 2, and that and the next 2 scale - 1 are all.
template <typename Integer>
PTYNET_HOST_DEVICE inline Integer upsampling_share(Integer o, Integer i, Integer extent,
                                                   Integer scale) {
  const Integer whole = 2 * scale;
  const Integer last = whole * (extent - 1);
  const Integer place = 2 * o + 1 - scale;
  const Integer held = place < 0 ? 0 : (place > last ? last : place);
  const Integer apart = held > whole * i ? held - whole * i : whole * i - held;
  return apart < whole ? whole - apart : 0;
}

// How predicted intensities p are held against measured counts m, per pixel:
// l1: |m - p|; amplitude: |sqrt m - sqrt p|; poisson: p - m log(p + kPoissonFloor).
enum class IntensityLoss : std::uint8_t { kL1, kAmplitude, kPoisson };
inline constexpr double kPoissonFloor = 1e-8;     // photons
inline constexpr double kAmplitudeFloor = 1e-12;  // photons: sqrt p has no derivative at 0

template <typename Real>
struct PixelLoss {
  Real value;
  Real slope;  // by the prediction
};

template <typename Real>
PTYNET_HOST_DEVICE inline PixelLoss<Real> pixel_loss(IntensityLoss kind, Real predicted,
                                                     Real measured) {
  const auto sign = [](Real v) { return static_cast<Real>((v > 0) - (v < 0)); };
  switch (kind) {
    case IntensityLoss::kL1: {
      const Real excess = predicted - measured;
      return {std::abs(excess), sign(excess)};
    }
    case IntensityLoss::kAmplitude: {
      const Real held = predicted > 0 ? predicted : Real{0};
      const Real excess = std::sqrt(held) - std::sqrt(measured);
      const Real floor = static_cast<Real>(kAmplitudeFloor);
      const Real root = std::sqrt(predicted > floor ? predicted : floor);
      return {std::abs(excess), sign(excess) / (2 * root)};
    }
    case IntensityLoss::kPoisson: {
      const Real safe = predicted + static_cast<Real>(kPoissonFloor);
      return {predicted - measured * std::log(safe), 1 - measured / safe};
    }
  }
  return {};
}

struct AdamOptions {  // Kingma and Ba 2015, as PyTorch's Adam has them
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  bool adapts_scale = false;  // LossScale moves, rather than only count
};

// What the loss is multiplied by, so that gradients do not vanish in 16 bits (Micikevicius et al.,
// Mixed Precision Training, ICLR 2018, section 3.2), and how it follows what becomes of them, as
// PyTorch's GradScaler does. A power of two, by which to divide is exact. Three doubles in memory.
struct LossScale {
  double scale = 1;
  double since = 0;     // steps taken since it changed
  double left_out = 0;  // steps in all that were not taken, as a gradient was not finite

  static constexpr double kFirst = 65536;
  static constexpr double kPatience = 2000;  // steps until it is doubled
  static constexpr double kLargest = 0x1p40;

  // Its three numbers, of an array on the host.
  static LossScale from(const double* numbers) { return {numbers[0], numbers[1], numbers[2]}; }
  void write(double* numbers) const {
    numbers[0] = scale;
    numbers[1] = since;
    numbers[2] = left_out;
  }

  // After a step, which was taken where all gradients were finite.
  PTYNET_HOST_DEVICE void follow(bool taken, bool adapts) {
    if (!taken) {
      left_out += 1;
      since = 0;
      if (adapts) scale /= 2;
      return;
    }
    since += 1;
    if (!adapts || since < kPatience || scale >= kLargest) return;
    scale *= 2;
    since = 0;
  }
};

// One value of Adam (kernels/backend.h), with what all values of a step share made ready.
template <typename Real>
struct AdamStep {
  Real first_share;   // 1 - beta1
  Real second_keep;   // beta2
  Real second_share;  // 1 - beta2
  Real epsilon;
  Real rate;          // learning rate / (1 - beta1^step)
  Real second_scale;  // 1 / sqrt(1 - beta2^step)

  // Of the step numbered `number`, from 1. The bias corrections in double: 1 - 0.999^step has few
  // digits left in float.
  PTYNET_HOST_DEVICE static AdamStep of(const AdamOptions& o, double learning_rate, double number) {
    return {static_cast<Real>(1.0 - o.beta1),
            static_cast<Real>(o.beta2),
            static_cast<Real>(1.0 - o.beta2),
            static_cast<Real>(o.epsilon),
            static_cast<Real>(learning_rate / (1.0 - std::pow(o.beta1, number))),
            static_cast<Real>(1.0 / std::sqrt(1.0 - std::pow(o.beta2, number)))};
  }

  PTYNET_HOST_DEVICE void update(Real gradient, Real& value, Real& first, Real& second) const {
    first += first_share * (gradient - first);
    second = second_keep * second + second_share * gradient * gradient;
    value -= rate * first / (std::sqrt(second) * second_scale + epsilon);
  }
};

PTYNET_HOST_DEVICE inline float widen(Bfloat16 v) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(v.bits) << 16);
}

// Round to nearest, ties to even; NaN stays NaN.
PTYNET_HOST_DEVICE inline Bfloat16 narrow_bf16(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return {static_cast<std::uint16_t>(bits >> 16 | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16)};
}

// IEEE half precision, subnormals included.
PTYNET_HOST_DEVICE inline float widen(Half v) {
  const std::uint32_t sign = static_cast<std::uint32_t>(v.bits & 0x8000U) << 16;
  const std::uint32_t exponent = v.bits >> 10 & 0x1fU;
  const std::uint32_t mantissa = v.bits & 0x3ffU;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | mantissa << 13);
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

// Round to nearest, ties to even; subnormals and infinities included. For the host: devices have an
// instruction for it.
inline Half narrow_f16(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  const auto with_sign = [sign](std::uint32_t half) {
    return Half{static_cast<std::uint16_t>(sign | half)};
  };
  if (magnitude > 0x7f800000U) return with_sign(0x7e00);   // NaN
  if (magnitude >= 0x477ff000U) return with_sign(0x7c00);  // from 65520 on: infinity
  if (magnitude < 0x38800000U) {                           // below 2^-14: whole multiples of 2^-24
    const float units = std::bit_cast<float>(magnitude) * 0x1p24F;
    return with_sign(static_cast<std::uint32_t>(std::nearbyint(units)));
  }
  const std::uint32_t rounded = magnitude + 0xfffU + (magnitude >> 13 & 1U);
  return with_sign((rounded >> 13) - (112U << 10));
}

// Whether a pixel's value can be a number of photons: not negative, not NaN or infinite, and not
// the largest value of an integer type, with which detectors mark dead pixels.
template <typename T>
PTYNET_HOST_DEVICE constexpr bool is_count(T v) {
  constexpr T kLargest = std::numeric_limits<T>::max();
  if constexpr (std::is_floating_point_v<T>) {
    return v >= T{0} && v <= kLargest;
  } else if constexpr (std::is_signed_v<T>) {
    return v >= T{0} && v != kLargest;
  } else {
    return v != kLargest;
  }
}

// What a pixel gives Backend::intensity_loss(). A bad one gives nothing; its slope is not to be
// used.
template <typename Real>
struct JudgedPixel {
  bool good;
  PixelLoss<Real> loss;
  Real root_difference;  // |sqrt m - sqrt p|
  Real root;             // sqrt m
};

template <typename Real>
PTYNET_HOST_DEVICE inline JudgedPixel<Real> judge_pixel(IntensityLoss kind, Real predicted,
                                                        Real measured) {
  const bool good = is_count(measured);
  const Real m = good ? measured : Real{0};
  const Real p = good ? predicted : Real{0};  // 0 and 0: no loss, no difference
  const Real root = std::sqrt(m);
  const Real held = p < 0 ? Real{0} : p;  // NaN stays
  return {good, pixel_loss(kind, p, m), std::abs(root - std::sqrt(held)), root};
}

// Stitching adds in whole units of 2^-39, so that the order of arrival does not matter. Values are
// held to +-64 (objects are near 1, weights at most 1): 2^45 units each, so 2^18 terms may meet on
// one pixel (docs/numerics.md).
inline constexpr double kStitchLimit = 64.0;
inline constexpr double kStitchUnitsPerOne = 549755813888.0;  // 2^39

// Nearest unit, ties to even: adding 1.5 * 2^52 leaves the whole number in the mantissa. NaN adds
// nothing.
PTYNET_HOST_DEVICE inline std::int64_t stitch_units(double v) {
  constexpr double kMagic = 6755399441055744.0;
  const double held = v < -kStitchLimit ? -kStitchLimit : (v > kStitchLimit ? kStitchLimit : v);
  const double number = held == held ? held : 0.0;
  return std::bit_cast<std::int64_t>(number * kStitchUnitsPerOne + kMagic) -
         std::bit_cast<std::int64_t>(kMagic);
}

// The output position o of a transposed convolution along one axis is o + padding = stride * q + r
// (phase r < stride), and takes kernel taps k = stride * t + r from inputs q - t. So all phases
// are one convolution of taps() window positions, over extent + taps - 1 places q, with stride^2
// times the channels, spread out afterwards. (ConvTranspose2d of PyTorch, output_padding 0.)
struct TransposedAxis {
  std::int64_t extent;  // input pixels
  std::int64_t kernel;  // taps of the transposed kernel
  std::int64_t stride;
  std::int64_t padding;

  PTYNET_HOST_DEVICE std::int64_t taps() const { return (kernel + stride - 1) / stride; }
  PTYNET_HOST_DEVICE std::int64_t places() const { return extent + taps() - 1; }
  PTYNET_HOST_DEVICE std::int64_t outputs() const {
    return (extent - 1) * stride - 2 * padding + kernel;
  }
};

}  // namespace ptynet
