// Max-pooling and bilinear upsampling, as kernels/backend.h defines them, and their gradients,
// limited by reading what they take and writing what they give, each once. Arrays are of the
// precision's type (f32 for fp32 and tf32), on the device. Channels move 16 bytes at once where
// their count and the arrays' addresses allow, else one by one.
#pragma once

#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

struct ResizeShape {
  int n, h, w, c;  // x [n, h, w, c]
  int factor;      // rows and columns of x per one of y, or of y per one of x
};

// y [n, h / factor, w / factor, c]: the largest of factor x factor pixels; rows and columns left
// over are dropped.
void max_pool2d(const ResizeShape& shape, Precision precision, const void* x, void* y,
                Stream stream);

// y [n, h * factor, w * factor, c], pixel centres at half-integers, edges clamped.
void upsample_bilinear2d(const ResizeShape& shape, Precision precision, const void* x, void* y,
                         Stream stream);

// Of max_pool2d(): dx [n, h, w, c] has dy [n, h / factor, w / factor, c] at the first largest value
// of each window of x, in row order, and 0 elsewhere.
struct PoolGradient {
  const void* x;
  const void* dy;
  void* dx;
};
void max_pool2d_gradient(const ResizeShape& shape, Precision precision, const PoolGradient& arrays,
                         Stream stream);

// Of upsample_bilinear2d(): dx [n, h, w, c] gathers from dy [n, h * factor, w * factor, c], in a
// fixed order.
void upsample_bilinear2d_gradient(const ResizeShape& shape, Precision precision, const void* dy,
                                  void* dx, Stream stream);

}  // namespace ptynet::cuda
