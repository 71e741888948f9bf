// How far a network's patches are from the true ones, on patterns that it was not trained with.
#pragma once

#include <cstdint>

#include "engine/trainer.h"

namespace ptynet {

// Mean squared errors of patches, the phase's in rad^2.
struct PatchLosses {
  double amplitude = 0;
  double phase = 0;
  double sum() const { return amplitude + phase; }
};

// By patterns of a series of their own, or the last frames of scans: the same for every run with
// the same recipe or files, whatever its seed. The running statistics of batch norms are used.
struct HeldOutLosses {
  std::int64_t patterns = 0;
  PatchLosses plain;
  PatchLosses weighted;  // by the probe's intensity
  // What one constant patch scores that has their mean amplitude and phase: below it a network has
  // learnt something of the frames.
  PatchLosses mean_plain;
  PatchLosses mean_weighted;
};

// `patterns` on the host; `intensity` f32 [h, w] of the probe.
HeldOutLosses held_out_losses(Trainer& trainer, const Patterns& patterns, const Array& intensity);

}  // namespace ptynet
