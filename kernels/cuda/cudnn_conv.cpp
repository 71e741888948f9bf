#include "kernels/cuda/cudnn_conv.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace ptynet::cuda {

namespace {

using Knob = std::pair<cudnnBackendKnobType_t, std::int64_t>;

// An engine that cuDNN proposes, with its knobs set.
struct Proposal {
  CudnnDescriptor config;
  CudnnDescriptor engine;

  explicit Proposal(CudnnDescriptor given)
      : config(std::move(given)),
        engine(std::move(
            config.descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1)
                .at(0))) {}

  std::vector<Knob> knobs() const {
    std::vector<Knob> out;
    for (const CudnnDescriptor& knob :
         config.descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
                            CUDNN_KNOB_TYPE_COUNTS)) {
      out.emplace_back(knob.value<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE),
                       knob.value<std::int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
    }
    std::ranges::sort(out);
    return out;
  }

  std::string name() const {
    std::string out =
        text("cudnn engine ", engine.value<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX));
    const char* separator = " knobs ";
    for (const auto& [type, value] : knobs()) {
      out += text(separator, static_cast<int>(type), "=", value);
      separator = ",";
    }
    return out;
  }
};

// Winograd and Fourier transforms and narrowed inputs or sums are numerically another convolution
// than ours, and CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC marks sums in an order that changes from run
// to run; the notes that may stand are listed, so that these and a new one of cuDNN's are refused.
bool is_allowed(cudnnBackendNumericalNote_t note, Precision precision) {
  return note == CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP ||
         (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && precision != Precision::kF32);
}

bool is_allowed(const Proposal& proposal, Precision precision) {
  constexpr std::size_t kMostNotes = 32;  // more than cuDNN has kinds of
  const auto notes = proposal.engine.values<cudnnBackendNumericalNote_t>(
      CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, kMostNotes);
  const auto behaviour = proposal.engine.values<cudnnBackendBehaviorNote_t>(
      CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, kMostNotes);
  const auto reorders = [](cudnnBackendBehaviorNote_t note) {
    return note == CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER ||
           note == CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER;
  };
  return std::ranges::all_of(notes, [&](auto note) { return is_allowed(note, precision); }) &&
         std::ranges::none_of(behaviour, reorders);
}

std::vector<CudnnDescriptor> configs(const CudnnTarget& target, const ConvGraph& graph,
                                     cudnnBackendHeurMode_t mode, const ConvRequest& request) {
  CudnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
#if CUDNN_VERSION >= 90800
  if (target.device != nullptr) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.device);
#endif
  if (!is_supported(heuristics.try_finalize(), "finalising heuristics", request)) return {};
  return heuristics.descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                                heuristics.count(CUDNN_ATTR_ENGINEHEUR_RESULTS));
}

class CudnnConv final : public LibraryConv {
 public:
  CudnnConv(const CudnnTarget& target, const ConvRequest& request,
            std::shared_ptr<const ConvGraph> graph, Proposal proposal)
      : handle_(target.handle),
        request_(request),
        graph_(std::move(graph)),
        proposal_(std::move(proposal)),
        name_(proposal_.name()) {
    if (handle_ != nullptr) plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle_);
#if CUDNN_VERSION >= 90800
    if (target.device != nullptr) {
      plan_.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.device);
    }
#endif
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, proposal_.config);
  }

  // Compiles what has to be compiled. False where the engine refuses after all, as heuristics
  // allow it to.
  bool prepare() {
    if (!succeeded(plan_.try_finalize())) return false;
    workspace_bytes_ = static_cast<std::size_t>(
        plan_.value<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
    return true;
  }

  std::string name() const override { return name_; }
  std::size_t workspace_bytes() const override { return workspace_bytes_; }

  void run(const ConvOperands& operands, void* workspace, Stream stream) override {
    check_operands(request_, operands);
    const std::array<std::int64_t, 4> names = {kTensorX, kTensorW, kTensorY, kTensorB};
    const std::array<void*, 4> pointers = {const_cast<void*>(operands.x),
                                           const_cast<void*>(operands.w), operands.y,
                                           const_cast<float*>(operands.b)};
    const std::size_t count = request_.has_bias() ? 4 : 3;
    CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span(names).first(count));
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span(pointers).first(count));
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
    pack.finalize();
    check(cudnnSetStream(handle_, stream), "cudnnSetStream");
    check(cudnnBackendExecute(handle_, plan_.get(), pack.get()), "cudnnBackendExecute", ", ", name_,
          ", ", request_);
  }

 private:
  cudnnHandle_t handle_;
  ConvRequest request_;
  std::shared_ptr<const ConvGraph> graph_;
  Proposal proposal_;
  std::string name_;
  CudnnDescriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  std::size_t workspace_bytes_ = 0;
};

}  // namespace

LibraryConvs cudnn_convs(const CudnnTarget& target, const ConvRequest& request, int most) {
  LibraryConvs found;
  const auto graph = conv_graph(target, request);
  if (graph == nullptr) return found;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (CudnnDescriptor& config : configs(target, *graph, mode, request)) {
      if (static_cast<int>(found.size()) >= most) return found;
      Proposal proposal(std::move(config));
      const auto is_same = [name = proposal.name()](const auto& conv) {
        return conv->name() == name;
      };
      if (!is_allowed(proposal, request.precision) || std::ranges::any_of(found, is_same)) continue;
      auto conv = std::make_unique<CudnnConv>(target, request, graph, std::move(proposal));
      if (conv->prepare()) found.push_back(std::move(conv));
    }
  }
  return found;
}

}  // namespace ptynet::cuda
