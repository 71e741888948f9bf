#include <algorithm>
#include <cmath>
#include <complex>

#include "kernels/cpu/cpu_backend.h"

namespace ptynet::cpu {

namespace {

// A patch moved by a fraction of a pixel covers one row and one column more than itself.
struct Footprint {
  std::int64_t row, column;          // first canvas pixel
  double row_weight, column_weight;  // share of the next row, of the next column
};

Footprint footprint(const double* corner) {
  const double row = std::floor(corner[0]);
  const double column = std::floor(corner[1]);
  return {static_cast<std::int64_t>(row), static_cast<std::int64_t>(column), corner[0] - row,
          corner[1] - column};
}

struct Stitching {
  const std::complex<float>* patches;
  const float* weights;
  const double* corners;
  std::int64_t n, h, w, border;
  CanvasSums canvas;

  // Adds patch row r, times `share`, to a canvas row, shifted by a fraction of a column.
  void add_row(std::int64_t image, std::int64_t r, std::int64_t canvas_row, double share,
               const Footprint& at) const {
    const std::complex<float>* patch = patches + (image * h + r) * w;
    const float* weight = weights + r * w;
    for (int side = 0; side < 2; ++side) {
      const double part = share * (side == 0 ? 1.0 - at.column_weight : at.column_weight);
      if (part == 0.0) continue;
      const std::int64_t first = canvas_row * canvas.columns + at.column + side;
      std::int64_t* object = canvas.object + 2 * first;
      std::int64_t* coverage = canvas.coverage + first;
      for (std::int64_t c = border; c < w - border; ++c) {
        const double q = part * double{weight[c]};
        object[2 * c] += stitch_units(q * double{patch[c].real()});
        object[2 * c + 1] += stitch_units(q * double{patch[c].imag()});
        coverage[c] += stitch_units(q);
      }
    }
  }

  void count_row(std::int64_t canvas_row, const Footprint& at) const {
    const std::int64_t extra = at.column_weight > 0 ? 1 : 0;
    std::uint32_t* count = canvas.count + canvas_row * canvas.columns + at.column;
    for (std::int64_t c = border; c < w - border + extra; ++c) ++count[c];
  }

  // All that lands in one canvas row, frame by frame: rows do not meet, so threads share none.
  void run_row(std::int64_t canvas_row) const {
    for (std::int64_t image = 0; image < n; ++image) {
      const Footprint at = footprint(corners + 2 * image);
      const std::int64_t r = canvas_row - at.row;
      const bool upper = r >= border && r < h - border;
      const bool lower = at.row_weight > 0 && r - 1 >= border && r - 1 < h - border;
      if (upper) add_row(image, r, canvas_row, 1.0 - at.row_weight, at);
      if (lower) add_row(image, r - 1, canvas_row, at.row_weight, at);
      if (upper || lower) count_row(canvas_row, at);
    }
  }
};

}  // namespace

void CpuBackend::stitch(const Array& object, const Array& weight, const Array& corners,
                        std::int64_t border, const CanvasSums& canvas) {
  const Stitching work{object.data<std::complex<float>>(),
                       weight.data<float>(),
                       corners.data<double>(),
                       object.shape()[0],
                       object.shape()[1],
                       object.shape()[2],
                       border,
                       canvas};
  submit("stitch", object, [work] {
    std::int64_t first = work.canvas.rows;
    std::int64_t last = 0;
    for (std::int64_t image = 0; image < work.n; ++image) {
      const Footprint at = footprint(work.corners + 2 * image);
      first = std::min(first, at.row);
      last = std::max(last, at.row + work.h + (at.row_weight > 0 ? 1 : 0));
    }
#pragma omp parallel for schedule(dynamic, 8)
    for (std::int64_t row = first; row < last; ++row) work.run_row(row);
  });
}

}  // namespace ptynet::cpu
