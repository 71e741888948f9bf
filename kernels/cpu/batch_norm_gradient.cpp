// Gradients of batch norm in training mode.

#include <algorithm>

#include "kernels/cpu/batch_norm.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fixed_activation.h"
#include "kernels/cpu/typed.h"

namespace ptynet::cpu {

namespace {

// The gradient of a batch norm and its activation. What dy is before the activation, g = dy *
// slope, is computed for the sums and once more for dx, and never stored.
struct BatchGradient {
  Pixels pixels;
  Partial partial;
  Normalisation forward;
  const float* inverse_std;
  const float* x;
  const float* dy;
  float* offset;
  float* tilt;
  float* dx;  // null: not wanted, as the next two
  float* dw;
  float* db;

  // Within a parallel region.
  template <typename Kind>
  void run(Kind kind) const {
#pragma omp for
    for (std::int64_t part = 0; part < pixels.parts(); ++part) sum_part(part, kind);
#pragma omp for
    for (std::int64_t i = 0; i < pixels.c; ++i) finish(i);
    if (dx == nullptr) return;
#pragma omp for
    for (std::int64_t pixel = 0; pixel < pixels.count; ++pixel) run_row(pixel * pixels.c, kind);
  }

 private:
  // Sums over a part: g in the first c doubles, g * (x - mean) in the next.
  template <typename Kind>
  void sum_part(std::int64_t part, Kind kind) const {
    const std::int64_t c = pixels.c;
    const Moments total = partial.part(part);
    std::fill_n(total.mean, 2 * c, 0.0);
    float* plain = partial.block_room(part);
    float* weighted = plain + c;
    const std::int64_t last = pixels.first(part + 1);
    for (std::int64_t pixel = pixels.first(part); pixel < last; pixel += kBlockPixels) {
      std::fill_n(plain, 2 * c, 0.0F);
      by_rows(std::min(kBlockPixels, last - pixel), [=, this](std::int64_t row, auto together) {
        const float* values = x + (pixel + row) * c;
        const float* upstream = dy + (pixel + row) * c;
        const Normalisation by = forward;
        const Activation a = kind.activation();
#pragma omp simd
        for (std::int64_t i = 0; i < c; ++i) {
          float sum = 0;
          float weighted_sum = 0;
          for (std::int64_t r = 0; r < together; ++r) {
            const float value = values[r * c + i];
            const float y = activate(normalised(value, by.mean[i], by.scale[i], by.shift[i]), a);
            const float g = upstream[r * c + i] * activation_slope(y, a);
            sum += g;
            weighted_sum += g * (value - by.mean[i]);
          }
          plain[i] += sum;
          weighted[i] += weighted_sum;
        }
      });
#pragma omp simd
      for (std::int64_t i = 0; i < c; ++i) {
        total.mean[i] += double{plain[i]};
        total.spread[i] += double{weighted[i]};
      }
    }
  }

  // From the sums over all parts of one channel.
  void finish(std::int64_t i) const {
    double plain = 0;
    double weighted = 0;
    for (std::int64_t part = 0; part < pixels.parts(); ++part) {
      plain += partial.part(part).mean[i];
      weighted += partial.part(part).spread[i];
    }
    const auto found = ChannelGradient<float>::of(plain, weighted, inverse_std[i],
                                                  static_cast<double>(pixels.count));
    offset[i] = found.offset;
    tilt[i] = found.tilt;
    if (db != nullptr) db[i] = found.db;
    if (dw != nullptr) dw[i] = found.dw;
  }

  template <typename Kind>
  void run_row(std::int64_t first, Kind kind) const {
    const float* values = x + first;
    const float* upstream = dy + first;
    float* to = dx + first;
    const Normalisation by = forward;
    const float* b = offset;
    const float* k = tilt;
    const Activation a = kind.activation();
#pragma omp simd
    for (std::int64_t i = 0; i < pixels.c; ++i) {
      const float y = activate(normalised(values[i], by.mean[i], by.scale[i], by.shift[i]), a);
      const float g = upstream[i] * activation_slope(y, a);
      to[i] = normalised_gradient(g, values[i] - by.mean[i], by.scale[i], b[i], k[i]);
    }
  }
};

}  // namespace

void CpuBackend::batch_norm_gradient(const Array& x, const BatchStatistics& batch,
                                     const Activation& a, const Array& dy, OperandGradients& d) {
  const Pixels pixels(x);
  const std::int64_t parts = pixels.parts();
  const std::int64_t c = pixels.c;
  Array sums = scratch({parts, 4, c}, DType::kF64);
  Array room = scratch({parts + 1, 3, c}, DType::kF32);
  const Partial partial{sums.data<double>(), room.data<float>(), c};
  float* shared = partial.block_room(parts);
  const BatchGradient gradient{
      .pixels = pixels,
      .partial = partial,
      .forward = {batch.mean.data<float>(), batch.scale.data<float>(), batch.shift.data<float>()},
      .inverse_std = batch.inverse_std.data<float>(),
      .x = x.data<float>(),
      .dy = dy.data<float>(),
      .offset = shared,
      .tilt = shared + c,
      .dx = data_or_null<float>(d.x),
      .dw = data_or_null<float>(d.w),
      .db = data_or_null<float>(d.b)};
  with_kind(a, [&](auto kind) {
    submit("batch_norm_gradient", dy, [gradient, kind] {
#pragma omp parallel
      gradient.run(kind);
    });
  });
}

}  // namespace ptynet::cpu
