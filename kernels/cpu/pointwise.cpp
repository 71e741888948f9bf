#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/typed.h"

namespace ptynet::cpu {

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
