// Gradients of what networks are made of.
#include "tests/kernels/differences.h"

using namespace ptynet;
using namespace ptynet::tests;

namespace {

const Activation kActivations[] = {kPlain, kLeaky, kClip, kSigmoid, kTanh, kRelu};
constexpr Activation kNarrow{ActivationKind::kHardtanh, -0.5F, 0.75F};

struct Convolution {
  Shape x;
  Shape w;
  Shape y;
  ConvOptions o;
  bool transposed;
};

Array convolved(Backend& backend, const Convolution& c, const Arrays& operands) {
  Array y = room(c.y);
  const auto operation = c.transposed ? &Backend::conv_transpose2d : &Backend::conv2d;
  (backend.*operation)(operands[0], operands[1], operands[2], c.o, y);
  return y;
}

void check_convolution(const Convolution& c) {
  const std::string name =
      text(c.transposed ? "conv_transpose2d " : "conv2d ", to_string(c.x), " ", to_string(c.w),
           " s", c.o.stride, " p", c.o.padding, " a", static_cast<int>(c.o.activation.kind));
  const auto backend = make_reference_backend();
  const Arrays operands = drawn_until(
      name,
      [&](const std::string& draw) {
        return Arrays{random_doubles(draw + "x", c.x), random_doubles(draw + "w", c.w),
                      random_doubles(draw + "b", {c.y[3]})};
      },
      [&](const Arrays& candidate) {
        Convolution plain = c;
        plain.o.activation = {};
        return keeps_clear(convolved(*backend, plain, candidate), kinks_of(c.o.activation));
      });
  check_gradient(
      name, operands, [&](Backend& on, const Arrays& in) { return Arrays{convolved(on, c, in)}; },
      [&](Backend& on, const Arrays& in, const Arrays& upstream) {
        const Array y = convolved(on, c, in);
        OperandGradients d{room(c.x), room(c.w), room({c.y[3]})};
        const auto operation =
            c.transposed ? &Backend::conv_transpose2d_gradient : &Backend::conv2d_gradient;
        (on.*operation)(in[0], in[1], {y, upstream[0]}, c.o, d);
        return Arrays{d.x, d.w, d.b};
      });
}

}  // namespace

TEST_CASE("gradients of the convolution are its central differences") {
  for (const Activation& a : kActivations) {
    check_convolution({{2, 5, 4, 2}, {4, 3, 3, 2}, {2, 5, 4, 4}, {1, 1, 1, a, false}, false});
  }
  // stride 2 of odd and of even sizes (with rows that no window reaches), groups, a wide kernel
  check_convolution({{1, 7, 5, 4}, {6, 3, 3, 2}, {1, 4, 3, 6}, {2, 1, 2, kNarrow, false}, false});
  check_convolution({{2, 6, 4, 3}, {2, 3, 3, 3}, {2, 2, 1, 2}, {2, 0, 1, kLeaky, false}, false});
  check_convolution({{1, 4, 5, 4}, {2, 5, 5, 2}, {1, 4, 5, 2}, {1, 2, 2, kLeaky, false}, false});
  check_convolution({{1, 4, 4, 6}, {6, 2, 2, 1}, {1, 2, 2, 6}, {2, 0, 6, kPlain, false}, false});
}

TEST_CASE("gradients of the transposed convolution are its central differences") {
  for (const Activation& a : kActivations) {
    check_convolution({{2, 3, 2, 4}, {4, 4, 4, 2}, {2, 6, 4, 2}, {2, 1, 1, a, false}, true});
  }
  check_convolution({{1, 3, 4, 4}, {4, 3, 3, 3}, {1, 5, 7, 6}, {2, 1, 2, kNarrow, false}, true});
  check_convolution({{1, 3, 2, 2}, {2, 2, 2, 3}, {1, 8, 5, 3}, {3, 0, 1, kLeaky, false}, true});
}

TEST_CASE("convolution gradients that are not wanted do not change the others") {
  const auto backend = make_reference_backend();
  const Array x = random_doubles("x", {1, 4, 4, 4});
  const Array w = random_doubles("w", {4, 3, 3, 2});
  for (const auto operation : {&Backend::conv2d_gradient, &Backend::conv_transpose2d_gradient}) {
    const Array y = random_doubles("y", {1, 4, 4, 4});
    const Array dy = random_doubles("dy", {1, 4, 4, 4});
    const ConvOptions o{1, 1, 2, kLeaky, false};
    OperandGradients all{room(x.shape()), room(w.shape()), room({4})};
    ((*backend).*operation)(x, w, {y, dy}, o, all);
    OperandGradients alone{{}, room(w.shape()), {}};
    ((*backend).*operation)(x, w, {y, dy}, o, alone);
    CHECK(std::equal(all.w.data<double>(), all.w.data<double>() + w.elements(),
                     alone.w.data<double>()));
    CHECK(alone.x.empty());
  }
}

