// Pairs of convolutions of the CUDA backend: in one kernel, where there is one and it is faster.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/fused_thin.h"

namespace ptynet::cuda {

namespace {

// The ways to compute a pair.
constexpr const char* kFused = "fused";
constexpr const char* kOneByOne = "one by one";

FusedThinShape shape_of(const ConvTask& first, const ConvTask& second) {
  return {first.shape, second.shape};
}

bool has_kernel(const ConvTask& first, const ConvTask& second) {
  return !first.transposed && second.transposed &&
         is_fused_thin(shape_of(first, second), first.precision);
}

std::string key_of(const ConvTask& first, const ConvTask& second) {
  return text(describe(first), " + ", describe(second));
}

const float* bias(const Array& b) { return b.empty() ? nullptr : b.data<float>(); }

}  // namespace

CudaBackend::Pair CudaBackend::pair_of(const Array& x, const ConvLayer& first,
                                       const ConvLayer& second, const Array& y) const {
  const Precision precision = precision_of(x);
  const Shape middle = output_shape(x.shape(), first);
  return {{task_of(x.shape(), precision, first), x, first.w, first.b, Array(),
           first.options.constant_weights},
          {task_of(middle, precision, second), Array(), second.w, second.b, y,
           second.options.constant_weights}};
}

bool CudaBackend::fuses(const Array& x, const ConvLayer& first, const ConvLayer& second) {
  const DeviceScope scope(index_);
  const Pair pair = pair_of(x, first, second, Array());
  if (!has_kernel(pair.first.task, pair.second.task)) return false;
  const std::string key = key_of(pair.first.task, pair.second.task);
  if (!choices_.contains(key)) {
    if (!recording() || !tune_) return true;
    choices_[key] = time_pair(x, first, second);
  }
  mark_used(key);
  return choices_.at(key).chosen != kOneByOne;
}

void CudaBackend::conv_pair(const Array& x, const ConvLayer& first, const ConvLayer& second,
                            Array& y) {
  const Pair pair = pair_of(x, first, second, y);
  if (!has_kernel(pair.first.task, pair.second.task)) {
    return Backend::conv_pair(x, first, second, y);
  }
  const Weights conv = step_weights(pair.first, false);
  const Weights transposed = step_weights(pair.second, false);
  submit("conv2d + conv_transpose2d by fused_thin", y,
         [fused = fused_step(pair, conv, transposed), prepare_conv = conv.prepare,
          prepare_transposed = transposed.prepare](Stream stream) {
           if (prepare_conv) prepare_conv(stream);
           if (prepare_transposed) prepare_transposed(stream);
           fused(stream);
         });
}

CudaBackend::Step CudaBackend::fused_step(const Pair& pair, const Weights& conv,
                                          const Weights& transposed) {
  const ConvTask& task = pair.first.task;
  Array y = pair.second.y;
  const bool f32_result = y.dtype() != array_type(task.precision);
  const FusedThinOperands operands{pair.first.x.data(), conv.data,           bias(pair.first.b),
                                   transposed.data,     bias(pair.second.b), y.data(),
                                   f32_result};
  return [shape = shape_of(task, pair.second.task), precision = task.precision,
          operands](Stream stream) { fused_thin(shape, precision, operands, stream); };
}

// On memory of its own but for x, whatever that holds.
ConvChoice CudaBackend::time_pair(const Array& x, const ConvLayer& first, const ConvLayer& second) {
  const Array middle = pool_.allocate(output_shape(x.shape(), first), x.dtype());
  const Array y = pool_.allocate(output_shape(middle.shape(), second), x.dtype());
  Pair pair = pair_of(x, first, second, y);
  pair.first.y = pair.second.x = middle;
  const Weights conv = weights_for(pair.first, false, pool_);
  const Weights transposed = weights_for(pair.second, false, pool_);
  for (const Weights* weights : {&conv, &transposed}) {
    if (weights->prepare) weights->prepare(stream_.get());
  }
  ConvChoice out;
  const Step fused = fused_step(pair, conv, transposed);
  out.seconds[kFused] = Graph::time(stream_.get(), [&] { fused(stream_.get()); });
  const std::optional<double> one = time_of(candidate_for(pair.first), pair.first);
  const std::optional<double> next = time_of(candidate_for(pair.second), pair.second);
  if (one && next) out.seconds[kOneByOne] = *one + *next;
  out.chosen = one && next && out.seconds[kOneByOne] < out.seconds[kFused] ? kOneByOne : kFused;
  return out;
}

}  // namespace ptynet::cuda
