// What flows through a network.
#pragma once

#include <memory>

#include "kernels/array.h"

namespace ptynet {

class Tape;

// An Array on its way through the layers; activations are [n, h, w, c]. Copies share elements and
// gradient. Where a tape watches a tensor, whatever is computed from it is recorded there.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Array value) : value_(std::move(value)) {}

  const Array& value() const { return value_; }
  Array& value() { return value_; }
  const Shape& shape() const { return value_.shape(); }
  bool empty() const { return value_.empty(); }

  // The tape that wants the loss's gradient by this tensor; null: none does.
  Tape* tape() const { return slot_ ? slot_->tape : nullptr; }
  // The derivative of the loss by this value, as it has gathered so far: of a watched tensor, all
  // of it after Tape::backward(). Empty where the loss does not depend on the tensor.
  const Array& gradient() const;

 private:
  friend class Tape;
  struct Slot {
    Tape* tape = nullptr;
    Array gradient;
  };

  Array value_;
  std::shared_ptr<Slot> slot_;
};

}  // namespace ptynet
