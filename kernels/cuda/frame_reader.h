// Reads a window of detector frames, N pixels of a row at once.
#pragma once

#include "kernels/cuda/detector_frames.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launching.h"

namespace ptynet::cuda {

// Whether every run of n pixels from a multiple of n on is one aligned access, of counts and mask.
inline bool reads_together(const DetectorFrames& frames, int n) {
  const FrameWindow& window = frames.window;
  const auto count = static_cast<std::size_t>(n);
  return window.w % n == 0 && window.stored_w % n == 0 && window.first_column % n == 0 &&
         are_aligned(count * size_of(frames.type), static_cast<const char*>(frames.counts)) &&
         are_aligned(count, frames.mask);
}

template <typename T, int N>
struct FrameReader {
  // What is_count() refuses: -1, or an unsigned type's largest value.
  static constexpr T kBad = static_cast<T>(-1);

  const T* counts;  // of this frame
  const std::uint8_t* mask;
  FrameWindow window;

  PTYNET_DEVICE FrameReader(const DetectorFrames& frames, int frame)
      : counts(static_cast<const T*>(frames.counts) +
               std::int64_t{frame} * frames.window.stored_h * frames.window.stored_w),
        mask(frames.mask),
        window(frames.window) {}

  // Index in the stored frame of pixels [column, column + N) of a row of the window; negative where
  // they lie outside.
  PTYNET_DEVICE int place(int row, int column) const {
    row += window.first_row;
    column += window.first_column;
    if (window.periodic) {
      row = wrapped(row, window.stored_h);
      column = wrapped(column, window.stored_w);
    }
    const bool inside =
        row >= 0 && row < window.stored_h && column >= 0 && column < window.stored_w;
    return inside ? row * window.stored_w + column : -1;
  }

  PTYNET_DEVICE const Vector<T, N>* address(int place) const {
    return reinterpret_cast<const Vector<T, N>*>(counts + place);
  }

  // All kBad outside of the stored frame.
  PTYNET_DEVICE Vector<T, N> read(int place) const {
    Vector<T, N> out;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) out[i] = kBad;
    return place < 0 ? out : unmasked(place, load_readonly(address(place)));
  }

  // `there`, found at `place`, with kBad where the mask is 0.
  PTYNET_DEVICE Vector<T, N> unmasked(int place, Vector<T, N> there) const {
    if (mask == nullptr || place < 0) return there;
    const auto good = load_readonly(reinterpret_cast<const Vector<std::uint8_t, N>*>(mask + place));
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) there[i] = good[i] != 0 ? there[i] : kBad;
    return there;
  }

 private:
  PTYNET_DEVICE static int wrapped(int i, int extent) {
    const int rest = i % extent;
    return rest < 0 ? rest + extent : rest;
  }
};

}  // namespace ptynet::cuda
