// The tree of layers a network is made of.
#pragma once

#include <memory>
#include <vector>

#include "autograd/operations.h"
#include "layers/state_dict.h"

namespace ptynet {

// One node of the tree, holding its tensors on one device. forward() may be called by one thread
// at a time; it is the same for training and inference.
class Layer {
 public:
  virtual ~Layer() = default;
  // x [n, h, w, c]; the result has element type `result` where the layer can choose it (bf16
  // networks end in f32), else x's.
  virtual Tensor forward(Context& context, const Tensor& x, DType result) = 0;
  virtual bool chooses_result() const { return false; }
};

class Sequential final : public Layer {
 public:
  explicit Sequential(std::vector<std::unique_ptr<Layer>> layers) : layers_(std::move(layers)) {}
  Tensor forward(Context& context, const Tensor& x, DType result) override;
  bool chooses_result() const override {
    return !layers_.empty() && layers_.back()->chooses_result();
  }

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
};

// Builds a sequence; activations that follow a convolution are fused into it. The state was
// checked by check_state().
std::unique_ptr<Layer> build_layers(Context& context, const std::vector<LayerSpec>& layers,
                                    const StateDict& state);

}  // namespace ptynet
