#include "kernels/backend.h"

namespace ptynet {

Shape output_shape(const Shape& x, const ConvLayer& layer) {
  const Shape& w = layer.w.shape();
  const ConvOptions& o = layer.options;
  if (layer.transposed) {
    const TransposedAxis rows{x[1], w[1], o.stride, o.padding};
    const TransposedAxis columns{x[2], w[2], o.stride, o.padding};
    return {x[0], rows.outputs(), columns.outputs(), w[3] * o.groups};
  }
  return {x[0], (x[1] + 2 * o.padding - w[1]) / o.stride + 1,
          (x[2] + 2 * o.padding - w[2]) / o.stride + 1, w[0]};
}

void Backend::conv_pair(const Array& x, const ConvLayer& first, const ConvLayer& second, Array& y) {
  Array middle = allocator().allocate(output_shape(x.shape(), first), x.dtype());
  const auto convolve = [this](const Array& from, const ConvLayer& layer, Array& to) {
    if (layer.transposed) return conv_transpose2d(from, layer.w, layer.b, layer.options, to);
    conv2d(from, layer.w, layer.b, layer.options, to);
  };
  convolve(x, first, middle);
  convolve(middle, second, y);
}

}  // namespace ptynet
