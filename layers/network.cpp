#include "layers/network.h"

namespace ptynet {

Network::Network(Context& context, const Architecture& architecture, const StateDict& state,
                 const NetworkOptions& options)
    : architecture_(architecture), unused_(check_state(architecture, state)) {
  Architecture built = architecture;
  StateDict tensors = state;
  if (options.fold_batch_norm) ptynet::fold_batch_norm(built, tensors);
  layers_ = build_layers(context, built.layers, tensors, options.type);
}

Tensor Network::forward(Context& context, const Tensor& x, const Pass& pass) {
  return layers_->forward(context, x, pass);
}

std::vector<Parameter> Network::parameters() {
  std::vector<Parameter> out;
  layers_->add_parameters(out);
  return out;
}

}  // namespace ptynet
