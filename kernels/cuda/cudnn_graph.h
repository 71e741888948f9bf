// A convolution with its bias and its activation, or a gradient of one, as cuDNN's graph API
// describes them.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "kernels/cuda/cudnn_descriptor.h"
#include "kernels/cuda/library_conv.h"

namespace ptynet::cuda {

// What plans are made for: the device of a handle or, to ask cuDNN 9.8 and newer what it would do
// on a device that is not there, a finalised CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR and no handle.
struct CudnnTarget {
  cudnnHandle_t handle;
  const CudnnDescriptor* device;
};

// How a run names its tensors: as ConvOperands.
enum ConvTensor : std::int64_t { kTensorX = 1, kTensorW, kTensorB, kTensorY };

// conv -> + b -> activation; of a gradient, the one operation that it is. What lies between them
// never reaches memory and is f32, as all sums.
struct ConvGraph {
  std::deque<CudnnDescriptor> parts;  // tensors and the like, which the operations refer to
  std::vector<CudnnDescriptor> operations;
  CudnnDescriptor graph{CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR};
};

// Null where cuDNN has no such activation or knows no such graph.
std::shared_ptr<const ConvGraph> conv_graph(const CudnnTarget& target, const ConvRequest& request);

// False when cuDNN answers that it does not do this; Error (runtime) for other failures.
bool is_supported(cudnnStatus_t status, const char* call, const ConvRequest& request);

}  // namespace ptynet::cuda
