// A network made ready on one device: architecture and weights together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "layers/layer.h"

namespace ptynet {

struct NetworkOptions {
  bool fold_batch_norm = true;  // inference: statistics are fixed
};

class Network {
 public:
  // Throws Error (input) when weights and architecture do not fit (see check_state).
  Network(Context& context, const Architecture& architecture, const StateDict& state,
          const NetworkOptions& options = {});

  // x [n, h, w, 1], as the input rule gives it -> [n, h, w, c] f32, before the output heads.
  Tensor forward(Context& context, const Tensor& x);

  const Architecture& architecture() const { return architecture_; }
  // Tensors of the state that the network does not use.
  const std::vector<std::string>& unused_tensors() const { return unused_; }

 private:
  Architecture architecture_;
  std::vector<std::string> unused_;
  std::unique_ptr<Layer> layers_;
};

}  // namespace ptynet
