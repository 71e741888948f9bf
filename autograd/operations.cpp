#include "autograd/operations.h"

namespace ptynet {

namespace {

void expect_activations(const char* operation, const Tensor& x) {
  if (x.shape().rank() != 4) {
    fail_input(operation, ": expected activations [n, h, w, c], found ", describe(x.value()));
  }
}

// Weights are f32 whatever flows through the network, but for f64, which only the reference takes.
DType weight_type(const Tensor& x) {
  return x.value().dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
}

void expect_bias(const char* operation, const Array& b, std::int64_t channels, DType type) {
  if (b.empty()) return;
  if (b.dtype() != type || b.shape() != Shape{channels}) {
    fail_input(operation, ": expected a bias ", name_of(type), "[", channels, "], found ",
               describe(b));
  }
}

void expect_weights(const char* operation, const Array& w, const ConvOptions& o, DType type) {
  if (w.shape().rank() != 4 || w.dtype() != type) {
    fail_input(operation, ": expected weights ", name_of(type), " of rank 4, found ", describe(w));
  }
  if (o.stride < 1 || o.padding < 0 || o.groups < 1) {
    fail_input(operation, ": expected stride >= 1, padding >= 0 and groups >= 1, found ", o.stride,
               ", ", o.padding, " and ", o.groups);
  }
}

// Channels of the two sides of a convolution, the grouped way round checked.
void expect_channels(const char* operation, std::int64_t found, std::int64_t expected,
                     std::int64_t other, std::int64_t groups) {
  if (found != expected) {
    fail_input(operation, ": the weights take ", expected, " channels, found ", found);
  }
  if (found % groups != 0 || other % groups != 0) {
    fail_input(operation, ": ", found, " and ", other, " channels cannot be split into ", groups,
               " groups");
  }
}

void expect_conv2d(const Shape& x, const ConvLayer& layer, DType type) {
  const auto& [w, b, o, transposed] = layer;
  expect_weights("conv2d", w, o, type);
  const std::int64_t co = w.shape()[0];
  expect_channels("conv2d", x[3], w.shape()[3] * o.groups, co, o.groups);
  expect_bias("conv2d", b, co, type);
  if (x[1] + 2 * o.padding < w.shape()[1] || x[2] + 2 * o.padding < w.shape()[2]) {
    fail_input("conv2d: a kernel of ", w.shape()[1], "x", w.shape()[2], " does not fit into ",
               to_string(x), " with padding ", o.padding);
  }
}

void expect_conv_transpose2d(const Shape& x, const ConvLayer& layer, DType type) {
  const auto& [w, b, o, transposed] = layer;
  expect_weights("conv_transpose2d", w, o, type);
  const std::int64_t co = w.shape()[3] * o.groups;
  expect_channels("conv_transpose2d", x[3], w.shape()[0], co, o.groups);
  expect_bias("conv_transpose2d", b, co, type);
  if (w.shape()[1] != w.shape()[2]) {
    fail_input("conv_transpose2d: expected a square kernel, found ", to_string(w.shape()));
  }
  const TransposedAxis rows{x[1], w.shape()[1], o.stride, o.padding};
  const TransposedAxis columns{x[2], w.shape()[2], o.stride, o.padding};
  if (rows.outputs() < 1 || columns.outputs() < 1) {
    fail_input("conv_transpose2d: padding ", o.padding, " leaves nothing of ", to_string(x));
  }
}

// Of the result, where the layer takes x [n, h, w, c].
Shape checked_shape(const Shape& x, const ConvLayer& layer, DType type) {
  layer.transposed ? expect_conv_transpose2d(x, layer, type) : expect_conv2d(x, layer, type);
  return output_shape(x, layer);
}

ConvLayer arrays_of(const ConvTensors& layer) {
  return {layer.w.value(), layer.b.value(), layer.options, layer.transposed};
}

using ConvGradient = void (Backend::*)(const Array&, const Array&, const OutputGradient&,
                                       const ConvOptions&, OperandGradients&);

// Both kinds of convolution are recorded alike.
void record_convolution(Context& context, const Tensor& x, const Tensor& w, const Tensor& b,
                        const ConvOptions& o, ConvGradient gradient, Tensor& y) {
  Tape* tape = tape_of(x, w, b);
  if (tape == nullptr) return;
  tape->record(y, [&context, tape, x, w, b, o, gradient, out = y.value()](const Array& dy) {
    OperandGradients d{gradient_for(context, x), gradient_for(context, w),
                       gradient_for(context, b)};
    (context.backend().*gradient)(x.value(), w.value(), {out, dy}, o, d);
    tape->accumulate(x, d.x);
    tape->accumulate(w, d.w);
    tape->accumulate(b, d.b);
  });
}

}  // namespace

Tensor conv2d(Context& context, const Tensor& x, const Tensor& w, const Tensor& b,
              const ConvOptions& o, std::optional<DType> result) {
  expect_activations("conv2d", x);
  const ConvLayer layer{w.value(), b.value(), o, false};
  Tensor y(context.allocate(checked_shape(x.shape(), layer, weight_type(x)),
                            result.value_or(x.value().dtype())));
  context.backend().conv2d(x.value(), w.value(), b.value(), o, y.value());
  record_convolution(context, x, w, b, o, &Backend::conv2d_gradient, y);
  return y;
}

Tensor conv_transpose2d(Context& context, const Tensor& x, const Tensor& w, const Tensor& b,
                        const ConvOptions& o, std::optional<DType> result) {
  expect_activations("conv_transpose2d", x);
  const ConvLayer layer{w.value(), b.value(), o, true};
  Tensor y(context.allocate(checked_shape(x.shape(), layer, weight_type(x)),
                            result.value_or(x.value().dtype())));
  context.backend().conv_transpose2d(x.value(), w.value(), b.value(), o, y.value());
  record_convolution(context, x, w, b, o, &Backend::conv_transpose2d_gradient, y);
  return y;
}

std::optional<Tensor> conv_pair(Context& context, const Tensor& x, const ConvTensors& first,
                                const ConvTensors& second, std::optional<DType> result) {
  expect_activations("conv_pair", x);
  if (tape_of(x, first.w, first.b, second.w, second.b) != nullptr) return {};
  const ConvLayer one = arrays_of(first);
  const ConvLayer next = arrays_of(second);
  const DType type = weight_type(x);
  const Shape shape = checked_shape(checked_shape(x.shape(), one, type), next, type);
  if (!context.backend().fuses(x.value(), one, next)) return {};
  Tensor y(context.allocate(shape, result.value_or(x.value().dtype())));
  context.backend().conv_pair(x.value(), one, next, y.value());
  return y;
}

namespace {

void expect_parameters(const Tensor& x, const BatchNormParameters& p) {
  expect_activations("batch_norm", x);
  const Shape channels{x.shape()[3]};
  for (const Array* parameter : {&p.weight, &p.bias, &p.running_mean, &p.running_var}) {
    if (parameter->shape() != channels) {
      fail_input("batch_norm: expected parameters ", to_string(channels), ", found ",
                 describe(*parameter));
    }
  }
}

}  // namespace

Tensor batch_norm(Context& context, const Tensor& x, const BatchNormParameters& p) {
  expect_parameters(x, p);
  if (x.tape() != nullptr) {
    fail_runtime("batch_norm with stored statistics has no gradient: use the training pass");
  }
  Tensor y(context.allocate(x.shape(), x.value().dtype()));
  context.backend().batch_norm(x.value(), p, y.value());
  return y;
}

Tensor batch_norm_training(Context& context, const Tensor& x, const Tensor& weight,
                           const Tensor& bias, const BatchNormState& state) {
  BatchNormParameters p{weight.value(), bias.value(),   state.running_mean, state.running_var,
                        state.epsilon,  state.momentum, state.activation};
  expect_parameters(x, p);
  if (x.value().elements() == x.shape()[3]) {
    fail_input("batch_norm: one value per channel has no variance to train with, found ",
               describe(x.value()), ": use a larger batch or larger frames");
  }
  BatchStatistics batch;
  for (Array* of_channel : {&batch.mean, &batch.inverse_std, &batch.scale, &batch.shift}) {
    *of_channel = context.allocate(weight.shape(), weight_type(x));
  }
  Tensor y(context.allocate(x.shape(), x.value().dtype()));
  context.backend().batch_norm_training(x.value(), p, batch, y.value());
  if (Tape* tape = tape_of(x, weight, bias)) {
    tape->record(y, [&context, tape, x, weight, bias, batch, a = p.activation](const Array& dy) {
      OperandGradients d{gradient_for(context, x), gradient_for(context, weight),
                         gradient_for(context, bias)};
      context.backend().batch_norm_gradient(x.value(), batch, a, dy, d);
      tape->accumulate(x, d.x);
      tape->accumulate(weight, d.w);
      tape->accumulate(bias, d.b);
    });
  }
  return y;
}

Tensor activation(Context& context, const Tensor& x, const Activation& a) {
  Tensor y(context.allocate(x.shape(), x.value().dtype()));
  context.backend().activation(x.value(), a, y.value());
  if (Tape* tape = x.tape()) {
    tape->record(y, [&context, tape, x, a, out = y.value()](const Array& dy) {
      Array dx = gradient_for(context, x);
      context.backend().activation_gradient({out, dy}, a, dx);
      tape->accumulate(x, dx);
    });
  }
  return y;
}

Tensor max_pool2d(Context& context, const Tensor& x, std::int64_t kernel) {
  expect_activations("max_pool2d", x);
  const Shape& s = x.shape();
  if (kernel < 1 || s[1] < kernel || s[2] < kernel) {
    fail_input("max_pool2d: a window of ", kernel, " does not fit into ", to_string(s));
  }
  Tensor y(context.allocate({s[0], s[1] / kernel, s[2] / kernel, s[3]}, x.value().dtype()));
  context.backend().max_pool2d(x.value(), kernel, y.value());
  if (Tape* tape = x.tape()) {
    tape->record(y, [&context, tape, x, kernel](const Array& dy) {
      Array dx = gradient_for(context, x);
      context.backend().max_pool2d_gradient(x.value(), kernel, dy, dx);
      tape->accumulate(x, dx);
    });
  }
  return y;
}

Tensor upsample_bilinear2d(Context& context, const Tensor& x, std::int64_t scale) {
  expect_activations("upsample_bilinear2d", x);
  if (scale < 1) fail_input("upsample_bilinear2d: expected a scale >= 1, found ", scale);
  const Shape& s = x.shape();
  Tensor y(context.allocate({s[0], s[1] * scale, s[2] * scale, s[3]}, x.value().dtype()));
  context.backend().upsample_bilinear2d(x.value(), scale, y.value());
  if (Tape* tape = x.tape()) {
    tape->record(y, [&context, tape, x, scale](const Array& dy) {
      Array dx = gradient_for(context, x);
      context.backend().upsample_bilinear2d_gradient(dy, scale, dx);
      tape->accumulate(x, dx);
    });
  }
  return y;
}

Tensor add(Context& context, const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.value().dtype() != b.value().dtype()) {
    fail_input("add: expected equal shapes and element types, found ", describe(a.value()), " and ",
               describe(b.value()));
  }
  Tensor y(context.allocate(a.shape(), a.value().dtype()));
  context.backend().add(a.value(), b.value(), y.value());
  if (Tape* tape = tape_of(a, b)) {
    tape->record(y, [tape, a, b](const Array& dy) {
      tape->accumulate(a, dy);
      tape->accumulate(b, dy);
    });
  }
  return y;
}

