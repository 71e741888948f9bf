// device.h as g++ compiles it: one fiber per thread of a block, run by tests/cuda_on_cpu/twin.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <type_traits>

namespace ptynet::cuda {

namespace twin {

// Where the running fiber stands.
struct Position {
  Index3 block;
  Index3 grid;
  int thread = 0;
  int threads = 0;
};
const Position& position();

// Does it now, or adds it to the capture under way, on that stream.
void submit(Stream stream, std::function<void()> work);
// Runs `body` for every thread of every block.
void run(const char* name, const LaunchShape& shape, const std::function<void()>& body);

// Shared memory of the running block under a name of its own. Until somebody writes, every byte is
// 0xFF, which is NaN in every float type, or 0x7F: with the fibers in random order.
void* shared_memory(const void* key, std::size_t bytes);
void* dynamic_shared_memory();
std::size_t most_shared_bytes();
// 90, or as the environment's PTYNET_TWIN_CAPABILITY says.
int compute_capability();

// Every access comes by here: throws where the address is not aligned, and counts.
void note_access(const void* address, std::size_t bytes, bool writes, const Site& site);

void wait_for_block(const Site& site);

// Until its wait the copy's target is as never written: neither its old nor its new content may be
// relied on.
void start_copy(void* to, const void* from, std::size_t bytes, bool valid, const Site& site);
void commit_copies();
void wait_for_copies(int pending);

// Waits for all lanes of the warp. The last to come does `work` for all of them.
using Operands = std::array<void*, kWarpLanes>;
void meet(void* operand, void (*work)(const Operands&), const Site& site);

void multiply(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              DType type, const Site& site);
void load_matrices(std::uint32_t* out, int count, const void* row, bool transposed,
                   const Site& site);

// As descriptors of matrices count it.
std::uint32_t shared_address(const void* p);
void fence_async_proxy();
// twin_warpgroups.h
void fence_products(const Site& site);
void begin_product(float* sums, int count, const SharedMatrix& a, const SharedMatrix& b, DType type,
                   const Site& site);
void commit_products(const Site& site);
void wait_for_products(int pending, const Site& site);
void expect_own(const float* sums, const Site& site);

Half narrow_f16(float v);

}  // namespace twin

template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Stream stream, const Arguments&... arguments) {
  twin::submit(stream, [=] {
    twin::run(name, shape, [&] { kernel(static_cast<Parameters>(arguments)...); });
  });
}

inline std::size_t most_shared_bytes() { return twin::most_shared_bytes(); }
inline int compute_capability() { return twin::compute_capability(); }

inline int thread() { return twin::position().thread; }
inline int threads() { return twin::position().threads; }
inline Index3 block() { return twin::position().block; }
inline Index3 grid() { return twin::position().grid; }

template <typename T>
T load(const T* from, Site site) {
  twin::note_access(from, sizeof(T), false, site);
  return *from;
}

template <typename T>
T load_readonly(const T* from, Site site) {
  return load(from, site);
}

template <typename T>
void store(T* to, const T& value, Site site) {
  twin::note_access(to, sizeof(T), true, site);
  *to = value;
}

template <typename T, int N, int Id>
T* shared() {
  static constexpr char kKey = 0;
  return static_cast<T*>(twin::shared_memory(&kKey, sizeof(T) * N));
}

template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(twin::dynamic_shared_memory());
}

inline void barrier(Site site) { twin::wait_for_block(site); }

template <int kBytes>
void copy_async(void* to, const void* from, bool valid, Site site) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  twin::start_copy(to, from, kBytes, valid, site);
}

inline void commit_copies() { twin::commit_copies(); }

template <int kPending>
void wait_copies() {
  twin::wait_for_copies(kPending);
}

template <typename T>
T atomic_add(T* to, T value, Site site) {
  twin::note_access(to, sizeof(T), true, site);
  const T before = *to;
  *to = static_cast<T>(before + value);
  return before;
}

template <typename T>
T atomic_max(T* to, T value, Site site) {
  twin::note_access(to, sizeof(T), true, site);
  const T before = *to;
  *to = std::max(before, value);
  return before;
}

template <typename T>
T shuffle(T value, int from_lane, Site site) {
  struct Operand {
    T value;
    int from;
    T result;
  } operand{value, from_lane, {}};
  twin::meet(
      &operand,
      [](const twin::Operands& lanes) {
        for (void* lane : lanes) {
          auto* mine = static_cast<Operand*>(lane);
          const auto from = static_cast<std::size_t>(mine->from % kWarpLanes);
          mine->result = static_cast<Operand*>(lanes[from])->value;
        }
      },
      site);
  return operand.result;
}

template <typename T>
T shuffle_xor(T value, int lane_mask, Site site) {
  return shuffle(value, lane() ^ lane_mask, site);
}

inline std::uint32_t ballot(bool value, Site site) {
  std::uint32_t votes = value ? 1 : 0;
  twin::meet(
      &votes,
      [](const twin::Operands& lanes) {
        std::uint32_t all = 0;
        for (std::size_t i = 0; i < lanes.size(); ++i) {
          all |= *static_cast<std::uint32_t*>(lanes[i]) << i;
        }
        for (void* lane : lanes) *static_cast<std::uint32_t*>(lane) = all;
      },
      site);
  return votes;
}

inline void warp_barrier(Site site) {
  twin::meet(
      nullptr, [](const twin::Operands&) {}, site);
}

inline float to_float(Half v) { return widen(v); }
inline float to_float(Bfloat16 v) { return widen(v); }

template <typename T>
T from_float(float v) {
  if constexpr (std::is_same_v<T, float>) {
    return v;
  } else if constexpr (std::is_same_v<T, Half>) {
    return twin::narrow_f16(v);
  } else {
    return narrow_bf16(v);
  }
}

inline std::uint32_t round_tf32(std::uint32_t float_bits) {
  return (float_bits + 0x1000U) & 0xFFFFE000U;
}

template <typename T>
constexpr DType product_type() {
  return std::is_same_v<T, Half>       ? DType::kF16
         : std::is_same_v<T, Bfloat16> ? DType::kBf16
                                       : DType::kF32;
}

template <typename T>
void mma_sync(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              Site site) {
  twin::multiply(sums, a, b, product_type<T>(), site);
}

template <int kCount>
void ldmatrix(std::uint32_t (&out)[kCount], const void* row, Site site) {
  twin::load_matrices(out, kCount, row, false, site);
}

template <int kCount>
void ldmatrix_trans(std::uint32_t (&out)[kCount], const void* row, Site site) {
  twin::load_matrices(out, kCount, row, true, site);
}

inline std::uint32_t shared_address(const void* p) { return twin::shared_address(p); }
inline void fence_async_proxy() { twin::fence_async_proxy(); }
inline void warpgroup_fence(Site site) { twin::fence_products(site); }

template <typename T, int kSums>
void warpgroup_mma(float (&sums)[kSums], const SharedMatrix& a, const SharedMatrix& b, Site site) {
  twin::begin_product(sums, kSums, a, b, product_type<T>(), site);
}

inline void warpgroup_commit(Site site) { twin::commit_products(site); }

template <int kPending>
void warpgroup_wait(Site site) {
  twin::wait_for_products(kPending, site);
}

template <int kSums>
void take_sums(float (&out)[kSums], const float (&sums)[kSums], Site site) {
  twin::expect_own(sums, site);
  std::copy(std::begin(sums), std::end(sums), std::begin(out));
}

}  // namespace ptynet::cuda
