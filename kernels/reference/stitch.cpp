#include <algorithm>
#include <cmath>

#include "kernels/reference/reference_backend.h"

namespace ptynet::reference {

void ReferenceBackend::stitch(const Array& object, const Array& weight, const Array& corners,
                              std::int64_t border, const CanvasSums& canvas) {
  submit("stitch", [=] {
    const std::vector<Complex> patches = complex_values_of(object);
    const std::vector<double> weights = values_of(weight);
    const std::vector<double> places = values_of(corners);
    const std::int64_t h = object.shape()[1];
    const std::int64_t w = object.shape()[2];
    const auto units = [](double v) {
      if (std::isnan(v)) return 0LL;
      return std::llrint(std::clamp(v, -kStitchLimit, kStitchLimit) * kStitchUnitsPerOne);
    };
    const auto add = [&](std::int64_t pixel, double share, Complex value) {
      canvas.object[2 * pixel] += units(share * value.real());
      canvas.object[2 * pixel + 1] += units(share * value.imag());
      canvas.coverage[pixel] += units(share);
    };
    for (std::int64_t image = 0; image < object.shape()[0]; ++image) {
      const double row = places[static_cast<std::size_t>(2 * image)];
      const double column = places[static_cast<std::size_t>(2 * image + 1)];
      const auto r0 = static_cast<std::int64_t>(std::floor(row));
      const auto c0 = static_cast<std::int64_t>(std::floor(column));
      const double fr = row - std::floor(row);
      const double fc = column - std::floor(column);
      const std::int64_t down = fr > 0 ? 1 : 0;
      const std::int64_t right = fc > 0 ? 1 : 0;
      for (std::int64_t r = border; r < h - border; ++r) {
        for (std::int64_t c = border; c < w - border; ++c) {
          const auto from = static_cast<std::size_t>(r * w + c);
          const Complex value = patches[static_cast<std::size_t>(image * h * w) + from];
          for (std::int64_t dr = 0; dr <= down; ++dr) {
            for (std::int64_t dc = 0; dc <= right; ++dc) {
              const double share = (dr == 0 ? 1 - fr : fr) * (dc == 0 ? 1 - fc : fc);
              add((r0 + r + dr) * canvas.columns + c0 + c + dc, share * weights[from], value);
            }
          }
        }
      }
      for (std::int64_t r = border; r < h - border + down; ++r) {
        for (std::int64_t c = border; c < w - border + right; ++c) {
          ++canvas.count[(r0 + r) * canvas.columns + c0 + c];
        }
      }
    }
  });
}

}  // namespace ptynet::reference
