// Batch norm with the batch's own statistics, and its gradient, as kernels/backend.h defines them.
// Arrays are on the device, x, y and their derivatives [pixels, channels] of the precision's array
// type, the others f32. y and dx are computed in f32 and rounded once, and the activation's slope
// is that of y before it was rounded. Where channels and alignment allow, several elements move at
// once. Each direction reads its operands twice, once for sums and once for its result. Sums are in
// double, in an order that the shape and the alignment decide.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/math.h"
#include "kernels/precision.h"

namespace ptynet::cuda {

struct BatchShape {
  std::int64_t pixels;  // of all frames
  int channels;
};

// Doubles of scratch memory that either direction takes: sums of parts of the batch.
std::int64_t batch_norm_scratch(const BatchShape& shape);

// What normalised a batch, [channels] each (ChannelNorm of kernels/math.h).
template <typename T>
struct NormArrays {
  T* mean;
  T* inverse_std;
  T* scale;
  T* shift;
};

struct BatchTraining {  // arrays [channels]
  const float* weight;
  const float* bias;
  float* running_mean;  // these two are moved
  float* running_var;
  NormArrays<float> batch;  // written
  double epsilon;
  double momentum;
  Activation activation;
};

void batch_norm_training(const BatchShape& shape, Precision precision, const void* x,
                         const BatchTraining& training, double* scratch, void* y, Stream stream);

// What the forward pass had and left, and the derivative by what it gave.
struct BatchNormResult {
  const void* x;
  const void* dy;
  NormArrays<const float> batch;
  Activation activation;
};
struct BatchNormDerivatives {
  void* dx;      // null: not wanted, as the next two
  float* dw;     // [channels]
  float* db;     // [channels]
  float* terms;  // scratch [2, channels]
};
void batch_norm_gradient(const BatchShape& shape, Precision precision,
                         const BatchNormResult& result, double* scratch,
                         const BatchNormDerivatives& d, Stream stream);

}  // namespace ptynet::cuda
