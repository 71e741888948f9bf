#include "autograd/losses.h"

namespace ptynet {

namespace {

void expect_patch(const char* operation, const PatchTensors& patch) {
  if (patch.amplitude.shape().rank() != 3 || patch.amplitude.shape() != patch.phase.shape()) {
    fail_input(operation, ": expected amplitude and phase [n, h, w], found ",
               describe(patch.amplitude.value()), " and ", describe(patch.phase.value()));
  }
}

void expect_shape(const char* operation, const char* what, const Array& found,
                  const Shape& expected) {
  if (found.shape() != expected) {
    fail_input(operation, ": expected ", what, " ", to_string(expected), ", found ",
               describe(found));
  }
}

// Weights of a patch's pixels, or none.
void expect_weight(const char* operation, const Array& weight, const Shape& patch) {
  if (!weight.empty()) expect_shape(operation, "weights", weight, {patch[1], patch[2]});
}

// The root's own gradient goes to its operands at once.
void start_from(const PatchTensors& patch, const ExitWave& d) {
  if (Tape* tape = tape_of(patch.amplitude, patch.phase)) {
    tape->accumulate(patch.amplitude, d.amplitude);
    tape->accumulate(patch.phase, d.phase);
  }
}

ExitWave gradients_for(Context& context, const PatchTensors& patch) {
  return {gradient_for(context, patch.amplitude), gradient_for(context, patch.phase), {}};
}

}  // namespace

PatchTensors output_heads(Context& context, const Tensor& x, const OutputHead& amplitude_head,
                          const OutputHead& phase_head) {
  const Shape& s = x.shape();
  if (s.rank() != 4 || amplitude_head.channel >= s[3] || phase_head.channel >= s[3]) {
    fail_input("output_heads: expected [n, h, w, c] with the channels ", amplitude_head.channel,
               " and ", phase_head.channel, ", found ", describe(x.value()));
  }
  const Shape patch{s[0], s[1], s[2]};
  PatchTensors y{Tensor(context.allocate(patch, x.value().dtype())),
                 Tensor(context.allocate(patch, x.value().dtype()))};
  context.backend().output_heads(x.value(), amplitude_head, phase_head, y.amplitude.value(),
                                 y.phase.value());
  if (Tape* tape = tape_of(x)) {
    Tensor* const outputs[] = {&y.amplitude, &y.phase};
    tape->record(outputs, [&context, tape, x, amplitude_head, phase_head](auto dy) {
      Array dx = context.allocate(x.shape(), x.value().dtype());
      context.backend().output_heads_gradient(dy[0], dy[1], amplitude_head, phase_head, dx);
      tape->accumulate(x, dx);
    });
  }
  return y;
}

Tensor diffract(Context& context, const PatchTensors& patch, const Tensor& probe) {
  expect_patch("diffract", patch);
  const Shape& s = patch.amplitude.shape();
  const Shape& p = probe.shape();
  if (p.rank() != 4 || p[0] < 1 || p != Shape{p[0], s[1], s[2], 2}) {
    fail_input("diffract: expected a probe [modes, ", s[1], ", ", s[2], ", 2], found ",
               describe(probe.value()));
  }
  const DType type = patch.amplitude.value().dtype();
  Array far = context.allocate({s[0], p[0], s[1], s[2], 2}, type);
  Tensor y(context.allocate(s, type));
  const ExitWave wave{patch.amplitude.value(), patch.phase.value(), probe.value()};
  context.backend().diffract(wave, far, y.value());
  if (Tape* tape = tape_of(patch.amplitude, patch.phase, probe)) {
    tape->record(y, [&context, tape, patch, probe, far](const Array& dy) mutable {
      const ExitWave of{patch.amplitude.value(), patch.phase.value(), probe.value()};
      ExitWave d = gradients_for(context, patch);
      d.probe = gradient_for(context, probe);
      context.backend().diffract_gradient(of, far, dy, d);
      tape->accumulate(patch.amplitude, d.amplitude);
      tape->accumulate(patch.phase, d.phase);
      tape->accumulate(probe, d.probe);
    });
  }
  return y;
}

void intensity_loss(Context& context, IntensityLoss kind, const Tensor& predicted,
                    const Array& measured, double factor, Array& sums) {
  expect_shape("intensity_loss", "measured frames", measured, predicted.shape());
  expect_shape("intensity_loss", "sums", sums, {predicted.shape()[0], 4});
  Array d = gradient_for(context, predicted);
  context.backend().intensity_loss(kind, predicted.value(), measured, factor, sums, d);
  if (Tape* tape = tape_of(predicted)) tape->accumulate(predicted, d);
}

void patch_error(Context& context, const PatchTensors& patch, const PatchTensors& target,
                 const Array& weight, double factor, Array& sums) {
  expect_patch("patch_error", patch);
  const Shape& s = patch.amplitude.shape();
  expect_shape("patch_error", "the target's amplitude", target.amplitude.value(), s);
  expect_shape("patch_error", "the target's phase", target.phase.value(), s);
  expect_weight("patch_error", weight, s);
  expect_shape("patch_error", "sums", sums, {s[0], 2});
  ExitWave d = gradients_for(context, patch);
  context.backend().patch_error({patch.amplitude.value(), patch.phase.value(), {}},
                                {target.amplitude.value(), target.phase.value(), {}}, weight,
                                factor, sums, d);
  start_from(patch, d);
}

void object_error(Context& context, const PatchTensors& patch, const Array& target,
                  const Array& weight, double factor, Array& sums) {
  expect_patch("object_error", patch);
  const Shape& s = patch.amplitude.shape();
  expect_shape("object_error", "a target", target, {s[0], s[1], s[2], 2});
  expect_weight("object_error", weight, s);
  expect_shape("object_error", "sums", sums, {s[0]});
  ExitWave d = gradients_for(context, patch);
  context.backend().object_error({patch.amplitude.value(), patch.phase.value(), {}}, target, weight,
                                 factor, sums, d);
  start_from(patch, d);
}

}  // namespace ptynet
