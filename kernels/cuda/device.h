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

// Of the current device: 90 is 9.0.
int compute_capability();

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

// Warpgroups: four warps in succession, the first a multiple of four, on compute capability 9.x
// alone (compiled for sm_90a). Called by all their lanes. Their products run beside the threads:
// - They read shared memory by way of the async proxy. They see what a thread wrote there, by
//   store() or a copy_async() it waited for, after its fence_async_proxy() and then a barrier().
// - From warpgroup_mma() on the sums are the product's, until a warpgroup_wait() that covers it.
//   Before the first product of some sums, and the first after such a wait: warpgroup_fence().
// - Operands stay as they are until all four warps have waited.
inline constexpr int kWarpgroupThreads = 4 * kWarpLanes;

// An operand of warpgroup_mma() in shared memory: rows, of A or of the columns of B, of 32 bytes
// along k. 8 rows by 16 bytes lie in 128 bytes in succession (PTX: a core matrix), anywhere on 16
// bytes. The halves of PTX's matrix descriptor.
struct SharedMatrix {
  std::uint32_t low;
  std::uint32_t high;

  // The same so many bytes on; a multiple of 16, within shared memory.
  PTYNET_DEVICE SharedMatrix moved(int bytes) const {
    return {low + static_cast<std::uint32_t>(bytes / 16), high};
  }
};

// Of the block's shared memory as descriptors count it, below 2^18.
PTYNET_DEVICE std::uint32_t shared_address(const void* p);

// Bytes from the first 16 bytes of a row to the second, and from 8 rows to the next 8: multiples of
// 16 below 2^18.
//
// PTX ISA 9.0, 9.7.15.5.1.2 (wgmma, shared memory matrix layout): "matrix descriptor format" has
// the start address in bits 0 to 13, the leading dimension byte offset in 16 to 29, the stride
// dimension byte offset in 32 to 45, each without its last 4 bits, and 0 in bits 62 and 63 for no
// swizzle, where the base offset (49 to 51) does not count. For K-major matrices without swizzle
// the leading offset is "from the first column to the second" in units of 16 bytes, thus along k,
// and the stride offset "from the first 8 rows to the next 8 rows"; its example for tf32,
// ((8,2),(4,4)):((4,32),(1,64)), has 64 elements as the former and 32 as the latter. CUTLASS's
// cute/arch/mma_sm90_desc.hpp says the same.
PTYNET_DEVICE SharedMatrix shared_matrix(const void* first, int next_columns, int next_rows) {
  return {shared_address(first) >> 4 | static_cast<std::uint32_t>(next_columns) << 12,
          static_cast<std::uint32_t>(next_rows) >> 4};
}

PTYNET_DEVICE void fence_async_proxy();
PTYNET_DEVICE void warpgroup_fence(Site site = Site::current());
// Begins sums[64xn] += a[64xk] * b[kxn], n = 2 kSums of 16, 32, 64 or 128, k = 16 for T = Half and
// Bfloat16, 8 for Tf32, whose last 13 bits are dropped. Lane l of warp w holds rows 16 w + l / 4
// and 8 more; sums[4 j ..] are those of columns 8 j + 2 (l % 4) and the next, of the first row and
// then of the second (as mma_sync()'s).
template <typename T, int kSums>
PTYNET_DEVICE void warpgroup_mma(float (&sums)[kSums], const SharedMatrix& a, const SharedMatrix& b,
                                 Site site = Site::current());
// Makes a group of the products since the last commit.
PTYNET_DEVICE void warpgroup_commit(Site site = Site::current());
// Waits until at most kPending of the newest groups are under way.
template <int kPending>
PTYNET_DEVICE void warpgroup_wait(Site site = Site::current());
// The sums after the wait, by way of which alone a kernel reads them: the compiler does not see
// that the wait changes them, and must have no other use of them than as sums.
template <int kSums>
PTYNET_DEVICE void take_sums(float (&out)[kSums], const float (&sums)[kSums],
                             Site site = Site::current());

}  // namespace ptynet::cuda

#ifdef __CUDACC__
#include "kernels/cuda/device_gpu.h"
#else
#include "kernels/cuda/device_host.h"
#endif
