#include "io/colormap.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ptynet::io {
namespace {

using Triple = std::array<double, 3>;

// sRGB's transfer curve (IEC 61966-2-1), to 0..255.
std::uint8_t encoded(double linear) {
  const double x = std::clamp(linear, 0.0, 1.0);
  const double y = x <= 0.0031308 ? 12.92 * x : 1.055 * std::pow(x, 1 / 2.4) - 0.055;
  return static_cast<std::uint8_t>(std::lround(255 * y));
}

double decoded(std::uint8_t value) {
  const double y = value / 255.0;
  return y <= 0.04045 ? y / 12.92 : std::pow((y + 0.055) / 1.055, 2.4);
}

// The matrices of the OKLab definition.
Rgb rgb_of(const Triple& oklab) {
  const auto [lightness, a, b] = oklab;
  const double l = std::pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3);
  const double m = std::pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3);
  const double s = std::pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3);
  return {encoded(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
          encoded(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
          encoded(-0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s)};
}

Rgb from_polar(double lightness, double chroma, double hue_degrees) {
  const double hue = hue_degrees * std::numbers::pi / 180;
  return rgb_of({lightness, chroma * std::cos(hue), chroma * std::sin(hue)});
}

}  // namespace

Rgb color_at(Colormap map, double t) {
  const double x = t > 0 ? std::min(t, 1.0) : 0.0;  // NaN compares false
  switch (map) {
    case Colormap::kHelix:
      return from_polar(0.24 + 0.69 * x, 0.15, 270 + 200 * x);
    case Colormap::kCyclic:
      return from_polar(0.74, 0.12, 20 + 360 * x);
    case Colormap::kGrey:
      break;
  }
  const auto grey = static_cast<std::uint8_t>(std::lround(255 * x));
  return {grey, grey, grey};
}

std::array<double, 3> oklab_of(Rgb color) {
  const double r = decoded(color.red), g = decoded(color.green), b = decoded(color.blue);
  const double l = std::cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const double m = std::cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const double s = std::cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return {0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
          1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
          0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s};
}

}  // namespace ptynet::io
