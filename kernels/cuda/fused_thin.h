// The last two layers of PtyNet-S in one kernel: a convolution to two channels, and the transposed
// convolution of those that doubles the frame. What is between them stays in shared memory, in f32.
#pragma once

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

struct FusedThinShape {
  ConvShape conv;
  ConvShape transposed;  // of the convolution's output
};

// As thin_conv2d() and thin_conv_transpose2d() take theirs; y is aligned to pixels.
struct FusedThinOperands {
  const void* x;
  const void* conv_w;
  const float* conv_b;  // [2] or null
  const void* transposed_w;
  const float* transposed_b;  // [2] or null
  void* y;                    // [n, oh, ow, 2]
  bool f32_result = false;    // y is f32 whatever the precision
};

// A convolution with kernel 3 to two channels that is_thin_conv2d(), and a transposed one that
// is_thin_conv_transpose2d() with a kernel of up to 4.
bool is_fused_thin(const FusedThinShape& shape, Precision precision);
// y = transposed(conv(x)), each with its bias and activation; throws Error (runtime) unless
// is_fused_thin().
void fused_thin(const FusedThinShape& shape, Precision precision, const FusedThinOperands& operands,
                Stream stream);

}  // namespace ptynet::cuda
