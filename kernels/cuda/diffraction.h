// From the derivatives of the loss by intensities back to those by amplitude, phase and probe: one
// pass over memory on each side of the adjoint transform. (The way there: object.h, far_field.h.)
// Derivatives by a complex number are (by its real part) + i (by its imaginary part). Arithmetic in
// fp32; arrays on the device, complex ones as (re, im) pairs aligned to 8 bytes. Where arrays are
// aligned to 16 bytes, and frames have an even number of pixels, two pixels move at once.
#pragma once

#include "kernels/cuda/far_field.h"
#include "kernels/cuda/object.h"

namespace ptynet::cuda {

// far *= 2 d_intensity, of which the zero frequency is in the middle, [n, h, w].
void far_field_gradient(const FarFieldShape& shape, float* far, const float* d_intensity,
                        Stream stream);

// Null where nobody wants them.
struct WaveGradients {
  float* amplitude = nullptr;  // [n, h, w]
  float* phase = nullptr;      // [n, h, w]
  float* probe = nullptr;      // [modes, h, w, 2]
};

// d_waves: by the exit waves probe * amplitude * exp(i phase), c64 [n, modes, h, w]. The probe's is
// the sum over frames in an order given by n.
void exit_wave_gradient(const FarFieldShape& shape, const PolarPatches& patches, const float* probe,
                        const float* d_waves, const WaveGradients& d, Stream stream);

}  // namespace ptynet::cuda
