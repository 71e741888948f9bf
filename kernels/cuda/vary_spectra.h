// The spectrum of a probe as it differs from pattern to pattern, by kernels/probe_variation.h.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/probe_variation.h"

namespace ptynet::cuda {

// Complex arrays (c64) as (re, im) pairs aligned to 8 bytes; where w is even and arrays are aligned
// to 16 bytes, two pixels move at once. Frames have fewer than 2^23 pixels.
struct VariedSpectra {
  int n, modes, h, w;
  const float* spectrum;  // [modes, h, w]
  float* factors;         // scratch [n, h + w]
  float* y;               // [n, modes, h, w]
};

// y[i] is varied by draw_variation(series, *first + i).
void vary_spectra(const VariedSpectra& spectra, const ProbeSeries& series, const double* first,
                  Stream stream);

}  // namespace ptynet::cuda