namespace {

struct Normalised {
  Array y;
  BatchStatistics batch;
};

// operands: x, weight, bias
Normalised normalise(Backend& backend, const Arrays& operands, const Activation& a) {
  const Shape channels = operands[1].shape();
  BatchNormParameters p{operands[1], operands[2], Array::zeros(channels, DType::kF64),
                        Array::zeros(channels, DType::kF64)};
  p.activation = a;
  Normalised out{room(operands[0].shape()), room_for_batch(channels[0], DType::kF64)};
  backend.batch_norm_training(operands[0], p, out.batch, out.y);
  return out;
}

void check_batch_norm(const Shape& shape, const Activation& a) {
  const std::string name = text("batch_norm ", to_string(shape), " a", static_cast<int>(a.kind));
  const Shape channels{shape[3]};
  const auto backend = make_reference_backend();
  const Arrays operands = drawn_until(
      name,
      [&](const std::string& draw) {
        return Arrays{random_doubles(draw + "x", shape, 1, 3),
                      random_doubles(draw + "w", channels, 0.5, 2),
                      random_doubles(draw + "b", channels)};
      },
      [&](const Arrays& candidate) {
        return keeps_clear(normalise(*backend, candidate, kPlain).y, kinks_of(a));
      });
  check_gradient(
      name, operands, [&](Backend& on, const Arrays& in) { return Arrays{normalise(on, in, a).y}; },
      [&](Backend& on, const Arrays& in, const Arrays& upstream) {
        OperandGradients d{room(shape), room(channels), room(channels)};
        on.batch_norm_gradient(in[0], normalise(on, in, a).batch, a, upstream[0], d);
        return Arrays{d.x, d.w, d.b};
      });
}

}  // namespace

TEST_CASE("gradients of batch norm in training mode are its central differences") {
  for (const Shape& shape : {Shape{2, 3, 4, 3}, Shape{1, 1, 2, 2}, Shape{5, 1, 1, 1}}) {
    check_batch_norm(shape, kPlain);
  }
  for (const Activation& a : {kLeaky, kClip, kNarrow, kSigmoid, kTanh, kRelu}) {
    check_batch_norm({2, 3, 4, 3}, a);
  }
}

TEST_CASE("gradients of the activations are their central differences") {
  const Shape shape{1, 3, 5, 4};
  for (const Activation& a : {kPlain, kLeaky, kClip, kNarrow, kSigmoid, kTanh, kRelu}) {
    const std::string name = text("activation ", static_cast<int>(a.kind));
    const Array x = drawn_until(
        name, [&](const std::string& draw) { return random_doubles(draw, shape, -2, 2); },
        [&](const Array& candidate) { return keeps_clear(candidate, kinks_of(a)); });
    const auto forward = [&](Backend& on, const Arrays& in) {
      Array y = room(shape);
      on.activation(in[0], a, y);
      return Arrays{y};
    };
    check_gradient(name, {x}, forward, [&](Backend& on, const Arrays& in, const Arrays& upstream) {
      const Array y = forward(on, in)[0];
      Array dx = room(shape);
      on.activation_gradient({y, upstream[0]}, a, dx);
      return Arrays{dx};
    });
  }
}

TEST_CASE("gradients of pooling are its central differences") {
  const Shape shape{2, 5, 4, 2};
  // No two values so near that a step could swap them.
  const Array x = drawn_until(
      "pool", [&](const std::string& draw) { return random_doubles(draw, shape, -9, 9); },
      [](const Array& candidate) {
        std::vector<double> sorted(candidate.data<double>(),
                                   candidate.data<double>() + candidate.elements());
        std::sort(sorted.begin(), sorted.end());
        return std::adjacent_find(sorted.begin(), sorted.end(), [](double a, double b) {
                 return b - a < kClearance;
               }) == sorted.end();
      });
  for (const std::int64_t kernel : {1, 2, 3}) {
    check_gradient(
        text("max_pool2d ", kernel), {x},
        [&](Backend& on, const Arrays& in) {
          Array y = room({2, 5 / kernel, 4 / kernel, 2});
          on.max_pool2d(in[0], kernel, y);
          return Arrays{y};
        },
        [&](Backend& on, const Arrays& in, const Arrays& upstream) {
          Array dx = room(shape);
          on.max_pool2d_gradient(in[0], kernel, upstream[0], dx);
          return Arrays{dx};
        });
  }
}

