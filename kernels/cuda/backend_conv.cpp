// Convolutions of the CUDA backend: which candidate computes a layer, and its weights.
#include <algorithm>
#include <limits>

#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_replay.h"
#include "kernels/cuda/values.h"

namespace ptynet::cuda {

namespace {

// Of those that the libraries suggest. Each takes a second or two to be made, and the first ones
// are seldom beaten.
constexpr int kMostLibraryConvs = 2;

int extent(const Shape& shape, int dimension) {
  const std::int64_t found = shape[dimension];
  if (found > std::numeric_limits<int>::max()) {
    fail_runtime("CUDA convolutions take extents below 2^31, found ", to_string(shape));
  }
  return static_cast<int>(found);
}

// A library's convolution always adds a bias: zeros where the layer has none. Gradients have none.
class LibraryCandidate final : public ConvCandidate {
 public:
  LibraryCandidate(std::unique_ptr<LibraryConv> conv, ConvResult result, const Array& zeros)
      : conv_(std::move(conv)), result_(result), zeros_(zeros) {}

  std::string name() const override { return conv_->name(); }
  std::size_t workspace_bytes() const override { return conv_->workspace_bytes(); }
  bool writes_f32() const override { return result_ == ConvResult::kWeightGradient; }
  void run(const ConvOperands& operands, void* workspace, Stream stream) override {
    ConvOperands biased = operands;
    if (result_ == ConvResult::kOutput && biased.b == nullptr) biased.b = zeros_.data<float>();
    conv_->run(biased, workspace, stream);
  }

 private:
  std::unique_ptr<LibraryConv> conv_;
  ConvResult result_;
  Array zeros_;
};

std::shared_ptr<ConvCandidate> named(const std::vector<std::shared_ptr<ConvCandidate>>& candidates,
                                     const std::string& name) {
  const auto found = std::find_if(candidates.begin(), candidates.end(),
                                  [&](const auto& one) { return one->name() == name; });
  return found == candidates.end() ? nullptr : *found;
}

// For steps: who owns the memory keeps it.
Array view_of(const Array& a) {
  return Array::view(const_cast<void*>(a.data()), a.shape(), a.dtype(), a.device());
}

void convert_array(const Array& from, Array& to, Stream stream) {
  convert({const_cast<void*>(from.data()), from.dtype()}, {to.data(), to.dtype()}, from.elements(),
          stream);
}

}  // namespace

ConvTask CudaBackend::task_of(const Shape& x, Precision precision, const ConvLayer& layer) {
  const Shape& w = layer.w.shape();
  const ConvOptions& o = layer.options;
  if (w[1] != w[2]) {
    fail_runtime("CUDA convolutions have square kernels, found weights ",
                 ptynet::describe(layer.w));
  }
  ConvTask task;
  ConvShape& s = task.shape;
  s.n = extent(x, 0);
  s.h = extent(x, 1);
  s.w = extent(x, 2);
  s.ci = extent(x, 3);
  s.kernel = extent(w, 1);
  s.stride = static_cast<int>(o.stride);
  s.padding = static_cast<int>(o.padding);
  s.groups = static_cast<int>(o.groups);
  s.co = layer.transposed ? extent(w, 3) * s.groups : extent(w, 0);
  s.activation = o.activation;
  task.transposed = layer.transposed;
  task.precision = precision;
  return task;
}

void CudaBackend::conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                         Array& y) {
  convolve({task_of(x.shape(), precision_of(x), {w, b, o, false}), x, w, b, y, o.constant_weights});
}

void CudaBackend::conv_transpose2d(const Array& x, const Array& w, const Array& b,
                                   const ConvOptions& o, Array& y) {
  convolve({task_of(x.shape(), precision_of(x), {w, b, o, true}), x, w, b, y, o.constant_weights});
}

