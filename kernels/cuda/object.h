// From the network's output to what goes into the Fourier transform: amplitude and phase, object
// patch, exit waves, in one pass over memory. Arithmetic in fp32; arrays on the device, complex
// ones (c64) as (re, im) pairs aligned to 8 bytes. Frames have fewer than 2^23 pixels.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

struct PatchShape {
  int n, h, w;
};

// What the network gave: x [n, h, w, channels] of the precision's array type.
struct NetworkOutput {
  const void* x;
  Precision precision;
  int channels;
  OutputHead amplitude;
  OutputHead phase;  // rad
};

struct ProbeModes {
  const float* probe = nullptr;  // c64 [modes, h, w]
  int modes = 0;
  bool of_each_frame = false;  // c64 [n, modes, h, w]
};

// Null where nobody wants them.
struct PatchResults {
  float* amplitude = nullptr;  // [n, h, w]
  float* phase = nullptr;      // [n, h, w], rad
  float* object = nullptr;     // c64 [n, h, w]: amplitude * exp(i phase)
  float* waves = nullptr;      // c64 [n, modes, h, w]: probe * object
};

// Throws Error (runtime) for a head's channel that x does not have.
void compose_patches(const PatchShape& shape, const NetworkOutput& output, const ProbeModes& probe,
                     const PatchResults& results, Stream stream);

// The same from amplitude and phase (rad), f32 [n, h, w]; does not write those.
struct PolarPatches {
  const float* amplitude;
  const float* phase;
};
void compose_patches(const PatchShape& shape, const PolarPatches& patches, const ProbeModes& probe,
                     const PatchResults& results, Stream stream);

// The same from the object, c64 [n, h, w]; writes only waves.
void exit_waves(const PatchShape& shape, const float* object, const ProbeModes& probe, float* waves,
                Stream stream);

}  // namespace ptynet::cuda