TEST_CASE("among equal values, pooling's gradient goes to the first") {
  const Array x = Array::copy_of<float>({1, 3, 3, 3, /**/ 2, 3, 0, 3}, {1, 2, 4, 1});
  const Array dy = Array::copy_of<float>({5, 7}, {1, 1, 2, 1});
  for (const auto& make : {+[] { return make_cpu_backend(1); }, make_reference_backend}) {
    Array dx = Array::host(x.shape(), DType::kF32);
    make()->max_pool2d_gradient(x, 2, dy, dx);
    CHECK(std::vector<float>(dx.data<float>(), dx.data<float>() + 8) ==
          std::vector<float>{0, 5, 7, 0, /**/ 0, 0, 0, 0});
  }
}

TEST_CASE("gradients of upsampling are its central differences") {
  for (const Shape& shape : {Shape{2, 3, 4, 2}, Shape{1, 1, 2, 3}}) {
    for (const std::int64_t scale : {1, 2, 3}) {
      check_gradient(
          text("upsample_bilinear2d ", scale), {random_doubles("up", shape)},
          [&](Backend& on, const Arrays& in) {
            Array y = room({shape[0], shape[1] * scale, shape[2] * scale, shape[3]});
            on.upsample_bilinear2d(in[0], scale, y);
            return Arrays{y};
          },
          [&](Backend& on, const Arrays&, const Arrays& upstream) {
            Array dx = room(shape);
            on.upsample_bilinear2d_gradient(upstream[0], scale, dx);
            return Arrays{dx};
          });
    }
  }
}

TEST_CASE("gradients of a concatenation are slices of its own") {
  const Shape first{2, 2, 3, 2};
  const Shape second{2, 2, 3, 3};
  check_gradient(
      "concat_channels", {random_doubles("first", first), random_doubles("second", second)},
      [&](Backend& on, const Arrays& in) {
        Array y = room({2, 2, 3, 5});
        on.concat_channels(in, y);
        return Arrays{y};
      },
      [&](Backend& on, const Arrays&, const Arrays& upstream) {
        Arrays d{room(first), room(second)};
        on.slice_channels(upstream[0], 0, d[0]);
        on.slice_channels(upstream[0], 2, d[1]);
        return d;
      });
}

TEST_CASE("gradients of the output heads are their central differences") {
  struct Heads {
    OutputHead amplitude;
    OutputHead phase;
  };
  const Shape frames{2, 3, 2};
  // Both from one channel, too, and a missing one.
  for (const Heads& h : {Heads{{0, 0.5F, 0.5F}, {1, 3.14F, 0}}, Heads{{1, 2, 0}, {1, 0.3F, 1}},
                         Heads{{}, {0, 3.14F, 0}}}) {
    const std::int64_t channels = std::max(h.amplitude.channel, h.phase.channel) + 1;
    const Shape shape{2, 3, 2, channels};
    // Heads that share a channel leave the first one unread: its derivative is 0.
    const bool shared = h.amplitude.channel == h.phase.channel;
    const auto widened = [&](const Array& x) {
      if (!shared) return x;
      Array both = Array::zeros(shape, DType::kF64);
      for (std::int64_t i = 0; i < x.elements(); ++i) {
        both.data<double>()[i * channels + 1] = x.data<double>()[i];
      }
      return both;
    };
    check_gradient(
        text("output_heads ", h.amplitude.channel, " ", h.phase.channel),
        {random_doubles("heads", shared ? Shape{2, 3, 2, 1} : shape)},
        [&](Backend& on, const Arrays& in) {
          Arrays y{room(frames), room(frames)};
          on.output_heads(widened(in[0]), h.amplitude, h.phase, y[0], y[1]);
          return y;
        },
        [&](Backend& on, const Arrays&, const Arrays& upstream) {
          Array dx = room(shape);
          on.output_heads_gradient(upstream[0], upstream[1], h.amplitude, h.phase, dx);
          if (!shared) return Arrays{dx};
          Array read = room({2, 3, 2, 1});
          on.slice_channels(dx, 1, read);
          return Arrays{read};
        });
  }
}
