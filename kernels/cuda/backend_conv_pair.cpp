// Pairs of convolutions of the CUDA backend: in one kernel, where there is one and it is faster.
#include <algorithm>
#include <limits>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/fused_convs.h"

namespace ptynet::cuda {

namespace {

// The way to compute a pair that is no kernel for both.
constexpr const char* kOneByOne = "one by one";

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

ConvPairTask CudaBackend::task_of(const Pair& pair) {
  return {pair.first.task, pair.second.task, is_on_vector(pair.second.w)};
}

bool CudaBackend::fuses(const Array& x, const ConvLayer& first, const ConvLayer& second) {
  const DeviceScope scope(index_);
  const ConvPairTask task = task_of(pair_of(x, first, second, Array()));
  if (fused_convs(task, facts_.multiprocessors).empty()) return false;
  const std::string key = describe(task);
  if (!choices_.contains(key)) {
    if (!recording() || !tune_) return true;
    choices_[key] = time_pair(x, first, second);
  }
  mark_used(key);
  return choices_.at(key).chosen != kOneByOne;
}

void CudaBackend::conv_pair(const Array& x, const ConvLayer& first, const ConvLayer& second,
                            Array& y) {
  const DeviceScope scope(index_);
  const Pair pair = pair_of(x, first, second, y);
  const ConvPairTask task = task_of(pair);
  const std::vector<FusedConv> ways = fused_convs(task, facts_.multiprocessors);
  if (ways.empty()) return Backend::conv_pair(x, first, second, y);
  const auto known = choices_.find(describe(task));
  const auto chosen = std::find_if(ways.begin(), ways.end(), [&](const FusedConv& way) {
    return known != choices_.end() && way.name == known->second.chosen;
  });
  const FusedConv& way = chosen == ways.end() ? ways.front() : *chosen;
  Array narrow;
  if (y.dtype() != x.dtype() && !way.writes_f32) narrow = scratch(y.shape(), x.dtype());
  const Weights first_w = step_weights(pair.first, false);
  const Weights second_w = step_weights(pair.second, false);
  submit(text(operation_of(task.first), " + ", operation_of(task.second), " by ", way.name), y,
         [run = fused_step(way, pair, first_w, second_w, narrow), prepare_first = first_w.prepare,
          prepare_second = second_w.prepare](Stream stream) {
           if (prepare_first) prepare_first(stream);
           if (prepare_second) prepare_second(stream);
           run(stream);
         });
}

CudaBackend::Step CudaBackend::fused_step(const FusedConv& way, const Pair& pair,
                                          const Weights& first, const Weights& second,
                                          const Array& narrow) {
  Array y = pair.second.y;
  Array written = narrow.empty() ? y : narrow;
  const ConvPairOperands operands{pair.first.x.data(),
                                  first.data,
                                  bias(pair.first.b),
                                  second.data,
                                  bias(pair.second.b),
                                  written.data(),
                                  written.dtype() != pair.first.x.dtype()};
  return widened([run = way.run, operands](Stream stream) { run(operands, stream); }, narrow, y);
}

// On memory of its own but for x, whatever that holds.
ConvChoice CudaBackend::time_pair(const Array& x, const ConvLayer& first, const ConvLayer& second) {
  const Array middle = pool_.allocate(output_shape(x.shape(), first), x.dtype());
  const Array y = pool_.allocate(output_shape(middle.shape(), second), x.dtype());
  Pair pair = pair_of(x, first, second, y);
  pair.first.y = pair.second.x = middle;
  const Weights first_w = weights_for(pair.first, false, pool_);
  const Weights second_w = weights_for(pair.second, false, pool_);
  for (const Weights* weights : {&first_w, &second_w}) {
    if (weights->prepare) weights->prepare(stream_.get());
  }
  ConvChoice out;
  double least = std::numeric_limits<double>::infinity();
  for (const FusedConv& way : fused_convs(task_of(pair), facts_.multiprocessors)) {
    const Step run = fused_step(way, pair, first_w, second_w, Array());
    const double seconds = Graph::time(stream_.get(), [&] { run(stream_.get()); });
    out.seconds[way.name] = seconds;
    if (seconds >= least) continue;
    least = seconds;
    out.chosen = way.name;
  }
  const std::optional<double> one = time_of(candidate_for(pair.first), pair.first);
  const std::optional<double> next = time_of(candidate_for(pair.second), pair.second);
  if (one && next) {
    out.seconds[kOneByOne] = *one + *next;
    if (*one + *next < least) out.chosen = kOneByOne;
  }
  return out;
}

}  // namespace ptynet::cuda
