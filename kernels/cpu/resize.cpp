#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/onednn.h"

namespace ptynet::cpu {

namespace {

// One input, one output.
template <typename Primitive, typename Description>
std::shared_ptr<BoundPrimitive> bound(const Description& description, const Array& x,
                                      const Array& y, const Array& scratchpad) {
  auto step = std::make_shared<BoundPrimitive>(BoundPrimitive::of<Primitive>(description));
  step->bind(DNNL_ARG_SRC, description.src_desc(), x.data());
  step->bind(DNNL_ARG_DST, description.dst_desc(), y.data());
  step->bind(DNNL_ARG_SCRATCHPAD, description.scratchpad_desc(), scratchpad.data());
  return step;
}

// The gradient of max-pooling over x [n, h, w, c].
struct PoolGradient {
  std::int64_t h, w, c, kernel;
  const float* x;
  const float* dy;
  float* dx;

  void run_window(const float* in, const float* slope, float* out) const {
    for (std::int64_t i = 0; i < c; ++i) {
      std::int64_t place = i;
      for (std::int64_t tap = 0; tap < kernel * kernel; ++tap) {
        const std::int64_t other = (tap / kernel * w + tap % kernel) * c + i;
        out[other] = 0.0F;
        place = in[other] > in[place] ? other : place;
      }
      out[place] = slope[i];
    }
  }

  // Two by two, without branches.
  void run_small_window(const float* in, const float* slope, float* out) const {
    const float* below = in + w * c;
    float* out_below = out + w * c;
#pragma omp simd
    for (std::int64_t i = 0; i < c; ++i) {
      const float v[4] = {in[i], in[c + i], below[i], below[c + i]};
      const float upper = v[1] > v[0] ? v[1] : v[0];
      const float lower = v[3] > v[2] ? v[3] : v[2];
      const float dy_upper = lower > upper ? 0.0F : slope[i];
      const float dy_lower = lower > upper ? slope[i] : 0.0F;
      out[i] = v[1] > v[0] ? 0.0F : dy_upper;
      out[c + i] = v[1] > v[0] ? dy_upper : 0.0F;
      out_below[i] = v[3] > v[2] ? 0.0F : dy_lower;
      out_below[c + i] = v[3] > v[2] ? dy_lower : 0.0F;
    }
  }

  // All windows of one row of dy; Kernel is the window's side where it is known beforehand, or 0.
  template <std::int64_t Kernel>
  void run_row(std::int64_t image, std::int64_t row) const {
    const std::int64_t side = Kernel > 0 ? Kernel : kernel;
    const std::int64_t line = w * c;
    const std::int64_t first = (image * h + row * side) * line;
    const std::int64_t windows = w / side;
    for (std::int64_t window = 0; window < windows; ++window) {
      const float* in = x + first + window * side * c;
      const float* slope = dy + ((image * (h / side) + row) * windows + window) * c;
      float* out = dx + first + window * side * c;
      if constexpr (Kernel == 2) {
        run_small_window(in, slope, out);
      } else {
        run_window(in, slope, out);
      }
    }
    for (std::int64_t r = 0; r < side; ++r) {  // columns that no window takes
      std::fill_n(dx + first + r * line + windows * side * c, (w - windows * side) * c, 0.0F);
    }
  }

  void run(std::int64_t image, std::int64_t row) const {
    if (row == h / kernel) {  // rows that no window takes
      const std::int64_t first = image * h + row * kernel;
      std::fill_n(dx + first * w * c, ((image + 1) * h - first) * w * c, 0.0F);
    } else if (kernel == 2) {
      run_row<2>(image, row);
    } else {
      run_row<0>(image, row);
    }
  }
};

// The outputs of upsampling one axis that took something of each input, and their shares.
struct UpsampledAxis {
  std::int64_t extent, scale;  // input pixels, factor
  std::vector<float> shares;   // [extent, taps()]

