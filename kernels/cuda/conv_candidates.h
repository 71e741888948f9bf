// The ways to compute one convolution, of which a session keeps the fastest.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/conv_task.h"

namespace ptynet::cuda {

// One way, for one task. Operands are aligned to 256 bytes or to what their arrays have.
class ConvCandidate {
 public:
  virtual ~ConvCandidate() = default;
  // The same for the same versions of everything, so that a choice can be kept in a file.
  virtual std::string name() const = 0;
  virtual std::size_t workspace_bytes() const { return 0; }
  // Whether a transposed convolution's weights are wanted as pack_weights() leaves them
  // (conv_transpose.h), rather than as kernels/backend.h has them.
  virtual bool packs_weights() const { return false; }
  // Whether y may be f32 beside 16-bit operands (ConvOperands::f32_result).
  virtual bool writes_f32() const { return false; }
  virtual void run(const ConvOperands& operands, void* workspace, Stream stream) = 0;
};

// The hand-written ones. The first is the one to take where nothing is timed.
std::vector<std::shared_ptr<ConvCandidate>> hand_written_convs(const ConvTask& task,
                                                               int multiprocessors);

// "conv2d", or for a gradient "gradient by x, conv_transpose2d": of what it is the gradient.
std::string_view operation_of(const ConvTask& task);
// "conv2d [1, 128, 128, 16] -> 16, 3x3, stride 1, padding 1, groups 2, leaky_relu 0.2, fp16".
std::string describe(const ConvTask& task);

}  // namespace ptynet::cuda
