// oneDNN behind a few functions, so that versions 2 and 3 differ in one file only.
#pragma once

#include <dnnl.hpp>
#include <string>
#include <vector>

#include "kernels/array.h"
#include "kernels/math.h"

namespace ptynet::cpu {

dnnl::engine& onednn_engine();

// Throws Error (runtime) for other types than f32 and bf16, and for bf16 where the CPU, or what
// ONEDNN_MAX_CPU_ISA leaves of it, has no instructions for it.
dnnl::memory::data_type onednn_type(DType type);

// What `make` gives. Where oneDNN refuses: Error (runtime) that says what was asked of it.
template <typename Make>
auto ask_onednn(const std::string& what, Make&& make) {
  try {
    return make();
  } catch (const dnnl::error& problem) {
    fail_runtime("oneDNN cannot do ", what, ": ", problem.what());
  }
}

// One convolution as oneDNN sees it; channels last in and out, weights in any order it likes.
struct ConvolutionProblem {
  std::int64_t n, h, w, ci, co, kh, kw, groups, stride;
  std::int64_t padding_top, padding_bottom, padding_sides;  // zeros, px
  DType source = DType::kF32;                               // also the weights'
  DType target = DType::kF32;
  bool bias = false;
  Activation activation;

  void pad(std::int64_t px) { padding_top = padding_bottom = padding_sides = px; }
  std::int64_t output_rows() const { return (h + padding_top + padding_bottom - kh) / stride + 1; }
  std::int64_t output_columns() const { return (w + 2 * padding_sides - kw) / stride + 1; }
};

dnnl::convolution_forward::primitive_desc describe_convolution(const ConvolutionProblem& problem);
// The derivatives by x and by w of a convolution in f32; bias and activation are left aside. Output
// gradients are read, input gradients written with channels last.
dnnl::convolution_backward_data::primitive_desc describe_data_gradient(
    const ConvolutionProblem& problem);
dnnl::convolution_backward_weights::primitive_desc describe_weight_gradient(
    const ConvolutionProblem& problem);

// Weights f32 in our order, [co, kh, kw, ci / groups], as oneDNN memory.
dnnl::memory::desc user_weights(const ConvolutionProblem& problem);

// Max-pooling with window and stride `kernel`, x [n, h, w, c].
dnnl::pooling_forward::primitive_desc describe_max_pool(const Shape& x, std::int64_t kernel,
                                                        DType type);
// Bilinear upsampling by a whole factor, pixel centres at half-integers.
dnnl::resampling_forward::primitive_desc describe_upsampling(const Shape& x, std::int64_t scale,
                                                             DType type);
// c [m, n] = a [m, k] * transpose(b [n, k]), f32.
dnnl::matmul::primitive_desc describe_product(std::int64_t m, std::int64_t n, std::int64_t k);

// Copies from one order or type to another.
dnnl::reorder::primitive_desc describe_reorder(const dnnl::memory::desc& from,
                                               const dnnl::memory::desc& to);

// Bytes of scratch memory that a primitive wants to be given.
template <typename Description>
std::int64_t scratchpad_bytes(const Description& description) {
  return static_cast<std::int64_t>(description.scratchpad_desc().get_size());
}

// A primitive with its operands fixed: run() makes no container of our own. Each has a stream of
// its own, which no other thread uses.
class BoundPrimitive {
 public:
  BoundPrimitive() = default;
  template <typename Primitive, typename Description>
  static BoundPrimitive of(const Description& description) {
    return ask_onednn(text("a primitive (", description.impl_info_str(), ")"),
                      [&] { return BoundPrimitive(Primitive(description)); });
  }

  // The operand lives elsewhere: at `data`, as `shape` says.
  void bind(int argument, const dnnl::memory::desc& shape, const void* data);
  void run() const;

 private:
  explicit BoundPrimitive(dnnl::primitive primitive)
      : primitive_(std::move(primitive)), stream_(onednn_engine()) {}

  dnnl::primitive primitive_;
  dnnl::stream stream_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

}  // namespace ptynet::cpu
