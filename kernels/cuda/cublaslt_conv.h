// What cuBLASLt has for a convolution: those of single pixels are products of two matrices.
#pragma once

#include "kernels/cuda/library_conv.h"

namespace ptynet::cuda {

// As library_convs(); in the order of cuBLASLt's heuristics. For kernel 1, stride 1, no padding,
// one group, not transposed, no gradients; activations are none and ReLU, LeakyReLU is not in its
// words.
LibraryConvs cublaslt_convs(cublasLtContext* handle, const ConvRequest& request, int most);

}  // namespace ptynet::cuda
