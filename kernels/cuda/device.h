// All that a kernel may use of its device. Kernels are written against this header alone (without
// <<<>>>, __shared__, cooperative groups and vendor intrinsics), so that the same file is compiled
// by nvcc (device_gpu.h) and by g++, where fibers play the threads of a block (device_host.h and
// tests/cuda_on_cpu).
//
// A kernel and its launcher:
//
//   PTYNET_KERNEL(256) scale(const float* x, float factor, float* y, int count) {
//     const int i = block().x * threads() + thread();
//     if (i < count) store(y + i, factor * load_readonly(x + i));
//   }
//   ...
//   launch("scale", scale, {{(count + 255) / 256}, 256}, stream, x, factor, y, count);
//
// - Blocks have one dimension of threads, a multiple of 32; grids have up to three.
// - Reach memory, global or shared, through load() and store(): there the twin checks alignment and
//   counts sectors and bank conflicts. Types of 1, 2, 4, 8 or 16 bytes; Vector<T, N> for more at
//   once.
// - barrier(), and every function under "Warps" and "Matrices", is called by all threads of the
//   block or all lanes of the warp, or by none.
// - A copy_async() is in flight until its wait_copies(), and other threads' copies are seen after a
//   barrier() that follows.
// - `Site` is never passed: it tells the twin which line of the kernel asks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/dtype.h"
#include "kernels/error.h"
#include "kernels/math.h"

#ifdef __CUDACC__
// In place of `void`; arguments as __launch_bounds__: threads per block, blocks per multiprocessor.
#define PTYNET_KERNEL(...) __global__ void __launch_bounds__(__VA_ARGS__)
#define PTYNET_DEVICE __device__ __forceinline__
#define PTYNET_UNROLL _Pragma("unroll")
#define PTYNET_NO_UNROLL _Pragma("unroll 1")
#else
#define PTYNET_KERNEL(...) void
#define PTYNET_DEVICE inline
#define PTYNET_UNROLL
#define PTYNET_NO_UNROLL
#endif

namespace ptynet::cuda {

inline constexpr int kWarpLanes = 32;

struct Index3 {
  int x = 1;
  int y = 1;
  int z = 1;
};

struct LaunchShape {
  Index3 blocks;
  int threads = 0;
  std::size_t shared_bytes = 0;  // what dynamic_shared() points to
};

// N elements that move as one: an access of sizeof(T) * N bytes, aligned to as many.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vector {
  T at[N];
  PTYNET_HOST_DEVICE T& operator[](int i) { return at[i]; }
  PTYNET_HOST_DEVICE const T& operator[](int i) const { return at[i]; }
};

// f32 as tensor cores take it: a name for mma_sync(), stored as float.
struct Tf32 {};

#ifdef __CUDACC__
struct Site {
  PTYNET_HOST_DEVICE static constexpr Site current() { return {}; }
};
#else
struct Site {
  const char* file;
  unsigned line;
  static constexpr Site current(const char* file = __builtin_FILE(),
                                unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};
#endif

// Runs `kernel`. Throws Error (runtime) naming it when the device refuses.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Stream stream, const Arguments&... arguments);

// The most shared memory that a block may have on the current device: LaunchShape::shared_bytes and
// what its kernel takes by shared() together.
std::size_t most_shared_bytes();

// Who am I.
PTYNET_DEVICE int thread();    // within the block
PTYNET_DEVICE int threads();   // of a block
PTYNET_DEVICE Index3 block();  // within the grid
PTYNET_DEVICE Index3 grid();   // blocks
PTYNET_DEVICE int lane() { return thread() % kWarpLanes; }
PTYNET_DEVICE int warp() { return thread() / kWarpLanes; }

// Memory.
template <typename T>
PTYNET_DEVICE T load(const T* from, Site site = Site::current());
// From memory that nobody writes while the kernel runs.
template <typename T>
PTYNET_DEVICE T load_readonly(const T* from, Site site = Site::current());
template <typename T>
PTYNET_DEVICE void store(T* to, const T& value, Site site = Site::current());
// N elements of the block's shared memory, uninitialised; the same ones for the same T, N and Id.
template <typename T, int N, int Id = 0>
PTYNET_DEVICE T* shared();
// LaunchShape::shared_bytes of it, aligned to 16 bytes.
template <typename T>
PTYNET_DEVICE T* dynamic_shared();
PTYNET_DEVICE void barrier(Site site = Site::current());
// 4, 8 or 16 bytes from global to shared memory, both aligned to as many; where not `valid`, zeros,
// and `from` is not read.
template <int kBytes>
PTYNET_DEVICE void copy_async(void* to, const void* from, bool valid, Site site = Site::current());
// Makes a group of this thread's copies since the last commit.
PTYNET_DEVICE void commit_copies();
// Waits until at most kPending of this thread's newest groups are in flight.
template <int kPending>
PTYNET_DEVICE void wait_copies();
// Both return the value before. T: std::uint32_t, and for the sum std::int64_t.
template <typename T>
PTYNET_DEVICE T atomic_add(T* to, T value, Site site = Site::current());
template <typename T>
PTYNET_DEVICE T atomic_max(T* to, T value, Site site = Site::current());

// Warps. T of 4 or 8 bytes.
template <typename T>
PTYNET_DEVICE T shuffle(T value, int from_lane, Site site = Site::current());
template <typename T>
PTYNET_DEVICE T shuffle_xor(T value, int lane_mask, Site site = Site::current());
PTYNET_DEVICE std::uint32_t ballot(bool value, Site site = Site::current());
PTYNET_DEVICE void warp_barrier(Site site = Site::current());

// Conversions, to nearest, ties to even. T: float, Half, Bfloat16.
PTYNET_DEVICE float to_float(float v) { return v; }
PTYNET_DEVICE float to_float(Half v);
PTYNET_DEVICE float to_float(Bfloat16 v);
template <typename T>
PTYNET_DEVICE T from_float(float v);
// To the 10 bits of mantissa that tensor cores take (they would drop the rest), ties away from 0.
PTYNET_DEVICE std::uint32_t round_tf32(std::uint32_t float_bits);

// Matrices. Fragments are as PTX's mma.m16n8 has them: lane l holds rows l / 4 and l / 4 + 8.
// sums[16x8] += a[16xk] * b[kx8], k = 16 for T = Half and Bfloat16, 8 for Tf32.
template <typename T>
PTYNET_DEVICE void mma_sync(float (&sums)[4], const std::uint32_t (&a)[4],
                            const std::uint32_t (&b)[2], Site site = Site::current());
// kCount (2 or 4) matrices of 8 rows of 16 bytes: lane l passes the address of row l % 8 of matrix
// l / 8 (kCount 2: lanes 16 and on are ignored). Lane l gets the 4 bytes at 4 * (l % 4) of row l /
// 4 of each.
template <int kCount>
PTYNET_DEVICE void ldmatrix(std::uint32_t (&out)[kCount], const void* row,
                            Site site = Site::current());
// The same with each 8x8 matrix of 2-byte elements transposed.
template <int kCount>
PTYNET_DEVICE void ldmatrix_trans(std::uint32_t (&out)[kCount], const void* row,
                                  Site site = Site::current());

}  // namespace ptynet::cuda

#ifdef __CUDACC__
#include "kernels/cuda/device_gpu.h"
#else
#include "kernels/cuda/device_host.h"
#endif
