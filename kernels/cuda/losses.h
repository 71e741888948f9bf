// How far predictions are from what is known, frame by frame, and the derivatives of that. Arrays
// on the device, complex ones as (re, im) pairs. Arithmetic in fp32, sums in fp64 in an order given
// by shapes. Where arrays are aligned to 16 bytes, and frames have a multiple of 4 pixels, so many
// move at once (object_error: 2). Each array is read once; what divides the derivatives is summed
// first, and only where that has to be done on the device: it costs reading the measured frames, or
// the weights of one frame, once more. Frames have fewer than 2^30 pixels.
#pragma once

#include <cstdint>

#include "kernels/cuda/object.h"

namespace ptynet::cuda {

struct LossSums {
  double* sums;
  double* scratch;  // loss_scratch() of them
};
std::int64_t loss_scratch(const PatchShape& shape);

// As Backend::intensity_loss() has them. sums [n, 4].
struct IntensityComparison {
  IntensityLoss kind;
  const float* predicted;  // [n, h, w]
  const float* measured;   // [n, h, w], photons
  double factor;
  float* d_predicted;  // [n, h, w], or null: not wanted
};
void intensity_loss(const PatchShape& shape, const IntensityComparison& compared,
                    const LossSums& out, Stream stream);

// f32 [n, h, w] each, or null: not wanted.
struct PolarGradients {
  float* amplitude;
  float* phase;
};

// What errors of patches have in common.
struct PatchErrorOptions {
  const float* weight;  // [h, w], or null: ones
  double factor;
  PolarGradients d;
};

// As Backend::patch_error() has them. sums [n, 2].
void patch_error(const PatchShape& shape, const PolarPatches& patches, const PolarPatches& target,
                 const PatchErrorOptions& options, const LossSums& out, Stream stream);

// As Backend::object_error() has them. target c64 [n, h, w], sums [n].
void object_error(const PatchShape& shape, const PolarPatches& patches, const float* target,
                  const PatchErrorOptions& options, const LossSums& out, Stream stream);

}  // namespace ptynet::cuda
