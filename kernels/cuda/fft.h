// Batched two-dimensional Fourier transforms by cuFFT.
#pragma once

#include <cstddef>

#include "kernels/cuda/stream.h"
#include "kernels/math.h"

namespace ptynet::cuda {

// Transforms of n images c64 [n, h, w], planned once for the device that is current: forward with
// exp(-i 2 pi), both directions unnormalised, the zero frequency in the corner. One thread at a
// time. A plan outlives the graphs that captured its runs. Throws Error (runtime).
class FftPlan {
 public:
  FftPlan(int n, int h, int w);
  ~FftPlan();
  FftPlan(const FftPlan&) = delete;
  FftPlan& operator=(const FftPlan&) = delete;

  std::size_t workspace_bytes() const { return workspace_bytes_; }

  // in, out: (re, im) pairs [n, h, w] on the device, aligned to 8 bytes; the same array, or two
  // that do not overlap. workspace: workspace_bytes() aligned to 256, for this run alone. Launches
  // on `stream` and waits for nothing.
  void run(const float* in, float* out, FftDirection direction, void* workspace, Stream stream);

 private:
  int plan_;  // a cufftHandle
  int n_, h_, w_;
  std::size_t workspace_bytes_ = 0;
};

}  // namespace ptynet::cuda
