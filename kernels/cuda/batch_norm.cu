#include <cmath>

#include "kernels/cuda/activate_all.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;

template <typename Element>
struct Normalisation {
  const Element* x;
  Element* y;
  ChannelStatistics statistics;
  Activation activation;
  int channels;
  std::int64_t vectors;

  template <int N>
  PTYNET_DEVICE void run(std::int64_t vector) const {
    const int channel = static_cast<int>(vector % (channels / N)) * N;
    Vector<float, N> v = load_floats<N>(x + vector * N);
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      const int c = channel + i;
      const float variance = load_readonly(statistics.variance + c) + statistics.epsilon;
      const float scale = load_readonly(statistics.weight + c) / sqrtf(variance);
      // The difference first, for means far larger than the spread.
      v[i] = fmaf(v[i] - load_readonly(statistics.mean + c), scale,
                  load_readonly(statistics.bias + c));
    }
    activate_all(v, activation);
    store_floats(y + vector * N, v);
  }
};

template <int N, typename Element>
PTYNET_KERNEL(kThreads)
normalise_kernel(Normalisation<Element> work) {
  const std::int64_t i = static_cast<std::int64_t>(block().x) * kThreads + thread();
  if (i < work.vectors) work.template run<N>(i);
}

}  // namespace

void batch_norm(Precision precision, const void* x, const ChannelStatistics& statistics,
                const Activation& a, void* y, std::int64_t pixels, int channels, Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    constexpr int kVector = kPerAccess<Element>;
    const bool whole = channels % kVector == 0 && are_aligned(16, x, y);
    const std::int64_t vectors = pixels * channels / (whole ? kVector : 1);
    const Normalisation<Element> work{
        static_cast<const Element*>(x), static_cast<Element*>(y), statistics, a, channels, vectors};
    launch("batch_norm", whole ? normalise_kernel<kVector, Element> : normalise_kernel<1, Element>,
           LaunchShape{{blocks_for("batch_norm", vectors, kThreads)}, kThreads}, stream, work);
  });
}

}  // namespace ptynet::cuda
