// The tree of layers a network is made of.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "autograd/operations.h"
#include "layers/state_dict.h"

namespace ptynet {

// How a network is gone through.
struct Pass {
  DType result = DType::kF32;  // element type of what a layer gives, where it can choose it
  bool training = false;       // batch norm with the batch's statistics, its running ones moving
  bool fixed_weights = true;   // while a recording of this pass lives
};

// A tensor of the state dict, as a layer holds it: convolution weights channels last.
struct Parameter {
  std::string name;
  Tensor* tensor = nullptr;  // the layer's own; a tape may watch it
  bool trainable = true;     // running statistics are not
};

// One node of the tree, holding its tensors on one device. forward() may be called by one thread
// at a time; it is the same for training and inference.
class Layer {
 public:
  virtual ~Layer() = default;
  // x [n, h, w, c]; the result has element type pass.result where the layer can choose it (bf16
  // networks end in f32), else x's.
  virtual Tensor forward(Context& context, const Tensor& x, const Pass& pass) = 0;
  virtual bool chooses_result() const { return false; }
  // Its tensors, of a layer that is a convolution: a device may have one step for two in a row.
  virtual std::optional<ConvTensors> convolution(const Pass&) const { return {}; }
  // Adds the tensors it owns, in the order of execution.
  virtual void add_parameters(std::vector<Parameter>&) {}
};

class Sequential final : public Layer {
 public:
  explicit Sequential(std::vector<std::unique_ptr<Layer>> layers) : layers_(std::move(layers)) {}
  Tensor forward(Context& context, const Tensor& x, const Pass& pass) override;
  bool chooses_result() const override {
    return !layers_.empty() && layers_.back()->chooses_result();
  }
  void add_parameters(std::vector<Parameter>& parameters) override;

 private:
  // Layers i and i + 1 in one step, where that is possible.
  std::optional<Tensor> pair_at(Context& context, std::size_t i, const Tensor& x, const Pass& pass,
                                DType result) const;

  std::vector<std::unique_ptr<Layer>> layers_;
};

// Builds a sequence with tensors of `type` (f32; f64 on the reference backend); activations that
// follow a convolution or a batch norm are fused into it. The state was checked by check_state();
// where orders and types agree the layers share its elements.
std::unique_ptr<Layer> build_layers(Context& context, const std::vector<LayerSpec>& layers,
                                    const StateDict& state, DType type);

// Host arrays of a parameter between the state dict's order ([a, b, kh, kw]) and the layers'
// ([a, kh, kw, b]), for both kinds of convolution; any other rank stays as it is.
Array channels_last(const Array& weight);
Array channels_second(const Array& weight);

}  // namespace ptynet