  UpsampledAxis(std::int64_t inputs, std::int64_t factor)
      : extent(inputs), scale(factor), shares(static_cast<std::size_t>(inputs * 2 * factor)) {
    for (std::int64_t i = 0; i < extent; ++i) {
      for (std::int64_t tap = 0; tap < taps(); ++tap) {
        const std::int64_t output = first(i) + tap;
        if (output < 0 || output >= extent * scale) continue;
        const std::int64_t share = upsampling_share(output, i, extent, scale);
        shares[static_cast<std::size_t>(i * taps() + tap)] =
            static_cast<float>(share) / static_cast<float>(2 * scale);
      }
    }
  }
  std::int64_t taps() const { return 2 * scale; }
  std::int64_t first(std::int64_t i) const { return scale * i - scale / 2; }

  // out[values] = sum of share * from[output * step ...] over the outputs of input i.
  void gather(const float* from, std::int64_t i, std::int64_t step, std::int64_t values,
              float* out) const {
    const float* share = shares.data() + i * taps();
    std::fill_n(out, values, 0.0F);
    for (std::int64_t tap = 0; tap < taps(); ++tap) {
      if (share[tap] == 0.0F) continue;  // also outputs beyond the edges
      const float* in = from + (first(i) + tap) * step;
      const float gain = share[tap];
#pragma omp simd
      for (std::int64_t k = 0; k < values; ++k) out[k] += gain * in[k];
    }
  }
};

}  // namespace

void CpuBackend::max_pool2d(const Array& x, std::int64_t kernel, Array& y) {
  const ThreadScope scope(threads_);
  const auto description = describe_max_pool(x.shape(), kernel, x.dtype());
  Array pad = scratch({scratchpad_bytes(description)}, DType::kU8);
  const auto step = bound<dnnl::pooling_forward>(description, x, y, pad);
  submit("max_pool2d", y, [step] { step->run(); });
}

void CpuBackend::upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) {
  const ThreadScope scope(threads_);
  const auto description = describe_upsampling(x.shape(), scale, x.dtype());
  Array pad = scratch({scratchpad_bytes(description)}, DType::kU8);
  const auto step = bound<dnnl::resampling_forward>(description, x, y, pad);
  submit("upsample_bilinear2d", y, [step] { step->run(); });
}

void CpuBackend::max_pool2d_gradient(const Array& x, std::int64_t kernel, const Array& dy,
                                     Array& dx) {
  const Shape& s = x.shape();
  const PoolGradient pool{
      s[1], s[2], s[3], kernel, x.data<float>(), dy.data<float>(), dx.data<float>()};
  const std::int64_t rows = s[1] / kernel + (s[1] % kernel > 0 ? 1 : 0);
  submit("max_pool2d_gradient", dx, [pool, rows, n = s[0]] {
#pragma omp parallel for
    for (std::int64_t row = 0; row < n * rows; ++row) pool.run(row / rows, row % rows);
  });
}

void CpuBackend::upsample_bilinear2d_gradient(const Array& dy, std::int64_t scale, Array& dx) {
  const Shape& s = dx.shape();
  const std::int64_t c = s[3];
  const std::int64_t line = s[2] * scale * c;  // values of one row of dy
  Array room = scratch({threads_, line}, DType::kF32);
  submit("upsample_bilinear2d_gradient", dx,
         [=, rows = UpsampledAxis(s[1], scale), columns = UpsampledAxis(s[2], scale), n = s[0],
          from = dy.data<float>(), memory = room.data<float>(), to = dx.data<float>()] {
           const std::int64_t h = rows.extent;
           const std::int64_t w = columns.extent;
#pragma omp parallel for
           for (std::int64_t row = 0; row < n * h; ++row) {
             float* gathered = memory + omp_get_thread_num() * line;
             rows.gather(from + row / h * h * scale * line, row % h, line, line, gathered);
             for (std::int64_t column = 0; column < w; ++column) {
               columns.gather(gathered, column, c, c, to + (row * w + column) * c);
             }
           }
         });
}

}  // namespace ptynet::cpu
