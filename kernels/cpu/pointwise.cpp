#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fixed_activation.h"
#include "kernels/cpu/typed.h"

namespace ptynet::cpu {

void CpuBackend::activation(const Array& x, const Activation& a, Array& y) {
  with_float_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    with_kind(a, [&](auto kind) {
      submit("activation", y, [kind, in = x.data<T>(), out = y.data<T>(), count = y.elements()] {
        for_each_run(count, [=](std::int64_t first, std::int64_t last) {
          const Activation fixed = kind.activation();
#pragma omp simd
          for (std::int64_t i = first; i < last; ++i) store(out[i], activate(load(in[i]), fixed));
        });
      });
    });
  });
}

void CpuBackend::activation_gradient(const OutputGradient& out, const Activation& a, Array& dx) {
  with_kind(a, [&](auto kind) {
    submit("activation_gradient", dx,
           [kind, y = out.y.data<float>(), dy = out.dy.data<float>(), to = dx.data<float>(),
            count = dx.elements()] {
             for_each_run(count, [=](std::int64_t first, std::int64_t last) {
               const Activation fixed = kind.activation();
#pragma omp simd
               for (std::int64_t i = first; i < last; ++i) {
                 to[i] = dy[i] * activation_slope(y[i], fixed);
               }
             });
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

void CpuBackend::slice_channels(const Array& x, std::int64_t first, Array& y) {
  const std::size_t element = size_of(x.dtype());
  const auto from_bytes = static_cast<std::size_t>(x.shape()[3]) * element;  // of one pixel
  const auto to_bytes = static_cast<std::size_t>(y.shape()[3]) * element;
  const std::int64_t pixels = y.elements() / y.shape()[3];
  const char* from = static_cast<const char*>(x.data()) + static_cast<std::size_t>(first) * element;
  submit("slice_channels", y, [=, to = static_cast<char*>(y.data())] {
#pragma omp parallel for
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
      const auto place = static_cast<std::size_t>(pixel);
      std::memcpy(to + place * to_bytes, from + place * from_bytes, to_bytes);
    }
  });
}

}  // namespace ptynet::cpu
