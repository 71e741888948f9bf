#include "autograd/tape.h"

namespace ptynet {

const Array& Tensor::gradient() const {
  static const Array none;
  return slot_ ? slot_->gradient : none;
}

Tape::~Tape() {
  for (const auto& leaf : leaves_) *leaf = {};
  for (const Node& node : nodes_) {
    for (const auto& output : node.outputs) *output = {};
  }
}

std::shared_ptr<Tensor::Slot> Tape::attach(Tensor& tensor) {
  if (tensor.tape() != nullptr && tensor.tape() != this) {
    fail_runtime("a tensor cannot be on two tapes");
  }
  if (!tensor.slot_) tensor.slot_ = std::make_shared<Tensor::Slot>();
  tensor.slot_->tape = this;
  return tensor.slot_;
}

void Tape::watch(Tensor& leaf) { leaves_.push_back(attach(leaf)); }

void Tape::record(std::span<Tensor* const> outputs, Backward backward) {
  Node node;
  for (Tensor* output : outputs) node.outputs.push_back(attach(*output));
  node.backward = std::move(backward);
  nodes_.push_back(std::move(node));
}

void Tape::record(Tensor& output, std::function<void(const Array&)> backward) {
  Tensor* const outputs[] = {&output};
  record(outputs, [backward = std::move(backward)](std::span<const Array> gradients) {
    backward(gradients[0]);
  });
}

void Tape::accumulate(const Tensor& tensor, const Array& gradient) {
  if (tensor.tape() == nullptr || gradient.empty()) return;
  if (gradient.shape() != tensor.shape()) {
    fail_runtime("the gradient of ", describe(tensor.value()), " came as ", describe(gradient));
  }
  Array& gathered = tensor.slot_->gradient;
  if (gathered.empty()) {
    gathered = gradient;
    return;
  }
  Array sum = context_.allocate(gradient.shape(), gradient.dtype());
  context_.backend().add(gathered, gradient, sum);
  gathered = sum;
}

Array gradient_for(Context& context, const Tensor& x) {
  return x.tape() != nullptr ? context.allocate(x.shape(), x.value().dtype()) : Array();
}

void Tape::backward() {
  while (!nodes_.empty()) {
    Node node = std::move(nodes_.back());
    nodes_.pop_back();
    std::vector<Array> gradients;
    bool wanted = false;
    for (const auto& output : node.outputs) {
      gradients.push_back(std::move(output->gradient));
      *output = {};
      wanted = wanted || !gradients.back().empty();
    }
    if (wanted) node.backward(gradients);
  }
}

}  // namespace ptynet
