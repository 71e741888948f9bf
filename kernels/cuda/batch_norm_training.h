// Batch norm with the batch's own statistics, and its gradient, as kernels/backend.h defines them.
// Arrays are f32 on the device, x, y and their derivatives [pixels, channels]; where channels are a
// multiple of 4 and arrays aligned to 16 bytes, four move at once. Each direction reads its
// operands twice, once for sums and once for its result. Sums are in double, in an order that the
// shape and the alignment decide.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/math.h"

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

void batch_norm_training(const BatchShape& shape, const float* x, const BatchTraining& training,
                         double* scratch, float* y, Stream stream);

// What the forward pass had and left, and the derivative by what it gave.
struct BatchNormResult {
  const float* x;
  const float* dy;
  NormArrays<const float> batch;
  Activation activation;
};
struct BatchNormDerivatives {
  float* dx;     // null: not wanted, as the next two
  float* dw;     // [channels]
  float* db;     // [channels]
  float* terms;  // scratch [2, channels]
};
void batch_norm_gradient(const BatchShape& shape, const BatchNormResult& result, double* scratch,
                         const BatchNormDerivatives& d, Stream stream);

}  // namespace ptynet::cuda
