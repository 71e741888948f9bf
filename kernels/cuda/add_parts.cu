#include "kernels/cuda/add_parts.h"
#include "kernels/cuda/launching.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 512;

// `across` sums side by side, a power of two up to a warp; a thread adds every so many parts, and
// then their halves are added until one is left.
PTYNET_KERNEL(kThreads)
add_parts_kernel(const float* parts, int count, std::int64_t width, int across, float* sums) {
  float* of_threads = shared<float, kThreads>();
  const std::int64_t i = static_cast<std::int64_t>(block().x) * across + thread() % across;
  float sum = 0;
  if (i < width) {
    for (int part = thread() / across; part < count; part += kThreads / across) {
      sum += load_readonly(parts + part * width + i);
    }
  }
  store(of_threads + thread(), sum);
  PTYNET_NO_UNROLL
  for (int half = kThreads / 2; half >= across; half /= 2) {
    barrier();
    if (thread() >= half) continue;
    sum += load(of_threads + thread() + half);
    store(of_threads + thread(), sum);
  }
  if (thread() < across && i < width) store(sums + i, sum);
}

}  // namespace

void add_parts(const float* parts, int count, std::int64_t width, float* sums, Stream stream) {
  int across = 1;
  while (across < kWarpLanes && across < width) across *= 2;
  launch("add_parts", add_parts_kernel,
         LaunchShape{{blocks_for("add_parts", width, across)}, kThreads}, stream, parts, count,
         width, across, sums);
}

}  // namespace ptynet::cuda
