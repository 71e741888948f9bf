// From a network's output to a number to make small. Formulas and shapes: kernels/backend.h.
//
// A loss is a root of the tape: its derivative by itself is 1, so that several losses on one tape
// add up, each times its own factor. `sums` keeps their values per frame.
#pragma once

#include "autograd/tape.h"

namespace ptynet {

// Amplitude and phase (rad), each [n, h, w].
struct PatchTensors {
  Tensor amplitude;
  Tensor phase;
};

// x [n, h, w, c] -> the patches that the heads read off it.
PatchTensors output_heads(Context& context, const Tensor& x, const OutputHead& amplitude_head,
                          const OutputHead& phase_head);

// The far-field intensity [n, h, w] of patches under a probe of real pairs [modes, h, w, 2].
Tensor diffract(Context& context, const PatchTensors& patch, const Tensor& probe);

// factor * mean over the good pixels; sums f64 [n, 4].
void intensity_loss(Context& context, IntensityLoss kind, const Tensor& predicted,
                    const Array& measured, double factor, Array& sums);

// factor * (mean squared error of the amplitude + that of the phase, rad^2), weighted by `weight`
// [h, w] or not (empty); sums f64 [n, 2].
void patch_error(Context& context, const PatchTensors& patch, const PatchTensors& target,
                 const Array& weight, double factor, Array& sums);

// factor * weighted mean of |amplitude exp(i phase) - target|^2, target [n, h, w, 2]; sums f64 [n].
void object_error(Context& context, const PatchTensors& patch, const Array& target,
                  const Array& weight, double factor, Array& sums);

}  // namespace ptynet
