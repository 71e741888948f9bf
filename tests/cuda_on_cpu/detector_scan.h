// A made-up scan: frames as a detector stores them, and the same through their window, as arrays.
#pragma once

#include <string>
#include <vector>

#include "kernels/array.h"
#include "kernels/cuda/detector_frames.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

struct ScanOptions {
  FrameWindow window;
  DType type;
  int n;
  bool masked;
  bool aligned;  // in memory
};

struct Scan {
  Placed counts;
  Placed mask;
  DetectorFrames frames;
  Array seen;  // [n, h, w] of the detector's type, 0 outside of the stored frame
  Array good;  // u8 [n, h, w]: 1 on the detector and in the mask
};

// Counts of 0 to 4096 (u8: 250), and a few dead, negative and NaN ones where the type has them.
Scan make_scan(const ScanOptions& options);
std::string describe(const ScanOptions& options);

}  // namespace ptynet::cuda::tests
