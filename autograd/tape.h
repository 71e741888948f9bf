// The record of a forward pass, from which gradients are computed backwards.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "autograd/tensor.h"
#include "kernels/context.h"

namespace ptynet {

// Reverse-mode differentiation (Griewank and Walther, Evaluating Derivatives, ch. 3). Operations on
// watched tensors, and on what was computed from them, record how to pull a gradient back; nothing
// is recorded anywhere else. A loss is a root: it hands its own gradient to its operand when it is
// computed (autograd/losses.h). Used by one thread at a time.
class Tape {
 public:
  // Given the gradients of a node's outputs, in their order (empty where nothing depends on one),
  // hands those of its operands on by accumulate().
  using Backward = std::function<void(std::span<const Array> output_gradients)>;

  explicit Tape(Context& context) : context_(context) {}
  // The watched tensors go back to being constants, without gradients.
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // From now on the gradient of `leaf`, and of copies made of it, is wanted.
  void watch(Tensor& leaf);

  // Adds a node; its outputs are on the tape from now on. `backward` keeps what it needs alive.
  void record(std::span<Tensor* const> outputs, Backward backward);
  void record(Tensor& output, std::function<void(const Array&)> backward);

  // Adds to the gradient of a tensor; does nothing for one that no tape watches. `gradient` may be
  // shared with others and is not written to.
  void accumulate(const Tensor& tensor, const Array& gradient);

  // From the last node to the first. A node and all it kept are freed once it is used, so that the
  // memory of a recorded step is planned to the peak of this order.
  void backward();

 private:
  struct Node {
    std::vector<std::shared_ptr<Tensor::Slot>> outputs;
    Backward backward;
  };
  std::shared_ptr<Tensor::Slot> attach(Tensor& tensor);

  Context& context_;
  std::vector<Node> nodes_;
  std::vector<std::shared_ptr<Tensor::Slot>> leaves_;
};

// Room for the gradient by `x`, where it is wanted; else an empty array.
Array gradient_for(Context& context, const Tensor& x);

// The tape of the first operand that has one; null: nothing needs to be recorded.
template <typename... Tensors>
Tape* tape_of(const Tensors&... operands) {
  Tape* found = nullptr;
  ((found = found != nullptr ? found : operands.tape()), ...);
  return found;
}

}  // namespace ptynet
