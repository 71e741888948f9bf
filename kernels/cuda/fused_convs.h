// The ways to compute two convolutions in one kernel, of which a session keeps the fastest.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/conv_candidates.h"
#include "kernels/cuda/conv_pair.h"

namespace ptynet::cuda {

struct ConvPairTask {
  ConvTask first;
  ConvTask second;       // of the first's output, in its precision
  bool aligned_weights;  // the second's: to 16 bytes
};

struct FusedConv {
  std::string name;  // as ConvCandidate::name()
  bool writes_f32;   // whether it takes ConvPairOperands::f32_result
  std::function<void(const ConvPairOperands&, Stream)> run;
};

// None where no kernel does both. The first is the one to take where nothing is timed.
std::vector<FusedConv> fused_convs(const ConvPairTask& task, int multiprocessors);

// "conv2d [..] + conv_transpose2d [..]", as describe() has each.
std::string describe(const ConvPairTask& task);

}  // namespace ptynet::cuda
