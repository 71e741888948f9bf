// Frames as the detector stored them, and the window of them that the network sees.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"

namespace ptynet::cuda {

// A result of h x w pixels, whose pixel (0, 0) is the stored pixel (first_row, first_column). Where
// that goes over an edge, the stored frame goes on from its other side (periodic: zero frequency in
// the corner, first_row = -h / 2) or there is nothing, a bad pixel.
struct FrameWindow {
  int stored_h, stored_w;  // px
  int first_row, first_column;
  int h, w;
  bool periodic;

  static constexpr FrameWindow whole(int h, int w) { return {h, w, 0, 0, h, w, false}; }
};

struct DetectorFrames {
  const void* counts;  // [n, stored_h, stored_w]
  DType type;          // u8, u16, u32, i32 or f32
  // [stored_h, stored_w], 0 is bad, or null. Values that is_count() (kernels/math.h) refuses are
  // bad too.
  const std::uint8_t* mask;
  FrameWindow window;
  int n;
};

}  // namespace ptynet::cuda
