#include "layers/layer.h"

#include <algorithm>
#include <functional>

namespace ptynet {

namespace {

// [a, b, kh, kw] -> [a, kh, kw, b]: channels last, for both kinds of convolution.
Array channels_last(const Array& weight) {
  const Shape& s = weight.shape();
  Array out = Array::host({s[0], s[2], s[3], s[1]}, DType::kF32);
  const auto* from = weight.data<float>();
  auto* to = out.data<float>();
  const std::int64_t area = s[2] * s[3];
  for (std::int64_t a = 0; a < s[0]; ++a) {
    for (std::int64_t b = 0; b < s[1]; ++b) {
      for (std::int64_t k = 0; k < area; ++k) {
        to[(a * area + k) * s[1] + b] = from[(a * s[1] + b) * area + k];
      }
    }
  }
  return out;
}

class Convolution final : public Layer {
 public:
  Convolution(Context& context, const LayerSpec& spec, const StateDict& state)
      : transposed_(spec.type == LayerType::kConvTranspose2d),
        weight_(on_device(context, channels_last(state.at(spec.name + ".weight")))) {
    if (spec.bias) bias_ = Tensor(on_device(context, state.at(spec.name + ".bias")));
    options_.stride = spec.stride;
    options_.padding = spec.padding;
    options_.groups = spec.groups;
    options_.activation = spec.activation;
    options_.constant_weights = true;
  }

  Tensor forward(Context& context, const Tensor& x, DType result) override {
    return transposed_ ? conv_transpose2d(context, x, weight_, bias_, options_, result)
                       : conv2d(context, x, weight_, bias_, options_, result);
  }
  bool chooses_result() const override { return true; }

 private:
  bool transposed_;
  Tensor weight_;
  Tensor bias_;
  ConvOptions options_;
};

class BatchNorm final : public Layer {
 public:
  BatchNorm(Context& context, const LayerSpec& spec, const StateDict& state) {
    const auto tensor = [&](const char* suffix) {
      return on_device(context, state.at(spec.name + suffix));
    };
    parameters_ = {tensor(".weight"), tensor(".bias"), tensor(".running_mean"),
                   tensor(".running_var"), spec.epsilon};
  }
  Tensor forward(Context& context, const Tensor& x, DType) override {
    return batch_norm(context, x, parameters_);
  }

 private:
  BatchNormParameters parameters_;
};

// A layer that owns no tensors.
class Plain final : public Layer {
 public:
  using Operation = std::function<Tensor(Context&, const Tensor&)>;
  explicit Plain(Operation operation) : operation_(std::move(operation)) {}
  Tensor forward(Context& context, const Tensor& x, DType) override {
    return operation_(context, x);
  }

 private:
  Operation operation_;
};

class Residual final : public Layer {
 public:
  Residual(std::unique_ptr<Layer> main, std::unique_ptr<Layer> shortcut)
      : main_(std::move(main)), shortcut_(std::move(shortcut)) {}
  Tensor forward(Context& context, const Tensor& x, DType result) override {
    const DType type = chooses_result() ? result : x.value().dtype();
    const Tensor main = main_->forward(context, x, type);
    return add(context, main, shortcut_->forward(context, x, type));
  }
  // Both parts, or they would meet in different types.
  bool chooses_result() const override {
    return main_->chooses_result() && shortcut_->chooses_result();
  }

 private:
  std::unique_ptr<Layer> main_;
  std::unique_ptr<Layer> shortcut_;
};

class Branches final : public Layer {
 public:
  explicit Branches(std::vector<std::unique_ptr<Layer>> branches)
      : branches_(std::move(branches)) {}
  Tensor forward(Context& context, const Tensor& x, DType result) override {
    const DType type = chooses_result() ? result : x.value().dtype();
    std::vector<Tensor> parts;
    parts.reserve(branches_.size());
    for (const auto& branch : branches_) parts.push_back(branch->forward(context, x, type));
    return concat_channels(context, parts);
  }
  bool chooses_result() const override {
    return std::all_of(branches_.begin(), branches_.end(),
                       [](const auto& branch) { return branch->chooses_result(); });
  }

 private:
  std::vector<std::unique_ptr<Layer>> branches_;
};

std::unique_ptr<Layer> build_layer(Context& context, const LayerSpec& spec,
                                   const StateDict& state) {
  switch (spec.type) {
    case LayerType::kConv2d:
    case LayerType::kConvTranspose2d:
      return std::make_unique<Convolution>(context, spec, state);
    case LayerType::kBatchNorm2d:
      return std::make_unique<BatchNorm>(context, spec, state);
    case LayerType::kActivation:
      return std::make_unique<Plain>(
          [a = spec.activation](Context& c, const Tensor& x) { return activation(c, x, a); });
    case LayerType::kMaxPool2d:
      return std::make_unique<Plain>(
          [kernel = spec.kernel](Context& c, const Tensor& x) { return max_pool2d(c, x, kernel); });
    case LayerType::kUpsampleBilinear2d:
      return std::make_unique<Plain>([scale = spec.scale](Context& c, const Tensor& x) {
        return upsample_bilinear2d(c, x, scale);
      });
    case LayerType::kResidual:
      return std::make_unique<Residual>(build_layers(context, spec.parts[0], state),
                                        build_layers(context, spec.parts[1], state));
    case LayerType::kBranches: {
      std::vector<std::unique_ptr<Layer>> branches;
      for (const auto& part : spec.parts) branches.push_back(build_layers(context, part, state));
      return std::make_unique<Branches>(std::move(branches));
    }
    case LayerType::kDropout:
      break;  // build_layers leaves it out
  }
  fail_runtime("no layer is built for type ", static_cast<int>(spec.type));
}

// Each convolution takes the activation that follows it; dropout does nothing in inference.
std::vector<LayerSpec> fused(const std::vector<LayerSpec>& layers) {
  std::vector<LayerSpec> out;
  for (const LayerSpec& layer : layers) {
    if (layer.type == LayerType::kDropout) continue;
    const bool follows_convolution =
        !out.empty() &&
        (out.back().type == LayerType::kConv2d || out.back().type == LayerType::kConvTranspose2d) &&
        out.back().activation.kind == ActivationKind::kNone;
    if (layer.type == LayerType::kActivation && follows_convolution) {
      out.back().activation = layer.activation;
    } else {
      out.push_back(layer);
    }
  }
  return out;
}

}  // namespace

Tensor Sequential::forward(Context& context, const Tensor& x, DType result) {
  Tensor y = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const bool last = i + 1 == layers_.size();
    y = layers_[i]->forward(context, y, last ? result : x.value().dtype());
  }
  return y;
}

std::unique_ptr<Layer> build_layers(Context& context, const std::vector<LayerSpec>& layers,
                                    const StateDict& state) {
  std::vector<std::unique_ptr<Layer>> built;
  for (const LayerSpec& spec : fused(layers)) built.push_back(build_layer(context, spec, state));
  return std::make_unique<Sequential>(std::move(built));
}

}  // namespace ptynet
