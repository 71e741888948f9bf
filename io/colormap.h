// Colours for numbers.
#pragma once

#include <array>
#include <cstdint>

namespace ptynet::io {

enum class Colormap {
  kGrey,   // black to white, the sRGB value linear
  kHelix,  // perceptually uniform, dark blue over red to light yellow: for phase and other maps
  kCyclic  // a circle of equal lightness, for angles whose ends meet
};

struct Rgb {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
  bool operator==(const Rgb&) const = default;
};

// kHelix and kCyclic are curves in OKLab (Ottosson, 2020, bottosson.github.io/posts/oklab), in
// which equal distances look equally different:
//   kHelix   lightness 0.24 + 0.69 t, chroma 0.15, hue 270 + 200 t degrees: equal steps of t are
//            equal steps of lightness, and equal distances altogether
//   kCyclic  lightness 0.74, chroma 0.12, hue 360 t + 20 degrees
// Both lie inside of sRGB all along. t is clipped to 0..1; NaN counts as 0.
Rgb color_at(Colormap map, double t);

// Lightness L, and a, b of a colour (OKLab).
std::array<double, 3> oklab_of(Rgb color);

}  // namespace ptynet::io