void CudaBackend::convolve(const Convolution& c) {
  const DeviceScope scope(index_);
  const std::shared_ptr<ConvCandidate> candidate = candidate_for(c);
  mark_used(choice_key(c));
  Array narrow;
  if (is_widened(*candidate, c)) narrow = scratch(c.y.shape(), c.x.dtype());
  const Weights weights = step_weights(c, candidate->packs_weights());
  const auto bytes = static_cast<std::int64_t>(candidate->workspace_bytes());
  Array workspace;
  if (bytes > 0) workspace = scratch({bytes}, DType::kU8);
  const Step run = step_of(candidate, c, weights.data, workspace.data(), narrow);
  submit(text(operation_of(c.task), " by ", candidate->name()), c.y,
         [run, prepare = weights.prepare](Stream stream) {
           if (prepare) prepare(stream);
           run(stream);
         });
}

bool CudaBackend::is_wide(const Convolution& c) { return c.y.dtype() != c.x.dtype(); }

bool CudaBackend::is_widened(const ConvCandidate& candidate, const Convolution& c) {
  return is_wide(c) && !candidate.writes_f32();
}

CudaBackend::Step CudaBackend::step_of(const std::shared_ptr<ConvCandidate>& candidate,
                                       const Convolution& c, const void* weights, void* workspace,
                                       const Array& narrow) {
  Array y = c.y;
  Array written = narrow.empty() ? y : narrow;
  const ConvOperands operands{c.x.data(), weights, c.b.empty() ? nullptr : c.b.data<float>(),
                              written.data(), is_wide(c) && narrow.empty()};
  return widened([candidate, operands,
                  workspace](Stream stream) { candidate->run(operands, workspace, stream); },
                 narrow, y);
}

CudaBackend::Step CudaBackend::widened(Step run, Array narrow, Array y) {
  if (narrow.empty()) return run;
  return [run, from = TypedValues{narrow.data(), narrow.dtype()},
          to = TypedValues{y.data(), y.dtype()}, count = y.elements()](Stream stream) {
    run(stream);
    convert(from, to, count, stream);
  };
}

CudaBackend::Weights CudaBackend::step_weights(const Convolution& c, bool packed) {
  const bool once = recording() && c.constant_weights;
  Weights weights = weights_for(c, packed, once ? static_cast<Allocator&>(pool_) : *allocator_);
  if (once && weights.prepare) {
    if (!rehearsing_) weights.prepare(stream_.get());
    weights.prepare = nullptr;
  }
  if (recording() && (once || allocator_ == &pool_)) {
    for (const Array& memory : weights.memory) recording_->keep(memory);
  }
  return weights;
}

// Weights come as f32 [co, k, k, ci / groups], of a transposed convolution [ci, k, k, co / groups];
// what a gradient by the weights has in their place, of the type that its kernel takes.
CudaBackend::Weights CudaBackend::weights_for(const Convolution& c, bool packed,
                                              Allocator& memory) {
  Weights out;
  Array typed = c.w;
  Step narrow;
  const DType type = array_type(c.task.precision);
  if (c.w.dtype() != type) {
    typed = memory.allocate(c.w.shape(), type);
    out.memory.push_back(typed);
    narrow = [from = view_of(c.w), to = view_of(typed)](Stream stream) mutable {
      convert_array(from, to, stream);
    };
  }
  out.data = typed.data();
  out.prepare = narrow;
  if (!packed) return out;
  Array reordered = memory.allocate({packed_weights(c.task.shape)}, type);
  out.memory.push_back(reordered);
  out.prepare = [narrow, task = c.task, from = out.data, to = reordered.data()](Stream stream) {
    if (narrow) narrow(stream);
    pack_weights(task.shape, task.precision, from, to, stream);
  };
  out.data = reordered.data();
  return out;
}

bool CudaBackend::is_on_vector(const Array& array) {
  constexpr std::uintptr_t kAlignment = 16;
  return reinterpret_cast<std::uintptr_t>(array.data()) % kAlignment == 0;
}

