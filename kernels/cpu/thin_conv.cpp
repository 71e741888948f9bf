// Convolutions with few output channels, f32 and stride 1. oneDNN fills a vector register with
// output channels, so that with one or two of them 15 or 14 of 16 lanes are idle. Here every tap of
// the kernel becomes a channel: one matrix product gives plane[tap, output][pixel], and the planes
// are added, each shifted by its tap (docs/decisions/0003-thin-convolutions.md).

#include <algorithm>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/onednn.h"

namespace ptynet::cpu {

namespace {

struct ThinConvolution {
  std::int64_t n, h, w, ci, co, kernel, padding, groups;
  Activation activation;

  std::int64_t planes() const { return kernel * kernel * co; }
  std::int64_t output_rows() const { return h + 2 * padding - kernel + 1; }
  std::int64_t output_columns() const { return w + 2 * padding - kernel + 1; }

  // [co, k, k, ci / groups] -> [k, k, co, ci], zero outside of the output's group.
  void spread_weights(const float* weights, float* out) const {
    const std::int64_t ci_group = ci / groups;
    std::fill_n(out, planes() * ci, 0.0F);
    for (std::int64_t o = 0; o < co; ++o) {
      const std::int64_t first = o / (co / groups) * ci_group;
      for (std::int64_t tap = 0; tap < kernel * kernel; ++tap) {
        std::copy_n(weights + (o * kernel * kernel + tap) * ci_group, ci_group,
                    out + (tap * co + o) * ci + first);
      }
    }
  }

  // planes [k, k, co, n, h, w] -> y [n, oh, ow, co]; `sums` has room for one row of it.
  void add_planes(const float* from, const float* bias, float* sums, std::int64_t image,
                  std::int64_t row, float* y) const {
    const std::int64_t ow = output_columns();
    for (std::int64_t o = 0; o < co; ++o) {
      std::fill_n(sums + o * ow, ow, bias != nullptr ? bias[o] : 0.0F);
    }
    for (std::int64_t u = std::max<std::int64_t>(0, padding - row);
         u < std::min(kernel, h + padding - row); ++u) {
      for (std::int64_t v = 0; v < kernel; ++v) {
        const std::int64_t shift = v - padding;
        const std::int64_t first = std::max<std::int64_t>(0, -shift);
        const std::int64_t last = std::min(ow, w - shift);
        for (std::int64_t o = 0; o < co; ++o) {
          const std::int64_t plane = (u * kernel + v) * co + o;
          const float* source = from + ((plane * n + image) * h + row + u - padding) * w + shift;
          float* sum = sums + o * ow;
#pragma omp simd
          for (std::int64_t c = first; c < last; ++c) sum[c] += source[c];
        }
      }
    }
    for (std::int64_t o = 0; o < co; ++o) {
      for (std::int64_t c = 0; c < ow; ++c) y[c * co + o] = activate(sums[o * ow + c], activation);
    }
  }
};

}  // namespace

bool CpuBackend::is_thin(const Array& x, const Array& w, const ConvOptions& o) {
  const std::int64_t co = w.shape()[0];
  const std::int64_t kernel = w.shape()[1];
  // Up to four outputs the planes are fewer than the lanes that would idle.
  return x.dtype() == DType::kF32 && o.stride == 1 && co <= 4 && kernel > 1 &&
         kernel == w.shape()[2] && x.shape()[3] >= 8 && o.padding < kernel;
}

void CpuBackend::thin_conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                             Array& y) {
  const ThinConvolution thin{x.shape()[0], x.shape()[1], x.shape()[2], x.shape()[3], w.shape()[0],
                             w.shape()[1], o.padding,    o.groups,     o.activation};
  const std::int64_t pixels = thin.n * thin.h * thin.w;
  const auto description = describe_product(thin.planes(), pixels, thin.ci);
  Array weights = weight_memory({thin.planes(), thin.ci}, DType::kF32, o.constant_weights);
  Array planes = scratch({thin.planes(), pixels}, DType::kF32);
  Array sums = scratch({thin.n * thin.output_rows(), thin.co * thin.output_columns()}, DType::kF32);
  Array scratchpad = scratch({scratchpad_bytes(description)}, DType::kU8);
  auto product = std::make_shared<BoundPrimitive>(BoundPrimitive::of<dnnl::matmul>(description));
  product->bind(DNNL_ARG_SRC, description.src_desc(), weights.data());
  product->bind(DNNL_ARG_WEIGHTS, description.weights_desc(), x.data());
  product->bind(DNNL_ARG_DST, description.dst_desc(), planes.data());
  product->bind(DNNL_ARG_SCRATCHPAD, description.scratchpad_desc(), scratchpad.data());

  const auto prepare = [thin, from = w.data<float>(), to = weights.data<float>()] {
    thin.spread_weights(from, to);
  };
  const auto compute = [thin, product, kept = o.constant_weights ? weights : Array(),
                        from = planes.data<float>(), bias = b.empty() ? nullptr : b.data<float>(),
                        room = sums.data<float>(), out = y.data<float>()] {
    product->run();
    const std::int64_t rows = thin.output_rows();
    const std::int64_t row_values = thin.co * thin.output_columns();
#pragma omp parallel for
    for (std::int64_t row = 0; row < thin.n * rows; ++row) {
      thin.add_planes(from, bias, room + row * row_values, row / rows, row % rows,
                      out + row * row_values);
    }
  };
  const std::string name = text("conv2d ", thin.kernel, "x", thin.kernel, " ", thin.ci, "->",
                                thin.co, thin.groups > 1 ? " grouped" : "", " (taps as channels)");
  submit_prepared(name, y, o.constant_weights, prepare, compute);
}

}  // namespace ptynet::cpu
