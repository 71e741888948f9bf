#include <algorithm>
#include <numeric>

#include "kernels/cuda/add_parts.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/sum_gradient.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kMostBlocksEach = 4;  // per multiprocessor
constexpr int kMostVector = 8;      // elements of the smallest type in one access

// Values are cut into rows of `width`, the channels repeated until they fill whole vectors: so a
// thread that goes from row to row stays on its channels. The last row may be a part of one.
template <typename Element>
struct SlopedSums {
  const Element* y;
  const Element* dy;
  Element* dz;
  float* parts;  // [blocks along x, width]
  Activation activation;
  std::int64_t count;
  int width;

  template <int N>
  PTYNET_DEVICE void run() const {
    const int vectors = width / N;
    const int across = vectors < kThreads ? vectors : kThreads;
    const int abreast = kThreads / across;  // rows that the block takes at once
    const int vector = block().y * kThreads + thread() % across;
    const std::int64_t whole_rows = count / width;
    const std::int64_t end = whole_rows * (block().x + 1) / grid().x;
    Vector<float, N> sums{};
    if (thread() < across * abreast && vector < vectors) {
      for (std::int64_t row = whole_rows * block().x / grid().x + thread() / across; row < end;
           row += abreast) {
        add<N>(row * width + vector * N, sums);
      }
      if (block().x == grid().x - 1 && thread() < across) {
        add_rest(whole_rows * width + vector * N, sums);
      }
    }
    if (parts != nullptr) write_block<N>(sums, across, abreast, vector);
  }

 private:
  template <int N>
  PTYNET_DEVICE void add(std::int64_t at, Vector<float, N>& sums) const {
    using In = Vector<Element, N>;
    const In slopes = load_readonly(reinterpret_cast<const In*>(dy + at));
    In results = slopes;
    if (y != nullptr) results = load_readonly(reinterpret_cast<const In*>(y + at));
    In out;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      const float v = to_float(slopes[i]) * activation_slope(to_float(results[i]), activation);
      out[i] = from_float<Element>(v);
      sums[i] += v;
    }
    if (dz != nullptr) store(reinterpret_cast<In*>(dz + at), out);
  }

  template <int N>
  PTYNET_DEVICE void add_rest(std::int64_t at, Vector<float, N>& sums) const {
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      Vector<float, 1> sum{{sums[i]}};
      if (at + i < count) add<1>(at + i, sum);
      sums[i] = sum[0];
    }
  }

  template <int N>
  PTYNET_DEVICE void write_block(const Vector<float, N>& sums, int across, int abreast,
                                 int vector) const {
    float* of_threads = shared<float, kThreads * N>();
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) store(of_threads + i * kThreads + thread(), sums[i]);
    barrier();
    if (thread() >= across || vector >= width / N) return;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      float sum = 0;
      for (int row = 0; row < abreast; ++row) {
        sum += load(of_threads + i * kThreads + row * across + thread());
      }
      store(parts + static_cast<std::int64_t>(block().x) * width + vector * N + i, sum);
    }
  }
};

template <int N, typename Element>
PTYNET_KERNEL(kThreads)
sum_gradient_kernel(SlopedSums<Element> work) {
  work.template run<N>();
}

// As many as there is work for.
int blocks_of(std::int64_t count, int multiprocessors) {
  const std::int64_t wanted = (count + kThreads * kMostVector - 1) / (kThreads * kMostVector);
  const std::int64_t most = std::int64_t{multiprocessors} * kMostBlocksEach;
  return static_cast<int>(std::clamp<std::int64_t>(wanted, 1, most));
}

}  // namespace

std::int64_t sum_gradient_parts(const SumShape& s, int multiprocessors) {
  return blocks_of(s.pixels * s.channels, multiprocessors) *
         std::lcm(std::int64_t{s.channels}, std::int64_t{kMostVector});
}

void sum_gradient(const SumShape& s, Precision precision, const SumGradient& arrays,
                  int multiprocessors, Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    constexpr int kVector = kPerAccess<Element>;
    static_assert(kVector <= kMostVector);
    const bool whole = are_aligned(16, arrays.y, arrays.dy, arrays.dz);
    const int vector = whole ? kVector : 1;
    SlopedSums<Element> work{static_cast<const Element*>(arrays.y),
                             static_cast<const Element*>(arrays.dy),
                             static_cast<Element*>(arrays.dz),
                             arrays.d_bias != nullptr ? arrays.parts : nullptr,
                             s.activation,
                             s.pixels * s.channels,
                             std::lcm(s.channels, vector)};
    if (arrays.y == nullptr) work.activation = {};
    const Index3 blocks{blocks_of(work.count, multiprocessors),
                        blocks_for("sum_gradient", work.width / vector, kThreads)};
    launch("sum_gradient",
           whole ? sum_gradient_kernel<kVector, Element> : sum_gradient_kernel<1, Element>,
           LaunchShape{blocks, kThreads}, stream, work);
    if (arrays.d_bias == nullptr) return;
    add_parts(arrays.parts, blocks.x * (work.width / s.channels), s.channels, arrays.d_bias,
              stream);
  });
}

}  // namespace ptynet::cuda
