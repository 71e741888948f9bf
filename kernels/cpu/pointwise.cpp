#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/typed.h"

namespace ptynet::cpu {

namespace {

// One step of bilinear upsampling along an axis: output = (1 - weight) * [low] + weight * [high].
struct Tap {
  std::int64_t low;
  std::int64_t high;
  float weight;
};

// Source of output pixel o when pixel centres are at half-integers: (o + 1/2) / scale - 1/2,
// clamped at the edges (PyTorch's align_corners=False).
Tap upsampling_tap(std::int64_t o, std::int64_t scale, std::int64_t extent) {
  const float source =
      std::max(0.0F, (static_cast<float>(o) + 0.5F) / static_cast<float>(scale) - 0.5F);
  const auto low = std::min(static_cast<std::int64_t>(source), extent - 1);
  return {low, std::min(low + 1, extent - 1), source - static_cast<float>(low)};
}

}  // namespace

void CpuBackend::batch_norm(const Array& x, const BatchNormParameters& p, Array& y) {
  const std::int64_t c = x.shape()[3];
  const std::int64_t pixels = x.elements() / std::max<std::int64_t>(c, 1);
  const float* weight = p.weight.data<float>();
  const float* bias = p.bias.data<float>();
  const float* mean = p.running_mean.data<float>();
  const float* variance = p.running_var.data<float>();
  Array affine = scratch({2, c}, DType::kF32);
  with_float_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    float* scale = affine.data<float>();
    submit("batch_norm", y, [=, epsilon = p.epsilon] {
      float* shift = scale + c;
      for (std::int64_t i = 0; i < c; ++i) {
        scale[i] = weight[i] / std::sqrt(variance[i] + epsilon);
        shift[i] = bias[i] - mean[i] * scale[i];
      }
#pragma omp parallel for
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        for (std::int64_t i = 0; i < c; ++i) {
          store(out[pixel * c + i], load(in[pixel * c + i]) * scale[i] + shift[i]);
        }
      }
    });
  });
}

void CpuBackend::activation(const Array& x, const Activation& a, Array& y) {
  with_float_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    submit("activation", y, [a, in = x.data<T>(), out = y.data<T>(), count = y.elements()] {
#pragma omp parallel for simd
      for (std::int64_t i = 0; i < count; ++i) store(out[i], activate(load(in[i]), a));
    });
  });
}

void CpuBackend::max_pool2d(const Array& x, std::int64_t kernel, Array& y) {
  const std::int64_t h = x.shape()[1];
  const std::int64_t w = x.shape()[2];
  const std::int64_t c = x.shape()[3];
  const std::int64_t n = y.shape()[0];
  const std::int64_t oh = y.shape()[1];
  const std::int64_t ow = y.shape()[2];
  with_float_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    submit("max_pool2d", y, [=, in = x.data<T>(), out = y.data<T>()] {
#pragma omp parallel for collapse(2)
      for (std::int64_t image = 0; image < n; ++image) {
        for (std::int64_t row = 0; row < oh; ++row) {
          for (std::int64_t column = 0; column < ow; ++column) {
            T* to = out + ((image * oh + row) * ow + column) * c;
            const T* window = in + ((image * h + row * kernel) * w + column * kernel) * c;
            std::copy_n(window, c, to);
            for (std::int64_t k = 1; k < kernel * kernel; ++k) {
              const T* from = window + (k / kernel * w + k % kernel) * c;
              for (std::int64_t i = 0; i < c; ++i) {
                // As PyTorch does, a NaN is kept.
                const float v = load(from[i]);
                if (!(v <= load(to[i]))) to[i] = from[i];
              }
            }
          }
        }
      }
    });
  });
}

void CpuBackend::upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) {
  const std::int64_t h = x.shape()[1];
  const std::int64_t w = x.shape()[2];
  const std::int64_t c = x.shape()[3];
  const std::int64_t n = y.shape()[0];
  with_float_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    submit("upsample_bilinear2d", y, [=, in = x.data<T>(), out = y.data<T>()] {
      const std::int64_t oh = h * scale;
      const std::int64_t ow = w * scale;
#pragma omp parallel for collapse(2)
      for (std::int64_t image = 0; image < n; ++image) {
        for (std::int64_t row = 0; row < oh; ++row) {
          const Tap vertical = upsampling_tap(row, scale, h);
          const T* top = in + (image * h + vertical.low) * w * c;
          const T* bottom = in + (image * h + vertical.high) * w * c;
          T* to = out + (image * oh + row) * ow * c;
          for (std::int64_t column = 0; column < ow; ++column, to += c) {
            const Tap side = upsampling_tap(column, scale, w);
            const float a = (1.0F - vertical.weight) * (1.0F - side.weight);
            const float b = (1.0F - vertical.weight) * side.weight;
            const float d = vertical.weight * (1.0F - side.weight);
            const float e = vertical.weight * side.weight;
            for (std::int64_t i = 0; i < c; ++i) {
              store(to[i], a * load(top[side.low * c + i]) + b * load(top[side.high * c + i]) +
                               d * load(bottom[side.low * c + i]) +
                               e * load(bottom[side.high * c + i]));
            }
          }
        }
      }
    });
  });
}

void CpuBackend::add(const Array& a, const Array& b, Array& y) {
  with_float_type(y.dtype(), [&](auto type) {
    using T = decltype(type);
    submit("add", y,
           [left = a.data<T>(), right = b.data<T>(), out = y.data<T>(), count = y.elements()] {
#pragma omp parallel for simd
             for (std::int64_t i = 0; i < count; ++i) {
               store(out[i], load(left[i]) + load(right[i]));
             }
           });
  });
}

void CpuBackend::concat_channels(std::span<const Array> parts, Array& y) {
  struct Part {
    const char* data;
    std::size_t bytes;  // of one pixel
  };
  std::vector<Part> sources;
  for (const Array& part : parts) {
    sources.push_back({static_cast<const char*>(part.data()),
                       static_cast<std::size_t>(part.shape()[3]) * size_of(part.dtype())});
  }
  const std::int64_t pixels = y.elements() / y.shape()[3];
  const auto pixel_bytes = static_cast<std::size_t>(y.shape()[3]) * size_of(y.dtype());
  submit("concat_channels", y, [=, out = static_cast<char*>(y.data())] {
#pragma omp parallel for
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
      char* to = out + static_cast<std::size_t>(pixel) * pixel_bytes;
      for (const Part& part : sources) {
        std::memcpy(to, part.data + static_cast<std::size_t>(pixel) * part.bytes, part.bytes);
        to += part.bytes;
      }
    }
  });
}

}  // namespace ptynet::cpu
