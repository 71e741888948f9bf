// The CUDA backend's operations on values and pixels one by one, and gradients of theirs.
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/resize.h"

namespace ptynet::cuda {

namespace {

ResizeShape resize_shape(const Array& x, std::int64_t factor) {
  const Shape& s = x.shape();
  return {static_cast<int>(s[0]), static_cast<int>(s[1]), static_cast<int>(s[2]),
          static_cast<int>(s[3]), static_cast<int>(factor)};
}

}  // namespace

void CudaBackend::batch_norm(const Array& x, const BatchNormParameters& p, Array& y) {
  const ChannelStatistics statistics{p.weight.data<float>(), p.bias.data<float>(),
                                     p.running_mean.data<float>(), p.running_var.data<float>(),
                                     p.epsilon};
  const std::int64_t channels = x.shape()[3];
  submit("batch_norm", y,
         [precision = precision_of(x), from = x.data(), to = y.data(), statistics, a = p.activation,
          pixels = x.elements() / channels, count = static_cast<int>(channels)](Stream stream) {
           cuda::batch_norm(precision, from, statistics, a, to, pixels, count, stream);
         });
}

void CudaBackend::activation(const Array& x, const Activation& a, Array& y) {
  submit("activation", y,
         [precision = precision_of(x), from = x.data(), to = y.data(), a, count = x.elements()](
             Stream stream) { cuda::activation(precision, from, a, to, count, stream); });
}

void CudaBackend::add(const Array& a, const Array& b, Array& y) {
  submit("add", y,
         [precision = precision_of(a), addends = Addends{a.data(), b.data()}, to = y.data(),
          count = y.elements()](Stream stream) {
           cuda::add(precision, addends, {}, to, count, stream);
         });
}

void CudaBackend::concat_channels(std::span<const Array> parts, Array& y) {
  std::vector<ChannelPart> all;
  for (const Array& part : parts) {
    all.push_back({part.data(), static_cast<int>(part.shape()[3])});
  }
  submit("concat_channels", y,
         [precision = precision_of(y), all, pixels = y.elements() / y.shape()[3], to = y.data()](
             Stream stream) { cuda::concat_channels(precision, all, pixels, to, stream); });
}

void CudaBackend::slice_channels(const Array& x, std::int64_t first, Array& y) {
  const ChannelSlice slice{x.data(), static_cast<int>(x.shape()[3]), static_cast<int>(first),
                           static_cast<int>(y.shape()[3])};
  submit("slice_channels", y,
         [precision = precision_of(x), slice, pixels = y.elements() / y.shape()[3], to = y.data()](
             Stream stream) { cuda::slice_channels(precision, slice, pixels, to, stream); });
}

void CudaBackend::max_pool2d(const Array& x, std::int64_t kernel, Array& y) {
  submit("max_pool2d", y,
         [shape = resize_shape(x, kernel), precision = precision_of(x), from = x.data(),
          to = y.data()](Stream stream) { cuda::max_pool2d(shape, precision, from, to, stream); });
}

void CudaBackend::max_pool2d_gradient(const Array& x, std::int64_t kernel, const Array& dy,
                                      Array& dx) {
  submit("max_pool2d_gradient", dx,
         [shape = resize_shape(x, kernel), precision = precision_of(x),
          arrays = PoolGradient{x.data(), dy.data(), dx.data()}](Stream stream) {
           cuda::max_pool2d_gradient(shape, precision, arrays, stream);
         });
}

void CudaBackend::upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) {
  submit(
      "upsample_bilinear2d", y,
      [shape = resize_shape(x, scale), precision = precision_of(x), from = x.data(), to = y.data()](
          Stream stream) { cuda::upsample_bilinear2d(shape, precision, from, to, stream); });
}

void CudaBackend::upsample_bilinear2d_gradient(const Array& dy, std::int64_t scale, Array& dx) {
  submit("upsample_bilinear2d_gradient", dx,
         [shape = resize_shape(dx, scale), precision = precision_of(dy), from = dy.data(),
          to = dx.data()](Stream stream) {
           cuda::upsample_bilinear2d_gradient(shape, precision, from, to, stream);
         });
}

}  // namespace ptynet::cuda
