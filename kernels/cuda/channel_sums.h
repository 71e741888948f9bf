// Walks over arrays [pixels, channels], a thread keeping to its channels, and sums per channel in a
// fixed order.
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/cuda/launching.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

inline constexpr int kChannelThreads = 256;  // of a block

// A block takes a slab of pixels, and a column of its threads N channels of every rows-th of them.
struct ChannelLayout {
  std::int64_t pixels;
  int channels;
  int columns;  // of the block, N channels each
  int rows;     // threads of a column
  int half;     // of a column's threads, that to which the others are added first
  int slab;     // pixels of a block

  // `at_once` is the N of its kernel.
  static ChannelLayout of(std::int64_t pixels, int channels, int at_once, int most_columns,
                          std::int64_t slab) {
    if (channels < at_once) {
      fail_runtime("sums per channel take at least ", at_once, " channels, found ", channels);
    }
    const int columns = std::min(channels / at_once, most_columns);
    const int rows = kChannelThreads / columns;
    const int half = static_cast<int>(std::bit_ceil(static_cast<unsigned>(rows))) / 2;
    const int of_block = std::max(1, static_cast<int>(std::min(slab, pixels)));
    return {pixels, channels, columns, rows, half, of_block};
  }
  LaunchShape launch_shape(const char* kernel, int at_once) const {
    const int groups = (channels / at_once + columns - 1) / columns;
    return {{blocks_for(kernel, pixels, slab), groups}, kChannelThreads};
  }
};

template <int N>
class ChannelThread {
 public:
  PTYNET_DEVICE explicit ChannelThread(const ChannelLayout& layout)
      : columns_(layout.columns),
        rows_(layout.rows),
        half_(layout.half),
        channels_(layout.channels),
        row_(thread() / layout.columns) {
    channel_ = (block().y * columns_ + thread() % columns_) * N;
    const std::int64_t first = static_cast<std::int64_t>(block().x) * layout.slab;
    first_ = first + row_;
    last_ = std::min(first + layout.slab, layout.pixels);
  }

  PTYNET_DEVICE bool has_channels() const { return row_ < rows_ && channel_ < channels_; }
  PTYNET_DEVICE int channel() const { return channel_; }  // the first of N
  PTYNET_DEVICE bool is_first() const { return row_ == 0; }

  // Runs body(element) for this thread's channels of each of its pixels.
  template <typename Body>
  PTYNET_DEVICE void for_each_pixel(const Body& body) const {
    for (std::int64_t pixel = first_; pixel < last_; pixel += rows_) {
      body(pixel * channels_ + channel_);
    }
  }

  // Adds what the threads of a column have to that of its first. All threads call it, once.
  template <int kCount>
  PTYNET_DEVICE void add_column(Vector<double, kCount>& sums) const {
    double* of_threads = shared<double, kCount * kChannelThreads>();
    double* mine = of_threads + thread();
    PTYNET_UNROLL
    for (int i = 0; i < kCount; ++i) store(mine + i * kChannelThreads, sums[i]);
    PTYNET_NO_UNROLL
    for (int step = half_; step != 0; step /= 2) {
      barrier();
      if (row_ >= step || row_ + step >= rows_) continue;
      PTYNET_UNROLL
      for (int i = 0; i < kCount; ++i) {
        sums[i] += load(mine + i * kChannelThreads + step * columns_);
        store(mine + i * kChannelThreads, sums[i]);
      }
    }
  }

 private:
  int columns_;
  int rows_;
  int half_;
  int channels_;
  int row_;
  int channel_;
  std::int64_t first_;
  std::int64_t last_;
};

// One value for each of N channels; the array need not be aligned.
template <int N, typename T>
PTYNET_DEVICE Vector<float, N> load_channels(const T* from) {
  Vector<float, N> out;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) out[i] = to_float(load_readonly(from + i));
  return out;
}

}  // namespace ptynet::cuda