namespace {

void record_concatenation(Context& context, std::span<const Tensor> parts, Tensor& y) {
  Tape* tape = nullptr;
  for (const Tensor& part : parts) tape = tape != nullptr ? tape : part.tape();
  if (tape == nullptr) return;
  const std::vector<Tensor> kept(parts.begin(), parts.end());
  tape->record(y, [&context, tape, kept](const Array& dy) {
    std::int64_t first = 0;
    for (const Tensor& part : kept) {
      if (part.tape() != nullptr) {
        Array dx = gradient_for(context, part);
        context.backend().slice_channels(dy, first, dx);
        tape->accumulate(part, dx);
      }
      first += part.shape()[3];
    }
  });
}

}  // namespace

Tensor concat_channels(Context& context, std::span<const Tensor> parts) {
  if (parts.empty()) fail_input("concat_channels: nothing to put together");
  const Shape& first = parts[0].shape();
  std::vector<Array> arrays;
  std::int64_t channels = 0;
  for (const Tensor& part : parts) {
    expect_activations("concat_channels", part);
    const Shape& s = part.shape();
    if (s[0] != first[0] || s[1] != first[1] || s[2] != first[2] ||
        part.value().dtype() != parts[0].value().dtype()) {
      fail_input("concat_channels: expected parts of one size and element type, found ",
                 describe(parts[0].value()), " and ", describe(part.value()));
    }
    channels += s[3];
    arrays.push_back(part.value());
  }
  Tensor y(context.allocate({first[0], first[1], first[2], channels}, parts[0].value().dtype()));
  context.backend().concat_channels(arrays, y.value());
  record_concatenation(context, parts, y);
  return y;
}

Tensor scale_gradient(Context& context, const Tensor& x, const Array& factor) {
  Tensor y(x.value());
  if (Tape* tape = x.tape()) {
    tape->record(y, [&context, tape, x, factor](const Array& dy) {
      Array dx = gradient_for(context, x);
      context.backend().multiply(dy, factor, dx);
      tape->accumulate(x, dx);
    });
  }
  return y;
}

Tensor input_rule(Context& context, const Array& frames, const Array& mask, const InputRule& rule,
                  DType type) {
  const Shape& s = frames.shape();
  if (s.rank() != 3) fail_input("input_rule: expected frames [n, h, w], found ", describe(frames));
  if (!mask.empty() && (mask.dtype() != DType::kU8 || mask.shape() != Shape{s[1], s[2]})) {
    fail_input("input_rule: expected a mask u8[", s[1], ", ", s[2], "], found ", describe(mask));
  }
  Tensor y(context.allocate({s[0], s[1], s[2], 1}, type));
  context.backend().input_rule(frames, mask, rule, y.value());
  return y;
}

}  // namespace ptynet
