#include "kernels/cuda/cudnn_graph.h"

#include <array>
#include <utility>

namespace ptynet::cuda {

namespace {

using Extents = std::array<std::int64_t, 4>;  // n, c, h, w, whatever lies where in memory

constexpr std::int64_t kTensorSums = 5;
constexpr std::int64_t kTensorBiased = 6;

cudnnDataType_t data_type(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return CUDNN_DATA_BFLOAT16;
    case Precision::kF16:
      return CUDNN_DATA_HALF;
    case Precision::kF32:
    case Precision::kTf32:
      break;
  }
  return CUDNN_DATA_FLOAT;
}

// Channels last.
CudnnDescriptor tensor(std::int64_t name, cudnnDataType_t type, const Extents& extents,
                       bool in_memory) {
  const auto [n, c, h, w] = extents;
  const Extents strides = {c * h * w, 1, w * c, c};
  CudnnDescriptor out(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  out.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, name);
  out.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  out.set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const std::int64_t>(extents));
  out.set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const std::int64_t>(strides));
  out.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, static_cast<std::int64_t>(kOperandAlignment));
  out.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, !in_memory);
  out.finalize();
  return out;
}

CudnnDescriptor convolution(const ConvShape& shape) {
  using Pair = std::array<std::int64_t, 2>;
  const Pair stride = {shape.stride, shape.stride};
  const Pair padding = {shape.padding, shape.padding};
  const Pair dilation = {1, 1};
  CudnnDescriptor out(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  out.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  out.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
  out.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
  out.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span<const std::int64_t>(stride));
  out.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::span<const std::int64_t>(padding));
  out.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::span<const std::int64_t>(padding));
  out.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::span<const std::int64_t>(dilation));
  out.finalize();
  return out;
}

struct ConvTensors {
  const CudnnDescriptor& x;
  const CudnnDescriptor& w;
  const CudnnDescriptor& y;
};

// The number of groups follows from the channels of x (transposed: y) and of w.
CudnnDescriptor forward_operation(const CudnnDescriptor& convolution, const ConvTensors& t) {
  CudnnDescriptor out(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, t.x);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, t.w);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, t.y);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0F);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0F);
  out.finalize();
  return out;
}

// A transposed convolution is the gradient of one by its input: what it takes is that one's dy.
CudnnDescriptor transposed_operation(const CudnnDescriptor& convolution, const ConvTensors& t) {
  CudnnDescriptor out(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, t.x);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, t.w);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, t.y);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0F);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0F);
  out.finalize();
  return out;
}

CudnnDescriptor weight_gradient_operation(const CudnnDescriptor& convolution,
                                          const ConvTensors& t) {
  CudnnDescriptor out(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, t.x);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, t.w);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, t.y);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.0F);
  out.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.0F);
  out.finalize();
  return out;
}

bool has_activation(const ConvRequest& request) {
  return request.shape.activation.kind != ActivationKind::kNone;
}

bool knows_activation(ActivationKind kind) {
  return kind == ActivationKind::kNone || kind == ActivationKind::kRelu ||
         kind == ActivationKind::kLeakyRelu;
}

CudnnDescriptor addition() {
  CudnnDescriptor out(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  out.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_ADD);
  out.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  out.finalize();
  return out;
}

CudnnDescriptor rectifier(const Activation& activation) {
  CudnnDescriptor out(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  out.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_RELU_FWD);
  out.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  if (activation.kind == ActivationKind::kLeakyRelu) {
    out.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, double{activation.alpha});
  }
  out.finalize();
  return out;
}

// other: what is added, or null.
CudnnDescriptor pointwise_operation(const CudnnDescriptor& pointwise, const CudnnDescriptor& in,
                                    const CudnnDescriptor* other, const CudnnDescriptor& out) {
  CudnnDescriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, in);
  if (other != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *other);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out);
  operation.finalize();
  return operation;
}

