#include <algorithm>

#include "kernels/cuda/frame_reader.h"
#include "kernels/cuda/input_rule.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kMostThreads = 512;

// The rule without what a frame adds to it.
struct Formula {
  bool root;
  bool by_frame;  // divided by the frame's maximum + epsilon
  float gain;     // of the counts
  float epsilon;

  PTYNET_DEVICE float value(float counts) const {
    const float v = counts * gain;
    return root ? std::sqrt(v) : v;
  }
};

// Largest of all threads' values, none of them negative. All threads call it, once.
PTYNET_DEVICE float largest_of_block(float v) {
  float* of_warps = shared<float, kWarpLanes>();
  PTYNET_UNROLL
  for (int step = kWarpLanes / 2; step > 0; step /= 2) v = std::fmax(v, shuffle_xor(v, step));
  if (lane() == 0) store(of_warps + warp(), v);
  barrier();
  v = lane() < threads() / kWarpLanes ? load(of_warps + lane()) : 0;
  PTYNET_UNROLL
  for (int step = kWarpLanes / 2; step > 0; step /= 2) v = std::fmax(v, shuffle_xor(v, step));
  return v;
}

// Blocks along y share a frame, vector by vector. For its maximum there is one of them, which holds
// the first of the frame's vectors in shared memory, each thread its own, until they are written.
template <typename T, typename Out, int N>
class FrameBlock {
 public:
  PTYNET_DEVICE FrameBlock(const DetectorFrames& frames, const Formula& formula, int held, Out* y)
      : formula_(formula),
        reader_(frames, block().x),
        columns_(frames.window.w / N),
        vectors_(frames.window.h * columns_),
        held_(held),
        shared_(dynamic_shared<Vector<T, N>>()),
        y_(y + std::int64_t{block().x} * frames.window.h * frames.window.w) {}

  PTYNET_DEVICE void run() const {
    if (!formula_.by_frame) {
      const int step = grid().y * threads();
      for (int i = block().y * threads() + thread(); i < vectors_; i += step) write(i, read(i), 1);
      return;
    }
    for (int i = thread(); i < held_; i += threads()) fetch(i);
    commit_copies();
    wait_copies<0>();
    const float largest = largest_of_block(largest_of_thread());
    const float divisor = formula_.value(largest) + formula_.epsilon;
    for (int i = thread(); i < held_; i += threads()) write(i, load(shared_ + i), divisor);
    for (int i = held_ + thread(); i < vectors_; i += threads()) write(i, read(i), divisor);
  }

 private:
  PTYNET_DEVICE int place(int i) const { return reader_.place(i / columns_, i % columns_ * N); }

  PTYNET_DEVICE Vector<T, N> read(int i) const { return reader_.read(place(i)); }

  // To shared memory, as the detector stored it; 0 where it has no pixels.
  PTYNET_DEVICE void fetch(int i) const {
    constexpr int kBytes = static_cast<int>(sizeof(Vector<T, N>));
    const int at = place(i);
    const bool there = at >= 0;
    const Vector<T, N>* from = reader_.address(there ? at : 0);
    if constexpr (kBytes >= 4) {
      copy_async<kBytes>(shared_ + i, from, there);
    } else {
      store(shared_ + i, there ? load_readonly(from) : Vector<T, N>{});
    }
  }

  // Of the vectors that this thread will write; those that are held it unmasks.
  PTYNET_DEVICE float largest_of_thread() const {
    float largest = 0;
    for (int i = thread(); i < held_; i += threads()) {
      Vector<T, N> counts = load(shared_ + i);
      if (reader_.mask != nullptr) {
        counts = reader_.unmasked(place(i), counts);
        store(shared_ + i, counts);
      }
      largest = std::fmax(largest, largest_of(counts));
    }
    for (int i = held_ + thread(); i < vectors_; i += threads()) {
      largest = std::fmax(largest, largest_of(read(i)));
    }
    return largest;
  }

  PTYNET_DEVICE static float good_count(T v) { return is_count(v) ? static_cast<float>(v) : 0.0F; }

  PTYNET_DEVICE static float largest_of(const Vector<T, N>& counts) {
    float largest = 0;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) largest = std::fmax(largest, good_count(counts[i]));
    return largest;
  }

  PTYNET_DEVICE void write(int i, const Vector<T, N>& counts, float divisor) const {
    Vector<float, N> out;
    PTYNET_UNROLL
    for (int k = 0; k < N; ++k) out[k] = formula_.value(good_count(counts[k])) / divisor;
    store_floats(y_ + std::int64_t{i} * N, out);
  }

  const Formula& formula_;
  FrameReader<T, N> reader_;
  int columns_;  // of vectors
  int vectors_;  // of the frame
  int held_;     // of those
  Vector<T, N>* shared_;
  Out* y_;
};

template <typename T, typename Out, int N>
PTYNET_KERNEL(kMostThreads, 3)
input_rule_kernel(DetectorFrames frames, Formula formula, int held, Out* y) {
  FrameBlock<T, Out, N>(frames, formula, held, y).run();
}

Formula formula_of(const InputRule& rule) {
  constexpr float kLeastScanMax = 1e-20F;
  const bool by_scan = rule.scale == InputScale::kScanMax;
  return {rule.quantity == InputQuantity::kAmplitude, rule.scale == InputScale::kFrameMax,
          by_scan ? rule.factor / std::max(rule.scan_max, kLeastScanMax) : 1.0F, rule.epsilon};
}

template <typename T, typename Out, int N>
void launch_input_rule(const DetectorFrames& frames, const Formula& formula, Out* y,
                       Stream stream) {
  constexpr std::size_t kVectorBytes = sizeof(Vector<T, N>);
  constexpr std::size_t kOtherShared = 1024;  // largest_of_block()
  const int vectors = frames.window.h * frames.window.w / N;
  const int threads =
      blocks_for("input_rule", std::min(vectors, kMostThreads), kWarpLanes) * kWarpLanes;
  const int blocks = blocks_for("input_rule", vectors, threads);
  const auto room = static_cast<int>((most_shared_bytes() - kOtherShared) / kVectorBytes);
  const int held = formula.by_frame ? std::min(vectors, room) : 0;
  const LaunchShape shape{grid_of("input_rule", frames.n, formula.by_frame ? 1 : blocks), threads,
                          static_cast<std::size_t>(held) * kVectorBytes};
  launch("input_rule", input_rule_kernel<T, Out, N>, shape, stream, frames, formula, held, y);
}

}  // namespace

void input_rule(const DetectorFrames& frames, const InputRule& rule, Precision precision, void* y,
                Stream stream) {
  const Formula formula = formula_of(rule);
  const auto launch_for = [&](auto count, auto value) {
    using T = decltype(count);
    using Out = decltype(value);
    constexpr int kVector = 16 / static_cast<int>(std::max(sizeof(T), sizeof(Out)));
    Out* to = static_cast<Out*>(y);
    if (reads_together(frames, kVector) && are_aligned(kVector * sizeof(Out), to)) {
      launch_input_rule<T, Out, kVector>(frames, formula, to, stream);
    } else {
      launch_input_rule<T, Out, 1>(frames, formula, to, stream);
    }
  };
  with_count_type(frames.type, [&](auto count) {
    with_element(precision, [&](auto value) { launch_for(count, value); });
  });
}

}  // namespace ptynet::cuda
