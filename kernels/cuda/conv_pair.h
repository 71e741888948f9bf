// Two convolutions that one kernel does: what its launcher is told.
#pragma once

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

struct ConvPairShape {
  ConvShape first;
  ConvShape second;  // of the first's output
};

// As ConvOperands. Weights are not packed: as kernels/backend.h has them.
struct ConvPairOperands {
  const void* x;
  const void* first_w;
  const float* first_b;  // or null
  const void* second_w;
  const float* second_b;  // or null
  void* y;
  bool f32_result = false;  // y is f32 whatever the precision
};

}  // namespace ptynet::cuda
