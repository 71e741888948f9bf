// A network made ready on one device: architecture and weights together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "layers/layer.h"

namespace ptynet {

struct NetworkOptions {
  bool fold_batch_norm = true;  // inference: statistics are fixed
  DType type = DType::kF32;     // of the network's tensors; f64 on the reference backend
};

class Network {
 public:
  // Throws Error (input) when weights and architecture do not fit (see check_state). On the CPU the
  // network may share elements of `state`: they must not change while it lives, and training
  // changes them.
  Network(Context& context, const Architecture& architecture, const StateDict& state,
          const NetworkOptions& options = {});

  // x [n, h, w, 1], as the input rule gives it -> [n, h, w, c], before the output heads: f32, or
  // x's element type where the last layer has none of its own (a residual without convolutions).
  Tensor forward(Context& context, const Tensor& x, const Pass& pass = {});

  // Its tensors in the order of execution; with batch norms folded they are not the state dict's.
  std::vector<Parameter> parameters();

  const Architecture& architecture() const { return architecture_; }
  // Tensors of the state that the network does not use.
  const std::vector<std::string>& unused_tensors() const { return unused_; }

 private:
  Architecture architecture_;
  std::vector<std::string> unused_;
  std::unique_ptr<Layer> layers_;
};

}  // namespace ptynet
