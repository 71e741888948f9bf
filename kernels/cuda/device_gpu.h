// device.h as nvcc compiles it: sm_80 and newer, warpgroups for sm_90a.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/cuda_status.h"

namespace ptynet::cuda {

inline std::size_t most_shared_bytes() {
  int device = 0;
  int bytes = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
        "shared memory per block");
  return static_cast<std::size_t>(bytes);
}

inline int compute_capability() {
  int device = 0;
  int major = 0;
  int minor = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "capability");
  return 10 * major + minor;
}

// All that the device has beside the kernel's own, whatever this launch needs: the limit belongs to
// the kernel, which other threads launch with other sizes.
template <typename... Parameters>
void allow_shared_memory(const char* name, void (*kernel)(Parameters...)) {
  cudaFuncAttributes own{};
  check(cudaFuncGetAttributes(&own, kernel), name);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(most_shared_bytes() - own.sharedSizeBytes)),
        name);
}

template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Stream stream, const Arguments&... arguments) {
  // 48 KiB need not be asked for, but the kernel's own count for them too.
  constexpr std::size_t kUnasked = 32U << 10;
  if (shape.shared_bytes > kUnasked) allow_shared_memory(name, kernel);
  cudaLaunchConfig_t config{};
  config.gridDim =
      dim3(static_cast<unsigned>(shape.blocks.x), static_cast<unsigned>(shape.blocks.y),
           static_cast<unsigned>(shape.blocks.z));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

PTYNET_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
PTYNET_DEVICE int threads() { return static_cast<int>(blockDim.x); }
PTYNET_DEVICE Index3 block() {
  return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
}
PTYNET_DEVICE Index3 grid() {
  return {static_cast<int>(gridDim.x), static_cast<int>(gridDim.y), static_cast<int>(gridDim.z)};
}

// The type of one machine access of so many bytes.
template <std::size_t kBytes>
struct Word;
template <>
struct Word<1> {
  using Type = unsigned char;
};
template <>
struct Word<2> {
  using Type = unsigned short;
};
template <>
struct Word<4> {
  using Type = unsigned;
};
template <>
struct Word<8> {
  using Type = uint2;
};
template <>
struct Word<16> {
  using Type = uint4;
};
template <typename T>
using WordOf = typename Word<sizeof(T)>::Type;

template <typename T>
PTYNET_DEVICE T load(const T* from, Site) {
  return __builtin_bit_cast(T, *reinterpret_cast<const WordOf<T>*>(from));
}

template <typename T>
PTYNET_DEVICE T load_readonly(const T* from, Site) {
  return __builtin_bit_cast(T, __ldg(reinterpret_cast<const WordOf<T>*>(from)));
}

template <typename T>
PTYNET_DEVICE void store(T* to, const T& value, Site) {
  *reinterpret_cast<WordOf<T>*>(to) = __builtin_bit_cast(WordOf<T>, value);
}

template <typename T, int N, int Id>
PTYNET_DEVICE T* shared() {
  __shared__ T array[N];
  return array;
}

template <typename T>
PTYNET_DEVICE T* dynamic_shared() {
  extern __shared__ uint4 bytes[];
  return reinterpret_cast<T*>(bytes);
}

PTYNET_DEVICE void barrier(Site) { __syncthreads(); }

PTYNET_DEVICE std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

template <int kBytes>
PTYNET_DEVICE void copy_async(void* to, const void* from, bool valid, Site) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  const int bytes_read = valid ? kBytes : 0;  // the rest is filled with zeros
  if constexpr (kBytes == 16) {               // past L1: a block reads nothing twice
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes_read)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "n"(kBytes), "r"(bytes_read)
                 : "memory");
  }
}

PTYNET_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int kPending>
PTYNET_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

template <typename T>
PTYNET_DEVICE T atomic_add(T* to, T value, Site) {
  if constexpr (sizeof(T) == 8) {  // two's complement: signed sums are unsigned ones
    return static_cast<T>(atomicAdd(reinterpret_cast<unsigned long long*>(to),
                                    static_cast<unsigned long long>(value)));
  } else {
    return atomicAdd(to, value);
  }
}

template <typename T>
PTYNET_DEVICE T atomic_max(T* to, T value, Site) {
  return atomicMax(to, value);
}

inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

template <typename T>
PTYNET_DEVICE T shuffle(T value, int from_lane, Site) {
  return __shfl_sync(kAllLanes, value, from_lane);
}

template <typename T>
PTYNET_DEVICE T shuffle_xor(T value, int lane_mask, Site) {
  return __shfl_xor_sync(kAllLanes, value, lane_mask);
}

PTYNET_DEVICE std::uint32_t ballot(bool value, Site) { return __ballot_sync(kAllLanes, value); }
PTYNET_DEVICE void warp_barrier(Site) { __syncwarp(); }

PTYNET_DEVICE float to_float(Half v) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(v.bits));
  return out;
}

PTYNET_DEVICE float to_float(Bfloat16 v) { return __uint_as_float(unsigned{v.bits} << 16); }

template <typename T>
PTYNET_DEVICE T from_float(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else {
    T out;
    if constexpr (std::is_same_v<T, Half>) {
      asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(v));
    } else {
      asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(v));
    }
    return out;
  }
}

PTYNET_DEVICE std::uint32_t round_tf32(std::uint32_t float_bits) {
  std::uint32_t out;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(out) : "f"(__uint_as_float(float_bits)));
  return out;
}

