// The second pass of sums over many blocks, in a fixed order.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

// sums[i] = parts[0][i] + parts[1][i] + .., parts f32 [count, width].
void add_parts(const float* parts, int count, std::int64_t width, float* sums, Stream stream);

}  // namespace ptynet::cuda
