#include "kernels/cpu/onednn.h"

namespace ptynet::cpu {

namespace {

using dnnl::algorithm;
using Tag = dnnl::memory::format_tag;

void append_activation(dnnl::post_ops& operations, const Activation& a) {
  const auto append = [&](algorithm kind, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
    operations.append_eltwise(kind, alpha, beta);
#else
    operations.append_eltwise(1.0F, kind, alpha, beta);
#endif
  };
  switch (a.kind) {
    case ActivationKind::kNone:
      return;
    case ActivationKind::kLeakyRelu:
      return append(algorithm::eltwise_relu, a.alpha, 0.0F);
    case ActivationKind::kRelu:
      return append(algorithm::eltwise_relu, 0.0F, 0.0F);
    case ActivationKind::kHardtanh:
      return append(algorithm::eltwise_clip, a.alpha, a.beta);
    case ActivationKind::kSigmoid:
      return append(algorithm::eltwise_logistic, 0.0F, 0.0F);
    case ActivationKind::kTanh:
      return append(algorithm::eltwise_tanh, 0.0F, 0.0F);
  }
}

// Scratch memory comes from our allocator, not from oneDNN's own at every call.
dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

dnnl::memory::dims weight_dims(const ConvolutionProblem& p) {
  if (p.groups == 1) return {p.co, p.ci, p.kh, p.kw};
  return {p.groups, p.co / p.groups, p.ci / p.groups, p.kh, p.kw};
}

}  // namespace

dnnl::engine& onednn_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& onednn_stream() {
  static dnnl::stream stream(onednn_engine());
  return stream;
}

dnnl::memory::data_type onednn_type(DType type) {
  switch (type) {
    case DType::kF32:
      return dnnl::memory::data_type::f32;
    case DType::kBf16:
      return dnnl::memory::data_type::bf16;
    default:
      fail_runtime("the CPU backend computes in f32 and bf16, found ", name_of(type));
  }
}

dnnl::memory::desc user_weights(const ConvolutionProblem& p) {
  return {weight_dims(p), dnnl::memory::data_type::f32, p.groups == 1 ? Tag::ohwi : Tag::gohwi};
}

dnnl::convolution_forward::primitive_desc describe_convolution(const ConvolutionProblem& p) {
  const dnnl::memory::desc source({p.n, p.ci, p.h, p.w}, onednn_type(p.source), Tag::nhwc);
  const dnnl::memory::desc weights(weight_dims(p), onednn_type(p.source), Tag::any);
  const dnnl::memory::desc bias =
      p.bias ? dnnl::memory::desc({p.co}, dnnl::memory::data_type::f32, Tag::x)
             : dnnl::memory::desc();
  const dnnl::memory::desc target({p.n, p.co, p.output_rows(), p.output_columns()},
                                  onednn_type(p.target), Tag::nhwc);
  const dnnl::memory::dims strides{p.stride, p.stride};
  const dnnl::memory::dims before{p.padding_before, p.padding_before};
  const dnnl::memory::dims after{p.padding_after, p.padding_after};
  dnnl::post_ops operations;
  append_activation(operations, p.activation);
  dnnl::primitive_attr attributes = user_scratchpad();
  attributes.set_post_ops(operations);
#if DNNL_VERSION_MAJOR >= 3
  return {onednn_engine(),
          dnnl::prop_kind::forward_inference,
          algorithm::convolution_direct,
          source,
          weights,
          bias,
          target,
          strides,
          before,
          after,
          attributes};
#else
  const dnnl::convolution_forward::desc operation(dnnl::prop_kind::forward_inference,
                                                  algorithm::convolution_direct, source, weights,
                                                  bias, target, strides, before, after);
  return {operation, attributes, onednn_engine()};
#endif
}

#if DNNL_VERSION_MAJOR >= 3
dnnl::pooling_forward::primitive_desc describe_max_pool(const Shape& x, std::int64_t kernel,
                                                        DType type) {
  const dnnl::memory::desc source({x[0], x[3], x[1], x[2]}, onednn_type(type), Tag::nhwc);
  const dnnl::memory::desc target({x[0], x[3], x[1] / kernel, x[2] / kernel}, onednn_type(type),
                                  Tag::nhwc);
  return {onednn_engine(),
          dnnl::prop_kind::forward_inference,
          algorithm::pooling_max,
          source,
          target,
          {kernel, kernel},
          {kernel, kernel},
          {0, 0},
          {0, 0},
          {0, 0},
          user_scratchpad()};
}
#else
dnnl::pooling_forward::primitive_desc describe_max_pool(const Shape& x, std::int64_t kernel,
                                                        DType type) {
  const dnnl::memory::desc source({x[0], x[3], x[1], x[2]}, onednn_type(type), Tag::nhwc);
  const dnnl::memory::desc target({x[0], x[3], x[1] / kernel, x[2] / kernel}, onednn_type(type),
                                  Tag::nhwc);
  return {{dnnl::prop_kind::forward_inference,
           algorithm::pooling_max,
           source,
           target,
           {kernel, kernel},
           {kernel, kernel},
           {0, 0},
           {0, 0}},
          user_scratchpad(),
          onednn_engine()};
}
#endif

dnnl::resampling_forward::primitive_desc describe_upsampling(const Shape& x, std::int64_t scale,
                                                             DType type) {
  const dnnl::memory::desc source({x[0], x[3], x[1], x[2]}, onednn_type(type), Tag::nhwc);
  const dnnl::memory::desc target({x[0], x[3], x[1] * scale, x[2] * scale}, onednn_type(type),
                                  Tag::nhwc);
#if DNNL_VERSION_MAJOR >= 3
  return {onednn_engine(),
          dnnl::prop_kind::forward_inference,
          algorithm::resampling_linear,
          source,
          target,
          user_scratchpad()};
#else
  return {{dnnl::prop_kind::forward_inference, algorithm::resampling_linear, source, target},
          user_scratchpad(),
          onednn_engine()};
#endif
}

dnnl::matmul::primitive_desc describe_product(std::int64_t m, std::int64_t n, std::int64_t k) {
  const auto f32 = dnnl::memory::data_type::f32;
  const dnnl::memory::desc a({m, k}, f32, Tag::ab);
  const dnnl::memory::desc b({k, n}, f32, Tag::ba);
  const dnnl::memory::desc c({m, n}, f32, Tag::ab);
#if DNNL_VERSION_MAJOR >= 3
  return {onednn_engine(), a, b, c, user_scratchpad()};
#else
  return {{a, b, c}, user_scratchpad(), onednn_engine()};
#endif
}

dnnl::memory bound_memory(const dnnl::memory::desc& shape, const void* data) {
  return {shape, onednn_engine(), const_cast<void*>(data)};
}

void BoundPrimitive::bind(int argument, dnnl::memory memory) {
  arguments_.push_back({argument, memory.get()});
  memories_.push_back(std::move(memory));
}

void BoundPrimitive::run() const {
  const dnnl_status_t status =
      dnnl_primitive_execute(primitive_.get(), onednn_stream().get(),
                             static_cast<int>(arguments_.size()), arguments_.data());
  if (status != dnnl_success) fail_runtime("oneDNN could not run a primitive: status ", status);
}

}  // namespace ptynet::cpu
