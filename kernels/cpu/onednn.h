// oneDNN behind a few functions, so that versions 2 and 3 differ in one file only.
#pragma once

#include <dnnl.hpp>
#include <vector>

#include "kernels/array.h"
#include "kernels/math.h"

namespace ptynet::cpu {

dnnl::engine& onednn_engine();
dnnl::stream& onednn_stream();  // synchronous on the CPU: safe to share

dnnl::memory::data_type onednn_type(DType type);

// One convolution as oneDNN sees it; channels last in and out, weights in any order it likes.
struct ConvolutionProblem {
  std::int64_t n, h, w, ci, co, kh, kw, groups, stride;
  std::int64_t padding_before, padding_after;
  DType source = DType::kF32;  // also the weights'
  DType target = DType::kF32;
  bool bias = false;
  Activation activation;

  std::int64_t output_rows() const {
    return (h + padding_before + padding_after - kh) / stride + 1;
  }
  std::int64_t output_columns() const {
    return (w + padding_before + padding_after - kw) / stride + 1;
  }
};

dnnl::convolution_forward::primitive_desc describe_convolution(const ConvolutionProblem& problem);

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

// The memory of an operand that lives elsewhere.
dnnl::memory bound_memory(const dnnl::memory::desc& shape, const void* data);

// A primitive with its operands fixed: run() makes no container of our own.
class BoundPrimitive {
 public:
  BoundPrimitive() = default;
  explicit BoundPrimitive(dnnl::primitive primitive) : primitive_(std::move(primitive)) {}
  void bind(int argument, dnnl::memory memory);
  void run() const;

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

}  // namespace ptynet::cpu
