#include "kernels/cpu/onednn.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>

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

// Some virtual machines announce AMX and hide how large its tiles are (CPUID leaf 0x1D). oneDNN
// then configures none and dies of its first tile instruction.
bool tiles_are_hidden() {
#if defined(__x86_64__)
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kAmxTile = 1U << 24U;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kAmxTile) == 0) return false;
  return __get_cpuid_count(0x1D, 0, &a, &b, &c, &d) == 0 || a == 0;  // a: palettes
#else
  return false;
#endif
}

// Before anything else that oneDNN is asked. What the user says goes before what is best.
void limit_instructions() {
  static const bool limited = [] {
    const bool free =
        std::getenv("ONEDNN_MAX_CPU_ISA") == nullptr && std::getenv("DNNL_MAX_CPU_ISA") == nullptr;
    if (free && tiles_are_hidden()) dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_bf16);
    return true;
  }();
  static_cast<void>(limited);
}

// oneDNN knows both what CPUID says and what ONEDNN_MAX_CPU_ISA leaves of it. Its names of
// instruction sets are sets of bits, each holding those below it.
void expect_bf16() {
  limit_instructions();
  const auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  if ((static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted) return;
  fail_runtime("--precision bf16 needs a CPU with AVX512-BF16 (Cooper Lake, Sapphire Rapids, ",
               "Zen 4 or later), which this one has not, or ONEDNN_MAX_CPU_ISA hides: ",
               "use --precision fp32");
}

std::string describe(const char* kind, const Shape& x, std::int64_t factor, DType type) {
  return text(kind, " by ", factor, " of ", name_of(type), to_string(x));
}

std::string describe(const char* kind, const ConvolutionProblem& p) {
  return text(kind, " ", p.kh, "x", p.kw, " ", p.ci, "->", p.co, " g", p.groups, " of ",
              name_of(p.source), "[", p.n, ", ", p.h, ", ", p.w, ", ", p.ci, "]");
}

dnnl::memory::dims weight_dims(const ConvolutionProblem& p) {
  if (p.groups == 1) return {p.co, p.ci, p.kh, p.kw};
  return {p.groups, p.co / p.groups, p.ci / p.groups, p.kh, p.kw};
}

}  // namespace

dnnl::engine& onednn_engine() {
  static dnnl::engine engine = ask_onednn("work on the CPU", [] {
    limit_instructions();
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  });
  return engine;
}

dnnl::memory::data_type onednn_type(DType type) {
  switch (type) {
    case DType::kF32:
      return dnnl::memory::data_type::f32;
    case DType::kBf16:
      expect_bf16();
      return dnnl::memory::data_type::bf16;
    default:
      fail_runtime("the CPU backend computes in f32 and bf16, found ", name_of(type));
  }
}

dnnl::memory::desc user_weights(const ConvolutionProblem& p) {
  return {weight_dims(p), dnnl::memory::data_type::f32, p.groups == 1 ? Tag::ohwi : Tag::gohwi};
}

namespace {

// What forward and backward convolutions are described by.
struct ConvolutionOperands {
  explicit ConvolutionOperands(const ConvolutionProblem& p)
      : source({p.n, p.ci, p.h, p.w}, onednn_type(p.source), Tag::nhwc),
        weights(weight_dims(p), onednn_type(p.source), Tag::any),
        target({p.n, p.co, p.output_rows(), p.output_columns()}, onednn_type(p.target), Tag::nhwc),
        strides{p.stride, p.stride},
        before{p.padding_top, p.padding_sides},
        after{p.padding_bottom, p.padding_sides} {
    if (p.bias) bias = dnnl::memory::desc({p.co}, dnnl::memory::data_type::f32, Tag::x);
  }

