// What twin.cpp lends twin_matrices.cpp.
#pragma once

#include "tests/cuda_on_cpu/twin.h"

namespace ptynet::cuda::twin {

// Throws unless `p` lies in shared memory of the running block.
void expect_shared(const void* p, const char* what, const Site& site);
void count_matrix_instruction();

}  // namespace ptynet::cuda::twin
