// What kernels of one input channel share (thin_conv.cu, fused_first.cu): pixels of a frame as
// floats in shared memory, and their products with the weights of a tap. Both add up in the same
// order, so that they give the same bits.
#pragma once

#include "kernels/cuda/device.h"

namespace ptynet::cuda {

// A part of a frame, which may reach beyond the frame on every side.
struct FramePart {
  int row, column;    // the first
  int rows, columns;  // how many
  int pitch;          // between rows where it is put
};

// To `to` [rows, columns], zeros where the frame [h, w] has none; by the whole block.
template <typename Element>
PTYNET_DEVICE void fetch_frame(const Element* frame, int h, int w, const FramePart& part,
                               float* to) {
  constexpr int kAtOnce = 5;  // rows of a warp that are on their way together
  const int warps = threads() / kWarpLanes;
  PTYNET_NO_UNROLL
  for (int first = warp(); first < part.rows; first += kAtOnce * warps) {
    PTYNET_NO_UNROLL
    for (int c = lane(); c < part.columns; c += kWarpLanes) {
      const int column = part.column + c;
      float pixels[kAtOnce];
      PTYNET_UNROLL
      for (int i = 0; i < kAtOnce; ++i) {
        const int r = first + i * warps;
        const int row = part.row + r;
        const bool wanted = r < part.rows && column >= 0 && column < w;
        const Element* from = frame + static_cast<std::int64_t>(row) * w + column;
        pixels[i] = wanted && row >= 0 && row < h ? to_float(load_readonly(from)) : 0.0F;
      }
      PTYNET_UNROLL
      for (int i = 0; i < kAtOnce; ++i) {
        const int r = first + i * warps;
        if (r < part.rows) store(to + r * part.pitch + c, pixels[i]);
      }
    }
  }
}

// sums += the pixels at input[i] + offset times the weights of kChannels output channels.
template <int kPixels, int kChannels>
PTYNET_DEVICE void add_thin_tap(const float* const (&input)[kPixels], int offset,
                                const float* weights, Vector<float, kChannels> (&sums)[kPixels]) {
  PTYNET_UNROLL
  for (int c = 0; c < kChannels; c += 4) {
    const auto w = load(reinterpret_cast<const Vector<float, 4>*>(weights + c));
    PTYNET_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      const float x = load(input[i] + offset);
      PTYNET_UNROLL
      for (int j = 0; j < 4; ++j) sums[i][c + j] += x * w[j];
    }
  }
}

}  // namespace ptynet::cuda
