// What the forward convolution and its gradients share.
#pragma once

#include <string>

#include "kernels/cpu/conv_weights.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/onednn.h"

namespace ptynet::cpu {

// A convolution by oneDNN and what surrounds it in its step.
struct CpuBackend::Convolution {
  std::string_view kind;
  bool backward;  // x is an output's gradient and y the input's
  const Array& shown;
  const void* x;
  const float* weights;  // [co, kh, kw, ci / groups] of the problem; read at each run, or once
  const float* bias;
  void* y;
  bool constant_weights;
  Step before = {};  // makes the weights, if they are not simply there
  // The batch goes in equal pieces, each to the same y, of which after(piece) makes use.
  std::int64_t pieces = 1;
  std::function<void(std::int64_t)> after = {};
};

ConvolutionProblem problem_of(const Array& x, const Array& w, const ConvOptions& o);
WeightShape shape_of(const Array& w, std::int64_t groups);
// "conv2d 3x3 64->64 g2 (brgconv:avx512_core)"
std::string convolution_name(std::string_view kind, const ConvolutionProblem& p,
                             std::string_view implementation);

}  // namespace ptynet::cpu
