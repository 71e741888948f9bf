// Names that launchers and their callers share, without any CUDA header.
#pragma once

#include "kernels/precision.h"

struct CUstream_st;

namespace ptynet::cuda {

using Stream = CUstream_st*;  // a cudaStream_t
using ptynet::Precision;

}  // namespace ptynet::cuda