// Of the convolution that the shape describes.
Extents input_extents(const ConvShape& s) { return {s.n, s.ci, s.h, s.w}; }
Extents output_extents(const ConvRequest& request) {
  return {request.shape.n, request.shape.co, request.out_h(), request.out_w()};
}
Extents weight_extents(const ConvRequest& request) {
  const ConvShape& s = request.shape;
  const auto [first, second] = request.widens() ? std::pair(s.ci, s.co) : std::pair(s.co, s.ci);
  return {first, second / s.groups, s.kernel, s.kernel};
}

const CudnnDescriptor& keep(ConvGraph& graph, CudnnDescriptor descriptor) {
  return graph.parts.emplace_back(std::move(descriptor));
}

void add_weight_gradient(ConvGraph& graph, const ConvRequest& request) {
  const cudnnDataType_t type = data_type(request.precision);
  const auto& x = keep(graph, tensor(kTensorX, type, input_extents(request.shape), true));
  const auto& dz = keep(graph, tensor(kTensorW, type, output_extents(request), true));
  const auto& dw = keep(graph, tensor(kTensorY, CUDNN_DATA_FLOAT, weight_extents(request), true));
  const auto& conv = keep(graph, convolution(request.shape));
  graph.operations.push_back(weight_gradient_operation(conv, {x, dw, dz}));
}

// From x to `y`, which may be virtual.
void add_convolution(ConvGraph& graph, const ConvRequest& request, const CudnnDescriptor& y) {
  const cudnnDataType_t type = data_type(request.precision);
  const auto& x = keep(graph, tensor(kTensorX, type, input_extents(request.shape), true));
  const auto& w = keep(graph, tensor(kTensorW, type, weight_extents(request), true));
  const auto& conv = keep(graph, convolution(request.shape));
  graph.operations.push_back(request.transposed ? transposed_operation(conv, {x, w, y})
                                                : forward_operation(conv, {x, w, y}));
}

// From `sums` to `y`.
void add_bias_and_activation(ConvGraph& graph, const ConvRequest& request,
                             const CudnnDescriptor& sums, const CudnnDescriptor& y) {
  const auto& b =
      keep(graph, tensor(kTensorB, CUDNN_DATA_FLOAT, {1, request.shape.co, 1, 1}, true));
  const auto& add = keep(graph, addition());
  if (!has_activation(request)) {
    graph.operations.push_back(pointwise_operation(add, sums, &b, y));
    return;
  }
  const auto& biased =
      keep(graph, tensor(kTensorBiased, CUDNN_DATA_FLOAT, output_extents(request), false));
  const auto& relu = keep(graph, rectifier(request.shape.activation));
  graph.operations.push_back(pointwise_operation(add, sums, &b, biased));
  graph.operations.push_back(pointwise_operation(relu, biased, nullptr, y));
}

void fill(ConvGraph& graph, const ConvRequest& request) {
  if (request.result == ConvResult::kWeightGradient) return add_weight_gradient(graph, request);
  const Extents out = output_extents(request);
  const auto& y = keep(graph, tensor(kTensorY, data_type(request.precision), out, true));
  if (!request.has_bias()) return add_convolution(graph, request, y);
  const auto& sums = keep(graph, tensor(kTensorSums, CUDNN_DATA_FLOAT, out, false));
  add_convolution(graph, request, sums);
  add_bias_and_activation(graph, request, sums, y);
}

}  // namespace

bool is_supported(cudnnStatus_t status, const char* call, const ConvRequest& request) {
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED) return false;
  check(status, call, ", ", request);
  return true;
}

std::shared_ptr<const ConvGraph> conv_graph(const CudnnTarget& target, const ConvRequest& request) {
  if (!knows_activation(request.shape.activation.kind)) return nullptr;
  auto out = std::make_shared<ConvGraph>();
  fill(*out, request);
  if (target.handle != nullptr) out->graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, target.handle);
  out->graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<const CudnnDescriptor>(out->operations));
  return is_supported(out->graph.try_finalize(), "finalising an operation graph", request)
             ? out
             : nullptr;
}

}  // namespace ptynet::cuda