  dnnl::memory::desc source, weights, bias, target;
  dnnl::memory::dims strides, before, after;
};

dnnl::convolution_forward::primitive_desc convolution(const ConvolutionProblem& p,
                                                      dnnl::prop_kind kind) {
  const ConvolutionOperands c(p);
  dnnl::post_ops operations;
  append_activation(operations, p.activation);
  dnnl::primitive_attr attributes = user_scratchpad();
  attributes.set_post_ops(operations);
#if DNNL_VERSION_MAJOR >= 3
  return {onednn_engine(), kind,      algorithm::convolution_direct,
          c.source,        c.weights, c.bias,
          c.target,        c.strides, c.before,
          c.after,         attributes};
#else
  return {{kind, algorithm::convolution_direct, c.source, c.weights, c.bias, c.target, c.strides,
           c.before, c.after},
          attributes,
          onednn_engine()};
#endif
}

// Which forward convolution gradients belong to.
dnnl::convolution_forward::primitive_desc training_hint(const ConvolutionProblem& p) {
  ConvolutionProblem plain = p;
  plain.bias = false;
  plain.activation = {};
  return convolution(plain, dnnl::prop_kind::forward_training);
}

// Gradient: dnnl::convolution_backward_data or _weights, which are described alike.
template <typename Gradient>
typename Gradient::primitive_desc gradient(const ConvolutionProblem& p) {
  const ConvolutionOperands c(p);
#if DNNL_VERSION_MAJOR >= 3
  return {onednn_engine(),  algorithm::convolution_direct,
          c.source,         c.weights,
          c.target,         c.strides,
          c.before,         c.after,
          training_hint(p), user_scratchpad()};
#else
  const typename Gradient::desc operation(algorithm::convolution_direct, c.source, c.weights,
                                          c.target, c.strides, c.before, c.after);
  return {operation, user_scratchpad(), onednn_engine(), training_hint(p)};
#endif
}

dnnl::pooling_forward::primitive_desc max_pool(const Shape& x, std::int64_t kernel, DType type) {
  const dnnl::memory::desc source({x[0], x[3], x[1], x[2]}, onednn_type(type), Tag::nhwc);
  const dnnl::memory::desc target({x[0], x[3], x[1] / kernel, x[2] / kernel}, onednn_type(type),
                                  Tag::nhwc);
  const dnnl::memory::dims window{kernel, kernel};
  const dnnl::memory::dims none{0, 0};
#if DNNL_VERSION_MAJOR >= 3
  return {onednn_engine(),
          dnnl::prop_kind::forward_inference,
          algorithm::pooling_max,
          source,
          target,
          window,
          window,
          none,
          none,
          none,
          user_scratchpad()};
#else
  return {{dnnl::prop_kind::forward_inference, algorithm::pooling_max, source, target, window,
           window, none, none},
          user_scratchpad(),
          onednn_engine()};
#endif
}

dnnl::resampling_forward::primitive_desc upsampling(const Shape& x, std::int64_t scale,
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

dnnl::matmul::primitive_desc product(std::int64_t m, std::int64_t n, std::int64_t k) {
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

}  // namespace

dnnl::convolution_forward::primitive_desc describe_convolution(const ConvolutionProblem& p) {
  return ask_onednn(describe("a convolution", p),
                    [&] { return convolution(p, dnnl::prop_kind::forward_inference); });
}

dnnl::convolution_backward_data::primitive_desc describe_data_gradient(
    const ConvolutionProblem& p) {
  return ask_onednn(describe("the input gradient of a convolution", p),
                    [&] { return gradient<dnnl::convolution_backward_data>(p); });
}

dnnl::convolution_backward_weights::primitive_desc describe_weight_gradient(
    const ConvolutionProblem& p) {
  return ask_onednn(describe("the weight gradient of a convolution", p),
                    [&] { return gradient<dnnl::convolution_backward_weights>(p); });
}

dnnl::pooling_forward::primitive_desc describe_max_pool(const Shape& x, std::int64_t kernel,
                                                        DType type) {
  return ask_onednn(describe("max-pooling", x, kernel, type),
                    [&] { return max_pool(x, kernel, type); });
}

dnnl::resampling_forward::primitive_desc describe_upsampling(const Shape& x, std::int64_t scale,
                                                             DType type) {
  return ask_onednn(describe("upsampling", x, scale, type),
                    [&] { return upsampling(x, scale, type); });
}

dnnl::matmul::primitive_desc describe_product(std::int64_t m, std::int64_t n, std::int64_t k) {
  return ask_onednn(text("a matrix product ", m, "x", k, " times ", k, "x", n),
                    [&] { return product(m, n, k); });
}

dnnl::reorder::primitive_desc describe_reorder(const dnnl::memory::desc& from,
                                               const dnnl::memory::desc& to) {
  return ask_onednn("a reordering of weights", [&] {
    return dnnl::reorder::primitive_desc(onednn_engine(), from, onednn_engine(), to,
                                         user_scratchpad());
  });
}

void BoundPrimitive::bind(int argument, const dnnl::memory::desc& shape, const void* data) {
  memories_.push_back(ask_onednn("a binding of memory", [&] {
    return dnnl::memory(shape, onednn_engine(), const_cast<void*>(data));
  }));
  arguments_.push_back({argument, memories_.back().get()});
}

void BoundPrimitive::run() const {
  const dnnl_status_t status = dnnl_primitive_execute(
      primitive_.get(), stream_.get(), static_cast<int>(arguments_.size()), arguments_.data());
  if (status != dnnl_success) fail_runtime("oneDNN could not run a primitive: status ", status);
}

}  // namespace ptynet::cpu
