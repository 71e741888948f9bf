// Arrays filled, scaled and brought to other types, value by value. On the device.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/dtype.h"
#include "kernels/random.h"

namespace ptynet::cuda {

struct TypedValues {
  void* data;
  DType type;  // f32, f16 or bf16
};

// y = x, rounded to nearest, ties to even, where y's type has fewer digits.
void convert(const TypedValues& x, const TypedValues& y, std::int64_t count, Stream stream);

// x *= factor, f32.
void scale(float* x, float factor, std::int64_t count, Stream stream);

// y = x * factor, one on the device, as f32.
void multiply(const float* x, const double* factor, float* y, std::int64_t count, Stream stream);

// y[i] = low + (high - low) * random.uniform(i), f32, in fp64 arithmetic.
struct UniformRange {
  float low;
  float high;
};
void random_uniform(const CounterRandom& random, const UniformRange& range, float* y,
                    std::int64_t count, Stream stream);

}  // namespace ptynet::cuda
