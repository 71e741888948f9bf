// Names that launchers and their callers share, without any CUDA header.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace ptynet::cuda {

using Stream = CUstream_st*;  // a cudaStream_t

// What the arithmetic of a layer is done in. Sums are always fp32; arrays are f32, f32, bf16, f16.
enum class Precision : std::uint8_t { kF32, kTf32, kBf16, kF16 };

}  // namespace ptynet::cuda
