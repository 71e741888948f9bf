// What the CUDA runtime answers, as an Error.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/error.h"

namespace ptynet::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    fail_runtime("CUDA, ", what, ": ", cudaGetErrorString(status), " (", cudaGetErrorName(status),
                 ")");
  }
}

}  // namespace ptynet::cuda
