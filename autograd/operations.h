// The operations that layers are made of: each checks its operands, allocates its result from the
// context, asks the backend, and records itself where a tape watches an operand. Shapes that do not
// fit throw Error (input) naming the operation.
#pragma once

#include <optional>
#include <span>

#include "autograd/tape.h"

namespace ptynet {

// Weights are those of kernels/backend.h: [co, kh, kw, ci / groups] for a convolution,
// [ci, kh, kw, co / groups] for a transposed one, f32 (f64 where x is); bias [co] or empty. The
// result has x's element type, or `result` where it says so.
Tensor conv2d(Context& context, const Tensor& x, const Tensor& w, const Tensor& b,
              const ConvOptions& options, std::optional<DType> result = {});
Tensor conv_transpose2d(Context& context, const Tensor& x, const Tensor& w, const Tensor& b,
                        const ConvOptions& options, std::optional<DType> result = {});
// One of the two.
struct ConvTensors {
  Tensor w;
  Tensor b;
  ConvOptions options;
  bool transposed = false;
};
// second(first(x)) where the device is best asked for both at once; nothing elsewhere, and where a
// tape watches an operand, whose gradients need what is between the two.
std::optional<Tensor> conv_pair(Context& context, const Tensor& x, const ConvTensors& first,
                                const ConvTensors& second, std::optional<DType> result = {});
// With stored statistics: inference only. Throws Error (runtime) for an x that a tape watches.
Tensor batch_norm(Context& context, const Tensor& x, const BatchNormParameters& parameters);
// With the batch's statistics; the running ones move. weight and bias [c].
struct BatchNormState {
  Array running_mean;
  Array running_var;
  float epsilon = 1e-5F;
  float momentum = 0.1F;
  Activation activation{};  // of the result
};
Tensor batch_norm_training(Context& context, const Tensor& x, const Tensor& weight,
                           const Tensor& bias, const BatchNormState& state);
Tensor activation(Context& context, const Tensor& x, const Activation& activation);
Tensor max_pool2d(Context& context, const Tensor& x, std::int64_t kernel);
Tensor upsample_bilinear2d(Context& context, const Tensor& x, std::int64_t scale);
Tensor add(Context& context, const Tensor& a, const Tensor& b);
Tensor concat_channels(Context& context, std::span<const Tensor> parts);
// x itself, whose gradient is that of the result times factor, f64 [1] on the device.
Tensor scale_gradient(Context& context, const Tensor& x, const Array& factor);

// frames [n, h, w] -> [n, h, w, 1] of `type` (f32, bf16 or f16); mask [h, w] u8 or empty.
Tensor input_rule(Context& context, const Array& frames, const Array& mask, const InputRule& rule,
                  DType type = DType::kF32);

}  // namespace ptynet
