// The first step of a convolution's gradient: back through its activation, and to its bias.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/math.h"
#include "kernels/precision.h"

namespace ptynet::cuda {

struct SumShape {
  std::int64_t pixels;  // of all images
  int channels;
  Activation activation;
};

// Arrays [pixels, channels] of the precision's array type, in device memory. dz overlaps neither.
struct SumGradient {
  const void* y;   // what the activation gave; null where there is none
  const void* dy;  // the derivative by it
  void* dz;        // by the biased sum: dy * slope(y); null: not wanted
  float* d_bias;   // [channels], the sum of that over pixels; null: not wanted
  float* parts;    // sum_gradient_parts() of them; null where d_bias is
};

std::int64_t sum_gradient_parts(const SumShape& shape, int multiprocessors);

// One pass over memory, and a second one over the parts. Sums are f32, in an order that follows
// from extents, alignment and multiprocessors alone.
void sum_gradient(const SumShape& shape, Precision precision, const SumGradient& arrays,
                  int multiprocessors, Stream stream);

}  // namespace ptynet::cuda
