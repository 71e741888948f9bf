// One convolution, or a gradient of one, as its candidates are asked for it.
#pragma once

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

enum class ConvResult { kOutput, kInputGradient, kWeightGradient };

// What ConvOperands hold for each result:
// - the output: as they are named;
// - the gradient by the input: it has the weights of what it is the gradient of, no bias and no
//   activation. Of a convolution it is a transposed one, and the other way round: x is dz, y dx;
// - the gradient by the weights: x, dz as w, and as y dw, which is f32. `shape` is that of the
//   convolution which has these weights: of a transposed one (`transposed`) the operands are
//   swapped (conv_weight_gradient.h).
struct ConvTask {
  ConvShape shape;
  Precision precision = Precision::kF32;
  bool transposed = false;
  ConvResult result = ConvResult::kOutput;
};

}  // namespace ptynet::cuda