// Made once for each task. Where a library fails, or is missing, it has no candidates.
const CudaBackend::Candidates& CudaBackend::library_candidates(const Convolution& c) {
  static const Candidates none;
  for (const Array* operand : {&c.x, &c.w, &c.b, &c.y}) {
    if (!is_on_vector(*operand)) return none;  // which the libraries want
  }
  const ConvTask& task = c.task;
  const auto [place, is_new] = library_candidates_.try_emplace(describe(task));
  Candidates& out = place->second;
  if (!is_new) return out;
  try {
    if (!libraries_) libraries_ = std::make_unique<Libraries>();
    for (auto& found : library_convs(*libraries_, task, kMostLibraryConvs)) {
      out.push_back(
          std::make_shared<LibraryCandidate>(std::move(found), task.result, zeros(task.shape.co)));
    }
  } catch (const Error&) {
    stream_.synchronize();  // a device that fails is not the library's fault alone
  }
  return out;
}

Array CudaBackend::zeros(std::int64_t count) {
  if (zeros_.elements() < count) {
    const Array host = Array::zeros({count}, DType::kF32);
    zeros_ = pool_.allocate(host.shape(), host.dtype());
    copy_bytes(zeros_.data(), host.data(), host.bytes(), stream_.get());
    stream_.synchronize();
  }
  return zeros_;
}

std::string CudaBackend::choice_key(const Convolution& c) {
  return describe(c.task) + (is_wide(c) ? ", to f32" : "");
}

std::shared_ptr<ConvCandidate> CudaBackend::candidate_for(const Convolution& c) {
  const std::string key = choice_key(c);
  const auto known = choices_.find(key);
  const bool time = recording() && tune_;
  Candidates candidates = hand_written_convs(c.task, facts_.multiprocessors);
  if (known == choices_.end() && !time) return candidates.front();
  if (known != choices_.end()) {
    const ConvChoice& choice = known->second;
    if (auto own = named(candidates, choice.chosen)) return own;
    // The libraries take seconds to make theirs; one of an earlier run may no longer run.
    auto other = named(library_candidates(c), choice.chosen);
    if (other && (choice.used || time_of(other, c))) return other;
    if (!time) return candidates.front();
  }
  for (const auto& other : library_candidates(c)) candidates.push_back(other);
  return fastest(c, candidates, choices_[key]);
}

void CudaBackend::mark_used(const std::string& task) {
  const auto known = choices_.find(task);
  if (known != choices_.end()) known->second.used |= recording();
}

std::shared_ptr<ConvCandidate> CudaBackend::fastest(const Convolution& c,
                                                    const Candidates& candidates,
                                                    ConvChoice& choice) {
  choice = {};
  std::shared_ptr<ConvCandidate> best;
  for (const auto& candidate : candidates) {
    const std::optional<double> seconds = time_of(candidate, c);
    if (!seconds) continue;
    choice.seconds[candidate->name()] = *seconds;
    if (best && *seconds >= choice.seconds[best->name()]) continue;
    best = candidate;
  }
  if (!best) return candidates.front();  // which says why when it is run
  choice.chosen = best->name();
  return best;
}

// On the operands' own memory, whatever it holds. Nothing where a candidate does not run after all,
// or has not the memory for it.
std::optional<double> CudaBackend::time_of(const std::shared_ptr<ConvCandidate>& candidate,
                                           const Convolution& c) {
  try {
    const Weights weights = weights_for(c, candidate->packs_weights(), pool_);
    if (weights.prepare) weights.prepare(stream_.get());
    Array narrow;
    if (is_widened(*candidate, c)) narrow = pool_.allocate(c.y.shape(), c.x.dtype());
    const auto bytes = static_cast<std::int64_t>(candidate->workspace_bytes());
    Array workspace;
    if (bytes > 0) workspace = pool_.allocate({bytes}, DType::kU8);
    const Step step = step_of(candidate, c, weights.data, workspace.data(), narrow);
    return Graph::time(stream_.get(), [&] { step(stream_.get()); });
  } catch (const Error&) {
    stream_.synchronize();  // throws where the device itself has failed
    return std::nullopt;
  }
}

}  // namespace ptynet::cuda