#define PTYNET_MMA(SHAPE_AND_TYPES)                                               \
  asm volatile("mma.sync.aligned." SHAPE_AND_TYPES                                \
               " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

template <typename T>
PTYNET_DEVICE void mma_sync(float (&sums)[4], const std::uint32_t (&a)[4],
                            const std::uint32_t (&b)[2], Site) {
  if constexpr (std::is_same_v<T, Half>) {
    PTYNET_MMA("m16n8k16.row.col.f32.f16.f16.f32");
  } else if constexpr (std::is_same_v<T, Bfloat16>) {
    PTYNET_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
  } else {
    static_assert(std::is_same_v<T, Tf32>);
    PTYNET_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
  }
}

#undef PTYNET_MMA

template <int kCount>
PTYNET_DEVICE void ldmatrix(std::uint32_t (&out)[kCount], const void* row, Site) {
  static_assert(kCount == 2 || kCount == 4);
  if constexpr (kCount == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(out[0]), "=r"(out[1])
                 : "r"(shared_address(row))
                 : "memory");
  }
}

template <int kCount>
PTYNET_DEVICE void ldmatrix_trans(std::uint32_t (&out)[kCount], const void* row, Site) {
  static_assert(kCount == 2 || kCount == 4);
  if constexpr (kCount == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(out[0]), "=r"(out[1])
                 : "r"(shared_address(row))
                 : "memory");
  }
}

PTYNET_DEVICE void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

PTYNET_DEVICE void warpgroup_fence(Site) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

PTYNET_DEVICE void warpgroup_commit(Site) {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int kPending>
PTYNET_DEVICE void warpgroup_wait(Site) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

template <int kSums>
PTYNET_DEVICE void take_sums(float (&out)[kSums], const float (&sums)[kSums], Site) {
  PTYNET_UNROLL
  for (int i = 0; i < kSums; ++i) {
    asm volatile("mov.f32 %0, %1;" : "=f"(out[i]) : "f"(sums[i]) : "memory");
  }
}

// The sums are operands 0 to kSums - 1 of the instruction, the descriptors the two after them.
#define PTYNET_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define PTYNET_NAMES_16 PTYNET_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define PTYNET_NAMES_32 \
  PTYNET_NAMES_16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PTYNET_NAMES_64                                                              \
  PTYNET_NAMES_32                                                                    \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PTYNET_SUMS_8(i)                                                                     \
  "+f"(sums[i]), "+f"(sums[i + 1]), "+f"(sums[i + 2]), "+f"(sums[i + 3]), "+f"(sums[i + 4]), \
      "+f"(sums[i + 5]), "+f"(sums[i + 6]), "+f"(sums[i + 7])
#define PTYNET_SUMS_16(i) PTYNET_SUMS_8(i), PTYNET_SUMS_8(i + 8)
#define PTYNET_SUMS_32(i) PTYNET_SUMS_16(i), PTYNET_SUMS_16(i + 16)
#define PTYNET_SUMS_64(i) PTYNET_SUMS_32(i), PTYNET_SUMS_32(i + 32)

// Behind the descriptors: add to the sums, negate neither operand, both are K-major (of 32-bit
// types always, and not said).
#define PTYNET_WGMMA(N, TYPES, NAMES, A, B, REST, ...)                               \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" N TYPES " {" NAMES "}, " A ", " B \
               ", 1, 1, 1" REST ";"                                                  \
               : __VA_ARGS__                                                         \
               : "l"(a_bits), "l"(b_bits))
#define PTYNET_WGMMA_OF(N, NAMES, A, B, ...)                                  \
  if constexpr (std::is_same_v<T, Half>) {                                    \
    PTYNET_WGMMA(N, "k16.f32.f16.f16", NAMES, A, B, ", 0, 0", __VA_ARGS__);   \
  } else if constexpr (std::is_same_v<T, Bfloat16>) {                         \
    PTYNET_WGMMA(N, "k16.f32.bf16.bf16", NAMES, A, B, ", 0, 0", __VA_ARGS__); \
  } else {                                                                    \
    static_assert(std::is_same_v<T, Tf32>);                                   \
    PTYNET_WGMMA(N, "k8.f32.tf32.tf32", NAMES, A, B, "", __VA_ARGS__);        \
  }

template <typename T, int kSums>
PTYNET_DEVICE void warpgroup_mma(float (&sums)[kSums], const SharedMatrix& a, const SharedMatrix& b,
                                 Site) {
  const std::uint64_t a_bits = a.low | std::uint64_t{a.high} << 32;
  const std::uint64_t b_bits = b.low | std::uint64_t{b.high} << 32;
  if constexpr (kSums == 8) {
    PTYNET_WGMMA_OF("16", PTYNET_NAMES_8, "%8", "%9", PTYNET_SUMS_8(0));
  } else if constexpr (kSums == 16) {
    PTYNET_WGMMA_OF("32", PTYNET_NAMES_16, "%16", "%17", PTYNET_SUMS_16(0));
  } else if constexpr (kSums == 32) {
    PTYNET_WGMMA_OF("64", PTYNET_NAMES_32, "%32", "%33", PTYNET_SUMS_32(0));
  } else {
    static_assert(kSums == 64);
    PTYNET_WGMMA_OF("128", PTYNET_NAMES_64, "%64", "%65", PTYNET_SUMS_64(0));
  }
}

#undef PTYNET_WGMMA_OF
#undef PTYNET_WGMMA
#undef PTYNET_SUMS_64
#undef PTYNET_SUMS_32
#undef PTYNET_SUMS_16
#undef PTYNET_SUMS_8
#undef PTYNET_NAMES_64
#undef PTYNET_NAMES_32
#undef PTYNET_NAMES_16
#undef PTYNET_NAMES_8

}  // namespace ptynet::cuda
