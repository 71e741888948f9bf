// The engines that cuDNN has for a convolution.
#pragma once

#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/library_conv.h"

namespace ptynet::cuda {

// As library_convs(); in the order of cuDNN's heuristics, then of its fallbacks. Those of a target
// without a handle have names and workspaces, and cannot run.
LibraryConvs cudnn_convs(const CudnnTarget& target, const ConvRequest& request, int most);

}  // namespace ptynet::cuda
