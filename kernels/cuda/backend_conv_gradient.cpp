// Gradients of convolutions of the CUDA backend. dz is the derivative by the biased sum, of which
// the activation made y.
#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/sum_gradient.h"
#include "kernels/cuda/values.h"

namespace ptynet::cuda {

Array CudaBackend::sum_gradient(const OutputGradient& out, const Activation& a, bool wanted,
                                Array& d_bias) {
  const bool sloped = a.kind != ActivationKind::kNone;
  const bool summed = !d_bias.empty();
  if (!summed && !(sloped && wanted)) return out.dy;
  const auto channels = static_cast<int>(out.dy.shape()[3]);
  const SumShape shape{out.dy.elements() / channels, channels, a};
  Array dz = out.dy;
  Array parts;
  SumGradient arrays{sloped ? out.y.data() : nullptr, out.dy.data(), nullptr, nullptr, nullptr};
  if (sloped && wanted) {
    dz = scratch(out.dy.shape(), out.dy.dtype());
    arrays.dz = dz.data();
  }
  if (summed) {
    parts = scratch({sum_gradient_parts(shape, facts_.multiprocessors)}, DType::kF32);
    arrays.parts = parts.data<float>();
    arrays.d_bias = d_bias.data<float>();
  }
  submit("gradient by activation and bias", out.dy,
         [shape, precision = precision_of(out.dy), arrays,
          multiprocessors = facts_.multiprocessors](Stream stream) {
           cuda::sum_gradient(shape, precision, arrays, multiprocessors, stream);
         });
  return dz;
}

// The last layer of a 16-bit network gives f32.
Array CudaBackend::as_type(DType type, const Array& a) {
  if (a.dtype() == type) return a;
  Array out = scratch(a.shape(), type);
  submit("convert", out,
         [from = TypedValues{const_cast<void*>(a.data()), a.dtype()},
          to = TypedValues{out.data(), type},
          count = a.elements()](Stream stream) { convert(from, to, count, stream); });
  return out;
}

void CudaBackend::activation_gradient(const OutputGradient& out, const Activation& a, Array& dx) {
  const SumGradient arrays{out.y.data(), out.dy.data(), dx.data(), nullptr, nullptr};
  submit("activation_gradient", dx,
         [shape = SumShape{dx.elements(), 1, a}, precision = precision_of(dx), arrays,
          multiprocessors = facts_.multiprocessors](Stream stream) {
           cuda::sum_gradient(shape, precision, arrays, multiprocessors, stream);
         });
}

void CudaBackend::weight_gradient(ConvTask conv, const Array& x, const Array& dz, const Array& dw) {
  conv.shape.activation = {};
  conv.result = ConvResult::kWeightGradient;
  convolve({conv, x, dz, {}, dw});
}

void CudaBackend::conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                  const ConvOptions& o, OperandGradients& d) {
  const DeviceScope scope(index_);
  const bool wanted = !d.x.empty() || !d.w.empty();
  const Array sloped = sum_gradient(out, o.activation, wanted, d.b);
  if (!wanted) return;
  const Array dz = as_type(x.dtype(), sloped);
  const ConvTask conv = task_of(x.shape(), precision_of(x), {w, {}, o, false});
  if (!d.w.empty()) weight_gradient(conv, x, dz, d.w);
  if (d.x.empty()) return;
  const ConvTask back{input_gradient_of(conv.shape), conv.precision, true,
                      ConvResult::kInputGradient};
  convolve({back, dz, w, {}, d.x, o.constant_weights});
}

// A transposed convolution is the input gradient of a convolution that has the same weights: its
// own input gradient is that convolution, and its weight gradient is that convolution's.
void CudaBackend::conv_transpose2d_gradient(const Array& x, const Array& w,
                                            const OutputGradient& out, const ConvOptions& o,
                                            OperandGradients& d) {
  const DeviceScope scope(index_);
  const bool wanted = !d.x.empty() || !d.w.empty();
  const Array sloped = sum_gradient(out, o.activation, wanted, d.b);
  if (!wanted) return;
  const Array dz = as_type(x.dtype(), sloped);
  ConvTask conv = task_of(dz.shape(), precision_of(x), {w, {}, o, false});
  conv.shape.activation = {};
  if (!d.w.empty()) weight_gradient({conv.shape, conv.precision, true}, dz, x, d.w);
  if (d.x.empty()) return;
  conv.result = ConvResult::kInputGradient;
  convolve({conv, dz, w, {}, d.x, o.constant_weights});
}

}  // namespace ptynet::cuda
