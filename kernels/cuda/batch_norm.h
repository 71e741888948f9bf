// Batch norm with stored statistics, where it could not be folded into a convolution.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/math.h"

namespace ptynet::cuda {

struct ChannelStatistics {  // f32, one per channel
  const float* weight;
  const float* bias;
  const float* mean;
  const float* variance;
  float epsilon;
};

// y = activation((x - mean) / sqrt(variance + epsilon) * weight + bias), x and y [pixels, channels]
// of the precision's array type, on the device. Limited by reading x and writing y.
void batch_norm(Precision precision, const void* x, const ChannelStatistics& statistics,
                const Activation& a, void* y, std::int64_t pixels, int channels, Stream stream);

}  // namespace ptynet::cuda
