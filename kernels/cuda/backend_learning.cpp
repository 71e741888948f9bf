// Training on CUDA: batch norm, output heads and the optimiser. The other gradients stand beside
// their forward operations.
#include <algorithm>

#include "kernels/cuda/batch_norm_training.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/optimiser.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/values.h"

namespace ptynet::cuda {

namespace {

BatchShape batch_shape(const Array& x) {
  const std::int64_t channels = x.shape()[3];
  return {x.elements() / channels, static_cast<int>(channels)};
}

float* data_or_null(Array& array) { return array.empty() ? nullptr : array.data<float>(); }
const float* data_or_null(const Array& array) {
  return array.empty() ? nullptr : array.data<float>();
}

}  // namespace

void CudaBackend::batch_norm_training(const Array& x, BatchNormParameters& p,
                                      BatchStatistics& batch, Array& y) {
  const BatchShape shape = batch_shape(x);
  Array sums = scratch({batch_norm_scratch(shape)}, DType::kF64);
  const BatchTraining training{.weight = p.weight.data<float>(),
                               .bias = p.bias.data<float>(),
                               .running_mean = p.running_mean.data<float>(),
                               .running_var = p.running_var.data<float>(),
                               .batch = {batch.mean.data<float>(), batch.inverse_std.data<float>(),
                                         batch.scale.data<float>(), batch.shift.data<float>()},
                               .epsilon = double{p.epsilon},
                               .momentum = double{p.momentum},
                               .activation = p.activation};
  updates({p.running_mean, p.running_var});
  submit("batch_norm_training", y,
         [shape, precision = precision_of(x), training, from = x.data(),
          memory = sums.data<double>(), to = y.data()](Stream stream) {
           cuda::batch_norm_training(shape, precision, from, training, memory, to, stream);
         });
}

void CudaBackend::batch_norm_gradient(const Array& x, const BatchStatistics& batch,
                                      const Activation& a, const Array& dy, OperandGradients& d) {
  const BatchShape shape = batch_shape(x);
  Array sums = scratch({batch_norm_scratch(shape)}, DType::kF64);
  Array terms = scratch({2, shape.channels}, DType::kF32);
  const BatchNormResult result{x.data(),
                               dy.data(),
                               {batch.mean.data<float>(), batch.inverse_std.data<float>(),
                                batch.scale.data<float>(), batch.shift.data<float>()},
                               a};
  const BatchNormDerivatives wanted{d.x.data(), data_or_null(d.w), data_or_null(d.b),
                                    terms.data<float>()};
  submit("batch_norm_gradient", dy,
         [shape, precision = precision_of(x), result, wanted,
          memory = sums.data<double>()](Stream stream) {
           cuda::batch_norm_gradient(shape, precision, result, memory, wanted, stream);
         });
}

void CudaBackend::output_heads_gradient(const Array& d_amplitude, const Array& d_phase,
                                        const OutputHead& amplitude_head,
                                        const OutputHead& phase_head, Array& dx) {
  const BatchShape shape = batch_shape(dx);
  submit("output_heads_gradient", dx,
         [amplitude = HeadGradient{data_or_null(d_amplitude), amplitude_head},
          phase = HeadGradient{data_or_null(d_phase), phase_head}, shape,
          to = dx.data<float>()](Stream stream) {
           cuda::output_heads_gradient(amplitude, phase, shape.pixels, shape.channels, to, stream);
         });
}

void CudaBackend::multiply(const Array& x, const Array& factor, Array& y) {
  submit("multiply", y,
         [from = x.data<float>(), by = factor.data<double>(), to = y.data<float>(),
          count = x.elements()](Stream stream) { cuda::multiply(from, by, to, count, stream); });
}

void CudaBackend::adam(const AdamOptions& options, const std::vector<AdamTensor>& tensors,
                       Array& state, Array& scaling) {
  const std::vector<AdamChunk> chunks = adam_chunks(tensors);
  const auto bytes = static_cast<std::int64_t>(chunks.size() * sizeof(AdamChunk));
  Array host = Array::host({bytes}, DType::kU8);
  std::copy_n(reinterpret_cast<const std::uint8_t*>(chunks.data()), bytes,
              host.data<std::uint8_t>());
  const Array table = on_device(host);
  Array rates = scratch({kAdamRates}, DType::kF32);
  Array finite;
  AdamState of_step{state.data<double>(), nullptr};
  if (!scaling.empty()) {
    static_assert(sizeof(LossScale) == 3 * sizeof(double));
    finite = scratch({std::max<std::int64_t>(1, std::ssize(chunks))}, DType::kI32);
    of_step.scaling = static_cast<LossScale*>(scaling.data());
    updates({scaling});
  }
  for (const AdamTensor& t : tensors) updates({t.value, t.first_moment, t.second_moment});
  updates({state});
  submit(
      "adam", state,
      [options, of_step,
       all = AdamTable{static_cast<const AdamChunk*>(table.data()), static_cast<int>(chunks.size()),
                       rates.data<float>(), finite.empty() ? nullptr : finite.data<int>()}](
          Stream stream) { cuda::adam(options, all, of_step, stream); });
}

void CudaBackend::keep_power(Array& x, double power) {
  Array parts = scratch({kPowerParts}, DType::kF64);
  updates({x});
  submit("keep_power", x,
         [values = x.data<float>(), count = x.elements(), power, memory = parts.data<double>()](
             Stream stream) { cuda::keep_power(values, count, power, memory, stream); });
}

}  // namespace ptynet::cuda
