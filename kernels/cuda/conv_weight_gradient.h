// The gradient of convolutions by their weights, written by hand, as kernels/backend.h defines
// conv2d_gradient and conv_transpose2d_gradient.
#pragma once

#include <cstdint>

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

// In device memory; x and dz of the precision's array type.
struct WeightGradient {
  const void* x;   // [n, h, w, ci]
  const void* dz;  // [n, oh, ow, co], the derivative by the biased sum
  float* dw;       // [co, kernel, kernel, ci / groups]
  float* parts;    // weight_gradient_parts() of them
};

// f32 values of scratch memory.
std::int64_t weight_gradient_parts(const ConvShape& shape, Precision precision,
                                   int multiprocessors);

// dw[o, u, v, i] = sum over images, rows r and columns c of
// dz[r, c, o] * x[r * stride - padding + u, c * stride - padding + v, i].
// A transposed convolution is the gradient of a convolution that has the same weights: it passes
// that one's shape, its own dz as x and its own x as dz.
// Sums are f32, in an order that follows from shape, precision and multiprocessors alone.
void weight_gradient(const ConvShape& shape, Precision precision, const WeightGradient& arrays,
                     int multiprocessors, Stream stream);

}  // namespace ptynet::cuda
