// What twin.cpp lends twin_matrices.cpp and twin_warpgroups.cpp.
#pragma once

#include <string>

#include "tests/cuda_on_cpu/twin.h"

namespace ptynet::cuda::twin {

// Throws unless `p` lies in shared memory of the running block.
void expect_shared(const void* p, const char* what, const Site& site);
void count_matrix_instructions(int count);
// Of 128 bytes in succession, 1 wave each.
void count_shared_reads(int count);

// "conv_kernel.h:12".
std::string place(const Site& site);
// Throws unless all those bytes lie in one array of the running block's shared memory. `address` as
// shared_address() gives it.
const unsigned char* shared_memory_at(std::uint32_t address, std::size_t bytes, const Site& site);
// Throws when a thread of the running block passed a barrier, or this one is here, with writes to
// shared memory that no fence_async_proxy() followed.
void expect_fenced(const Site& site);
class WarpProducts;
WarpProducts& products_of_warp();  // of the running thread

}  // namespace ptynet::cuda::twin
