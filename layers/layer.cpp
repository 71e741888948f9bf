#include "layers/layer.h"

#include <algorithm>
#include <array>
#include <functional>

namespace ptynet {

namespace {

// [a, m, k] -> [a, k, m], both f32 or both f64.
template <typename T>
Array transposed(const Array& from, std::int64_t m, std::int64_t k, const Shape& shape) {
  Array out = Array::host(shape, from.dtype());
  const T* source = from.data<T>();
  T* target = out.data<T>();
  for (std::int64_t a = 0; a < shape[0]; ++a) {
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < k; ++j) {
        target[(a * k + j) * m + i] = source[(a * m + i) * k + j];
      }
    }
  }
  return out;
}

Array transposed(const Array& from, std::int64_t m, std::int64_t k, const Shape& shape) {
  return from.dtype() == DType::kF64 ? transposed<double>(from, m, k, shape)
                                     : transposed<float>(from, m, k, shape);
}

// A tensor of the state dict as a layer wants it.
Tensor own(Context& context, const StateDict& state, const std::string& name, DType type) {
  Array host = channels_last(state.at(name));
  if (type == DType::kF64) {
    Array wide = Array::host(host.shape(), type);
    std::copy_n(host.data<float>(), host.elements(), wide.data<double>());
    host = wide;
  }
  return Tensor(on_device(context, host));
}

class Convolution final : public Layer {
 public:
  Convolution(Context& context, const LayerSpec& spec, const StateDict& state, DType type)
      : name_(spec.name) {
    tensors_.w = own(context, state, spec.name + ".weight", type);
    if (spec.bias) tensors_.b = own(context, state, spec.name + ".bias", type);
    tensors_.options = {spec.stride, spec.padding, spec.groups, spec.activation};
    tensors_.transposed = spec.type == LayerType::kConvTranspose2d;
  }

  Tensor forward(Context& context, const Tensor& x, const Pass& pass) override {
    const ConvTensors c = *convolution(pass);
    return c.transposed ? conv_transpose2d(context, x, c.w, c.b, c.options, pass.result)
                        : conv2d(context, x, c.w, c.b, c.options, pass.result);
  }
  bool chooses_result() const override { return true; }
  std::optional<ConvTensors> convolution(const Pass& pass) const override {
    ConvTensors out = tensors_;
    out.options.constant_weights = pass.fixed_weights;
    return out;
  }
  void add_parameters(std::vector<Parameter>& parameters) override {
    parameters.push_back({name_ + ".weight", &tensors_.w});
    if (!tensors_.b.empty()) parameters.push_back({name_ + ".bias", &tensors_.b});
  }

 private:
  std::string name_;
  ConvTensors tensors_;
};

class BatchNorm final : public Layer {
 public:
  BatchNorm(Context& context, const LayerSpec& spec, const StateDict& state, DType type)
      : name_(spec.name),
        epsilon_(spec.epsilon),
        momentum_(spec.momentum),
        activation_(spec.activation) {
    for (std::size_t i = 0; i < kSuffixes.size(); ++i) {
      tensors_[i] = own(context, state, spec.name + kSuffixes[i], type);
    }
  }

  Tensor forward(Context& context, const Tensor& x, const Pass& pass) override {
    const auto& [weight, bias, mean, variance] = tensors_;
    if (pass.training) {
      return batch_norm_training(
          context, x, weight, bias,
          {mean.value(), variance.value(), epsilon_, momentum_, activation_});
    }
    return batch_norm(context, x,
                      {weight.value(), bias.value(), mean.value(), variance.value(), epsilon_,
                       momentum_, activation_});
  }
  void add_parameters(std::vector<Parameter>& parameters) override {
    for (std::size_t i = 0; i < kSuffixes.size(); ++i) {
      parameters.push_back({name_ + kSuffixes[i], &tensors_[i], i < 2});
    }
  }

 private:
  static constexpr std::array kSuffixes{".weight", ".bias", ".running_mean", ".running_var"};

  std::string name_;
  float epsilon_;
  float momentum_;
  Activation activation_;
  std::array<Tensor, 4> tensors_;
};

// A layer that owns no tensors.
class Plain final : public Layer {
 public:
  using Operation = std::function<Tensor(Context&, const Tensor&)>;
  explicit Plain(Operation operation) : operation_(std::move(operation)) {}
  Tensor forward(Context& context, const Tensor& x, const Pass&) override {
    return operation_(context, x);
  }

 private:
  Operation operation_;
};

class Residual final : public Layer {
 public:
  Residual(std::unique_ptr<Layer> main, std::unique_ptr<Layer> shortcut)
      : main_(std::move(main)), shortcut_(std::move(shortcut)) {}
  Tensor forward(Context& context, const Tensor& x, const Pass& pass) override {
    Pass part = pass;
    if (!chooses_result()) part.result = x.value().dtype();
    const Tensor main = main_->forward(context, x, part);
    return add(context, main, shortcut_->forward(context, x, part));
  }
  // Both parts, or they would meet in different types.
  bool chooses_result() const override {
    return main_->chooses_result() && shortcut_->chooses_result();
  }
  void add_parameters(std::vector<Parameter>& parameters) override {
    main_->add_parameters(parameters);
    shortcut_->add_parameters(parameters);
  }

