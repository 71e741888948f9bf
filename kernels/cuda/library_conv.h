// What the libraries' modules share: the question put to each of them.
#pragma once

#include <iosfwd>
#include <memory>
#include <vector>

#include "kernels/cuda/libraries.h"

namespace ptynet::cuda {

using LibraryConvs = std::vector<std::unique_ptr<LibraryConv>>;

// A task as a library is asked for it.
struct ConvRequest : ConvTask {
  // Gradients have neither a bias nor an activation.
  bool has_bias() const { return result == ConvResult::kOutput; }
  // Whether the shape is a transposed convolution's.
  bool widens() const { return transposed && result != ConvResult::kWeightGradient; }
  // Of what the shape makes of x.
  int out_h() const { return extent(shape.h, shape.extra_rows); }
  int out_w() const { return extent(shape.w, shape.extra_columns); }

 private:
  int extent(int in, int extra) const {
    return widens() ? (in - 1) * shape.stride - 2 * shape.padding + shape.kernel + extra
                    : (in + 2 * shape.padding - shape.kernel) / shape.stride + 1;
  }
};

// "the convolution of 8 x 64 x 64 x 32 to 64 channels, kernel 3, stride 1, ...".
std::ostream& operator<<(std::ostream& out, const ConvRequest& request);

inline constexpr std::size_t kOperandAlignment = 16;  // bytes

// Throws Error (runtime) unless all operands that it has are there and aligned to
// kOperandAlignment.
void check_operands(const ConvRequest& request, const ConvOperands& operands);

}  // namespace ptynet::cuda
