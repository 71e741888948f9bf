#include "kernels/cuda/conv_candidates.h"

#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/conv_weight_gradient.h"
#include "kernels/cuda/conv_wgmma.h"
#include "kernels/cuda/thin_conv.h"
#include "kernels/cuda/thin_output.h"
#include "kernels/error.h"

namespace ptynet::cuda {

namespace {

// A kernel that cuts its work into tiles, and one of them.
class TiledConv final : public ConvCandidate {
 public:
  using Launch = decltype(&cuda::conv2d);

  TiledConv(std::string_view kernel, Launch launch, const ConvTask& task, const ConvTile& tile)
      : name_(text(kernel, " of ", tile.pixels_per_warp, " pixels x ", tile.channels, " channels")),
        launch_(launch),
        task_(task),
        tile_(tile) {}

  std::string name() const override { return name_; }
  bool packs_weights() const override { return task_.transposed; }
  void run(const ConvOperands& operands, void*, Stream stream) override {
    launch_(task_.shape, task_.precision, operands, tile_, stream);
  }

 private:
  std::string name_;
  Launch launch_;
  ConvTask task_;
  ConvTile tile_;
};

class ThinConv final : public ConvCandidate {
 public:
  explicit ThinConv(const ConvTask& task) : task_(task) {}

  std::string name() const override { return "direct"; }
  bool writes_f32() const override {
    return task_.transposed || is_thin_output(task_.shape, task_.precision);
  }
  void run(const ConvOperands& operands, void*, Stream stream) override {
    const auto launch = task_.transposed ? thin_conv_transpose2d : thin_conv2d;
    launch(task_.shape, task_.precision, operands, stream);
  }

 private:
  ConvTask task_;
};

class WeightGradientConv final : public ConvCandidate {
 public:
  WeightGradientConv(const ConvTask& task, int multiprocessors)
      : task_(task), multiprocessors_(multiprocessors) {}

  std::string name() const override { return "shares of pixels"; }
  std::size_t workspace_bytes() const override {
    return sizeof(float) * static_cast<std::size_t>(weight_gradient_parts(
                               task_.shape, task_.precision, multiprocessors_));
  }
  bool writes_f32() const override { return true; }
  void run(const ConvOperands& operands, void* workspace, Stream stream) override {
    weight_gradient(
        task_.shape, task_.precision,
        {operands.x, operands.w, static_cast<float*>(operands.y), static_cast<float*>(workspace)},
        multiprocessors_, stream);
  }

 private:
  ConvTask task_;
  int multiprocessors_;
};

bool is_thin(const ConvTask& task) {
  return task.transposed ? is_thin_conv_transpose2d(task.shape)
                         : is_thin_conv2d(task.shape, task.precision);
}

std::string_view name_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kNone:
      return "no activation";
    case ActivationKind::kLeakyRelu:
      return "leaky_relu";
    case ActivationKind::kRelu:
      return "relu";
    case ActivationKind::kHardtanh:
      return "hardtanh";
    case ActivationKind::kSigmoid:
      return "sigmoid";
    case ActivationKind::kTanh:
      return "tanh";
  }
  return "unknown";
}

}  // namespace

std::vector<std::shared_ptr<ConvCandidate>> hand_written_convs(const ConvTask& task,
                                                               int multiprocessors) {
  std::vector<std::shared_ptr<ConvCandidate>> out;
  if (task.result == ConvResult::kWeightGradient) {
    out.push_back(std::make_shared<WeightGradientConv>(task, multiprocessors));
    return out;
  }
  if (is_thin(task)) out.push_back(std::make_shared<ThinConv>(task));
  const auto suggest = task.transposed
                           ? suggest_transposed_tile
                           : static_cast<decltype(&suggest_transposed_tile)>(suggest_tile);
  const auto all = task.transposed ? transposed_tiles : conv_tiles;
  const ConvTile suggested = suggest(task.shape, task.precision, multiprocessors);
  const auto add = [&](std::string_view kernel, TiledConv::Launch launch, const ConvTile& tile) {
    out.push_back(std::make_shared<TiledConv>(kernel, launch, task, tile));
  };
  const auto launch = task.transposed ? cuda::conv_transpose2d : cuda::conv2d;
  add("tile", launch, suggested);
  for (const ConvTile& tile : all(task.shape, task.precision)) {
    if (tile != suggested) add("tile", launch, tile);
  }
  const auto by_wgmma = task.transposed ? transposed_wgmma_tiles : wgmma_tiles;
  for (const ConvTile& tile : by_wgmma(task.shape, task.precision)) {
    add("wgmma", task.transposed ? wgmma_conv_transpose2d : wgmma_conv2d, tile);
  }
  return out;
}

std::string_view operation_of(const ConvTask& task) {
  switch (task.result) {
    case ConvResult::kInputGradient:
      return task.transposed ? "gradient by x, conv2d" : "gradient by x, conv_transpose2d";
    case ConvResult::kWeightGradient:
      return task.transposed ? "gradient by w, conv_transpose2d" : "gradient by w, conv2d";
    case ConvResult::kOutput:
      break;
  }
  return task.transposed ? "conv_transpose2d" : "conv2d";
}

std::string describe(const ConvTask& task) {
  const ConvShape& s = task.shape;
  const bool extra = s.extra_rows != 0 || s.extra_columns != 0;
  return text(operation_of(task), " [", s.n, ", ", s.h, ", ", s.w, ", ", s.ci, "] -> ", s.co, ", ",
              s.kernel, "x", s.kernel, ", stride ", s.stride, ", padding ", s.padding,
              extra ? text(", extra ", s.extra_rows, " x ", s.extra_columns) : "", ", groups ",
              s.groups, ", ", name_of(s.activation.kind),
              s.activation.alpha != 0 ? text(" ", s.activation.alpha) : "", ", ",
              name_of(task.precision));
}

}  // namespace ptynet::cuda
