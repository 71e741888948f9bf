// What the libraries' modules share: the question put to each of them.
#pragma once

#include <iosfwd>
#include <memory>
#include <vector>

#include "kernels/cuda/libraries.h"

namespace ptynet::cuda {

using LibraryConvs = std::vector<std::unique_ptr<LibraryConv>>;

// A convolution, of `transposed` weights or not.
struct ConvRequest {
  ConvShape shape;
  Precision precision;
  bool transposed;

  // Of y.
  int out_h() const { return extent(shape.h); }
  int out_w() const { return extent(shape.w); }

 private:
  int extent(int in) const {
    return transposed ? (in - 1) * shape.stride - 2 * shape.padding + shape.kernel
                      : (in + 2 * shape.padding - shape.kernel) / shape.stride + 1;
  }
};

// "the convolution of 8 x 64 x 64 x 32 to 64 channels, kernel 3, stride 1, ...".
std::ostream& operator<<(std::ostream& out, const ConvRequest& request);

inline constexpr std::size_t kOperandAlignment = 16;  // bytes

// Throws Error (runtime) unless all operands are there and aligned to kOperandAlignment.
void check_operands(const ConvRequest& request, const ConvOperands& operands);

}  // namespace ptynet::cuda
