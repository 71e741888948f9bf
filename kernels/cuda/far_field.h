// From the Fourier transform of the exit waves to intensities and to how they differ from what was
// measured, in one pass over memory.
#pragma once

#include "kernels/cuda/detector_frames.h"
#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

// far: c64 [n, modes, h, w] as (re, im) pairs, the unnormalised transform with zero frequency in
// the corner; intensities f32 [n, h, w] have it in the middle: I = sum over modes of
// |fftshift(far)|^2. Where w is a multiple of 4 and arrays are aligned to 16 bytes, two pixels move
// at once. Frames have fewer than 2^26 pixels.
struct FarFieldShape {
  int n, modes, h, w;
};

void far_field_intensity(const FarFieldShape& shape, const float* far, float* intensity,
                         Stream stream);

// Per frame: sums[.][0] = sum |sqrt I - sqrt I_predicted|, sums[.][1] = sum sqrt I over good pixels
// (photons^1/2). Roots in fp32, sums in fp64 in a fixed order.
struct ResidualSums {
  double* sums;   // [n, 2]
  double* parts;  // scratch [n, residual_parts(), 2]
};
int residual_parts(int h, int w);

// `measured` through its window, [n, h, w]; intensity (the predicted one) may be null: not wanted.
void far_field_residual(const FarFieldShape& shape, const float* far,
                        const DetectorFrames& measured, float* intensity,
                        const ResidualSums& residual, Stream stream);

// The same from intensities that are there already, f32 [n, h, w].
void intensity_residual(const float* predicted, const DetectorFrames& measured,
                        const ResidualSums& residual, Stream stream);

}  // namespace ptynet::cuda
