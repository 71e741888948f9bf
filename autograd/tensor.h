// What flows through a network.
#pragma once

#include "kernels/array.h"

namespace ptynet {

// An Array on its way through the layers; activations are [n, h, w, c]. Copies share elements.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Array value) : value_(std::move(value)) {}

  const Array& value() const { return value_; }
  Array& value() { return value_; }
  const Shape& shape() const { return value_.shape(); }
  bool empty() const { return value_.empty(); }

 private:
  Array value_;
};

}  // namespace ptynet
