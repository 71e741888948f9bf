// Max-pooling and bilinear upsampling, as kernels/backend.h defines them, limited by reading x and
// writing y. Arrays are of the precision's type (f32 for fp32 and tf32), on the device. Channels
// move 16 bytes at once where their count and the arrays' addresses allow, else one by one.
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

}  // namespace ptynet::cuda