 private:
  std::unique_ptr<Layer> main_;
  std::unique_ptr<Layer> shortcut_;
};

class Branches final : public Layer {
 public:
  explicit Branches(std::vector<std::unique_ptr<Layer>> branches)
      : branches_(std::move(branches)) {}
  Tensor forward(Context& context, const Tensor& x, const Pass& pass) override {
    Pass part = pass;
    if (!chooses_result()) part.result = x.value().dtype();
    std::vector<Tensor> parts;
    parts.reserve(branches_.size());
    for (const auto& branch : branches_) parts.push_back(branch->forward(context, x, part));
    return concat_channels(context, parts);
  }
  bool chooses_result() const override {
    return std::all_of(branches_.begin(), branches_.end(),
                       [](const auto& branch) { return branch->chooses_result(); });
  }
  void add_parameters(std::vector<Parameter>& parameters) override {
    for (const auto& branch : branches_) branch->add_parameters(parameters);
  }

 private:
  std::vector<std::unique_ptr<Layer>> branches_;
};

std::unique_ptr<Layer> build_layer(Context& context, const LayerSpec& spec, const StateDict& state,
                                   DType type) {
  switch (spec.type) {
    case LayerType::kConv2d:
    case LayerType::kConvTranspose2d:
      return std::make_unique<Convolution>(context, spec, state, type);
    case LayerType::kBatchNorm2d:
      return std::make_unique<BatchNorm>(context, spec, state, type);
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
      return std::make_unique<Residual>(build_layers(context, spec.parts[0], state, type),
                                        build_layers(context, spec.parts[1], state, type));
    case LayerType::kBranches: {
      std::vector<std::unique_ptr<Layer>> branches;
      for (const auto& part : spec.parts) {
        branches.push_back(build_layers(context, part, state, type));
      }
      return std::make_unique<Branches>(std::move(branches));
    }
    case LayerType::kDropout:
      break;  // build_layers leaves it out
  }
  fail_runtime("no layer is built for type ", static_cast<int>(spec.type));
}

bool takes_activation(const LayerSpec& layer) {
  return (layer.type == LayerType::kConv2d || layer.type == LayerType::kConvTranspose2d ||
          layer.type == LayerType::kBatchNorm2d) &&
         layer.activation.kind == ActivationKind::kNone;
}

// Each convolution and each batch norm takes the activation that follows it; dropout does nothing
// in inference.
std::vector<LayerSpec> fused(const std::vector<LayerSpec>& layers) {
  std::vector<LayerSpec> out;
  for (const LayerSpec& layer : layers) {
    if (layer.type == LayerType::kDropout) continue;
    if (layer.type == LayerType::kActivation && !out.empty() && takes_activation(out.back())) {
      out.back().activation = layer.activation;
    } else {
      out.push_back(layer);
    }
  }
  return out;
}

}  // namespace

Array channels_last(const Array& weight) {
  const Shape& s = weight.shape();
  if (s.rank() != 4) return weight;
  return transposed(weight, s[1], s[2] * s[3], {s[0], s[2], s[3], s[1]});
}

Array channels_second(const Array& weight) {
  const Shape& s = weight.shape();
  if (s.rank() != 4) return weight;
  return transposed(weight, s[1] * s[2], s[3], {s[0], s[3], s[1], s[2]});
}

Tensor Sequential::forward(Context& context, const Tensor& x, const Pass& pass) {
  Tensor y = x;
  const auto result_after = [&](std::size_t layers) {
    return layers < layers_.size() ? x.value().dtype() : pass.result;
  };
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (const auto both = pair_at(context, i, y, pass, result_after(i + 2))) {
      y = *both;
      ++i;
      continue;
    }
    Pass step = pass;
    step.result = result_after(i + 1);
    y = layers_[i]->forward(context, y, step);
  }
  return y;
}

std::optional<Tensor> Sequential::pair_at(Context& context, std::size_t i, const Tensor& x,
                                          const Pass& pass, DType result) const {
  if (i + 1 == layers_.size()) return {};
  const auto first = layers_[i]->convolution(pass);
  const auto second = layers_[i + 1]->convolution(pass);
  if (!first || !second) return {};
  return conv_pair(context, x, *first, *second, result);
}

void Sequential::add_parameters(std::vector<Parameter>& parameters) {
  for (const auto& layer : layers_) layer->add_parameters(parameters);
}

std::unique_ptr<Layer> build_layers(Context& context, const std::vector<LayerSpec>& layers,
                                    const StateDict& state, DType type) {
  std::vector<std::unique_ptr<Layer>> built;
  for (const LayerSpec& spec : fused(layers)) {
    built.push_back(build_layer(context, spec, state, type));
  }
  return std::make_unique<Sequential>(std::move(built));
}

}  // namespace ptynet
