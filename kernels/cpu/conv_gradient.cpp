// Gradients of convolutions, f32, by oneDNN's. Which formulation is taken where, and what it
// measures: docs/decisions/0005-convolution-gradients.md.

#include <algorithm>
#include <numeric>

#include "kernels/cpu/conv.h"

namespace ptynet::cpu {

namespace {

// dz = dy * slope(y), and its sum over pixels per channel. The sums of a block are always added in
// the same order, and then those of the blocks, whoever computes them.
struct SumGradient {
  std::int64_t pixels, c, blocks;
  Activation activation;
  const float* y;
  const float* dy;
  float* dz;       // null: dy itself, there is no activation
  double* totals;  // [blocks, width()]; null: no sums are wanted

  // Channels repeated until they fill whole vectors.
  std::int64_t width() const { return c * (kLanes / std::gcd(c, kLanes)); }

  void run(float* d_bias) const {
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) run_block(block);
    if (totals == nullptr) return;
    for (std::int64_t i = 0; i < c; ++i) {
      double sum = 0;
      for (std::int64_t k = i; k < blocks * width(); k += c) sum += totals[k];
      d_bias[i] = static_cast<float>(sum);
    }
  }

 private:
  static constexpr std::int64_t kLanes = 16;
  static constexpr std::int64_t kPiece = 4096;  // values: what the first-level cache holds

  void run_block(std::int64_t block) const {
    const std::int64_t count = pixels * c;
    const std::int64_t rows = (count + width() - 1) / width();
    const std::int64_t begin = rows * block / blocks * width();
    const std::int64_t end = std::min(count, rows * (block + 1) / blocks * width());
    const std::int64_t piece = std::max<std::int64_t>(1, kPiece / width()) * width();
    if (totals != nullptr) std::fill_n(totals + block * width(), width(), 0.0);
    for (std::int64_t first = begin; first < end; first += piece) {
      const std::int64_t size = std::min(piece, end - first);
      if (dz != nullptr) multiply(first, size);
      if (totals != nullptr) add(first, size, totals + block * width());
    }
  }

  void multiply(std::int64_t first, std::int64_t size) const {
    switch (activation.kind) {
      case ActivationKind::kNone:
        return multiply_kind<ActivationKind::kNone>(first, size);
      case ActivationKind::kLeakyRelu:
        return multiply_kind<ActivationKind::kLeakyRelu>(first, size);
      case ActivationKind::kRelu:
        return multiply_kind<ActivationKind::kRelu>(first, size);
      case ActivationKind::kHardtanh:
        return multiply_kind<ActivationKind::kHardtanh>(first, size);
      case ActivationKind::kSigmoid:
        return multiply_kind<ActivationKind::kSigmoid>(first, size);
      case ActivationKind::kTanh:
        return multiply_kind<ActivationKind::kTanh>(first, size);
    }
  }

  template <ActivationKind Kind>
  void multiply_kind(std::int64_t first, std::int64_t size) const {
    const Activation a{Kind, activation.alpha, activation.beta};
#pragma omp simd
    for (std::int64_t i = first; i < first + size; ++i) dz[i] = dy[i] * activation_slope(y[i], a);
  }

  // In f32 within a piece, in f64 over pieces.
  void add(std::int64_t first, std::int64_t size, double* total) const {
    const float* from = (dz != nullptr ? dz : dy) + first;
    const std::int64_t whole = size / width() * width();
    for (std::int64_t lane = 0; lane < width(); lane += kLanes) {
      float sum[kLanes] = {};
      for (std::int64_t row = lane; row < whole; row += width()) {
#pragma omp simd
        for (std::int64_t i = 0; i < kLanes; ++i) sum[i] += from[row + i];
      }
      for (std::int64_t i = 0; i < kLanes; ++i) total[lane + i] += double{sum[i]};
    }
    for (std::int64_t i = whole; i < size; ++i) total[i - whole] += double{from[i]};
  }
};

// Whether there is a convolution, the mirrored one, that takes dz to dx.
bool has_mirror(const ConvolutionProblem& p) {
  return p.stride == 1 && p.kh == p.kw && p.padding_top < p.kh;
}

ConvolutionProblem mirrored(const ConvolutionProblem& p) {
  ConvolutionProblem out = p;
  out.h = p.output_rows();
  out.w = p.output_columns();
  out.ci = p.co;
  out.co = p.ci;
  out.pad(p.kh - 1 - p.padding_top);
  return out;
}

// oneDNN adds the products of all pixels one after the other in f32. Where weights are few the
// chains are long (measured: errors of 5e-6) and a gradient takes little memory: it is made image
// by image, and the images are added in f64.
bool goes_by_image(const ConvolutionProblem& p) {
  constexpr std::int64_t kFewWeights = 512;
  constexpr std::int64_t kLongChain = std::int64_t{1} << 15;  // pixels
  return p.co * p.kh * p.kw * p.ci / p.groups <= kFewWeights && p.n > 1 &&
         p.n * p.output_rows() * p.output_columns() >= kLongChain;
}

// A weight gradient by oneDNN, and its way back from oneDNN's order to ours.
struct WeightGradient {
  std::vector<BoundPrimitive> parts;  // each into a place of its own
  float* packed;                      // [parts, values]; the sum is left in the first part
  std::int64_t values;
  BoundPrimitive reorder;
  std::function<void()> after;  // may be empty

  void run() const {
    for (const BoundPrimitive& part : parts) part.run();
    if (parts.size() > 1) add_parts();
    reorder.run();
    if (after) after();
  }

 private:
  void add_parts() const {
    for (std::int64_t i = 0; i < values; ++i) {
      double sum = 0;
      for (std::size_t part = 0; part < parts.size(); ++part) {
        sum += double{packed[static_cast<std::int64_t>(part) * values + i]};
      }
      packed[i] = static_cast<float>(sum);
    }
  }
};

}  // namespace

Array CpuBackend::sum_gradient(const OutputGradient& out, const Activation& a, bool wanted,
                               Array& d_bias) {
  const bool summed = !d_bias.empty();
  const bool sloped = a.kind != ActivationKind::kNone && (wanted || summed);
  Array dz = sloped ? scratch(out.dy.shape(), DType::kF32) : out.dy;
  if (!sloped && !summed) return dz;
  const std::int64_t c = out.dy.shape()[3];
  SumGradient step{out.dy.elements() / c, c,       threads_, a, nullptr,
                   out.dy.data<float>(),  nullptr, nullptr};
  if (sloped) {
    step.y = out.y.data<float>();
    step.dz = dz.data<float>();
  }
  Array totals;
  if (summed) {
    totals = scratch({step.blocks, step.width()}, DType::kF64);
    step.totals = totals.data<double>();
  }
  submit("gradient by activation and bias", out.dy,
         [step, to = summed ? d_bias.data<float>() : nullptr] { step.run(to); });
  return dz;
}

// A convolution of stride 1 has another as its input gradient, and oneDNN's forward code is its
// fastest. Beyond 128 outputs it is no faster, and more weights would be rearranged.
void CpuBackend::data_gradient(ConvolutionProblem problem, const Array& w, const Array& dz,
                               Array& dx) {
  const WeightShape shape = shape_of(w, problem.groups);
  Convolution c{"gradient by x, conv2d", true,    dx,        dz.data(),
                w.data<float>(),         nullptr, dx.data(), false};
  if (!has_mirror(problem) || shape.ci_group() < 8 || shape.co_group() < 8 || shape.co > 128) {
    problem.groups = groups_to_run(shape.ci, shape.co, shape.groups);
    const Array dense = ungrouped(problem, shape, c);
    return convolve(problem, c);
  }
  Array weights = scratch({shape.ci, shape.kh, shape.kw, shape.co_group()}, DType::kF32);
  c.before = [shape, from = c.weights, to = weights.data<float>()] {
    mirror_weights(shape, from, to);
  };
  c.kind = "gradient by x, mirrored conv2d";
  c.backward = false;
  c.weights = weights.data<float>();
  convolve(mirrored(problem), c);
}

void CpuBackend::weight_gradient(const ConvolutionProblem& problem, const Array& x, const Array& dz,
                                 float* dw, const Array& shown, const Step& after) {
  ConvolutionProblem part = problem;
  const std::int64_t parts = goes_by_image(problem) ? problem.n : 1;
  part.n /= parts;
  const auto description = describe_weight_gradient(part);
  const dnnl::memory::desc ordered = description.diff_weights_desc();
  const auto ordering = describe_reorder(ordered, user_weights(problem));
  const auto values = static_cast<std::int64_t>(ordered.get_size() / sizeof(float));
  Array packed = scratch({parts, values}, DType::kF32);
  Array ordering_scratchpad = scratch({scratchpad_bytes(ordering)}, DType::kU8);
  Array scratchpad = scratch({scratchpad_bytes(description)}, DType::kU8);
  auto step = std::make_shared<WeightGradient>();
  step->packed = packed.data<float>();
  step->values = values;
  for (std::int64_t i = 0; i < parts; ++i) {
    BoundPrimitive gradient = BoundPrimitive::of<dnnl::convolution_backward_weights>(description);
    gradient.bind(DNNL_ARG_SRC, description.src_desc(),
                  x.data<float>() + i * (x.elements() / parts));
    gradient.bind(DNNL_ARG_DIFF_DST, description.diff_dst_desc(),
                  dz.data<float>() + i * (dz.elements() / parts));
    gradient.bind(DNNL_ARG_DIFF_WEIGHTS, ordered, step->packed + i * values);
    gradient.bind(DNNL_ARG_SCRATCHPAD, description.scratchpad_desc(), scratchpad.data());
    step->parts.push_back(std::move(gradient));
  }
  step->reorder = BoundPrimitive::of<dnnl::reorder>(ordering);
  step->reorder.bind(DNNL_ARG_FROM, ordered, packed.data());
  step->reorder.bind(DNNL_ARG_TO, user_weights(problem), dw);
  step->reorder.bind(DNNL_ARG_SCRATCHPAD, ordering.scratchpad_desc(), ordering_scratchpad.data());
  step->after = after;
  submit(convolution_name("gradient by w, conv2d", part, description.impl_info_str()), shown,
         [step] { step->run(); });
}

void CpuBackend::grouped_weight_gradient(ConvolutionProblem problem, const Array& x,
                                         const Array& dz, Array& dw) {
  const WeightShape shape = shape_of(dw, problem.groups);
  problem.groups = groups_to_run(shape.ci, shape.co, shape.groups);
  if (problem.groups == shape.groups) {
    return weight_gradient(problem, x, dz, dw.data<float>(), dw, {});
  }
  Array dense = scratch({shape.co, shape.kh, shape.kw, shape.ci}, DType::kF32);
  const Step after = [shape, from = dense.data<float>(), to = dw.data<float>()] {
    regroup_weights(shape, from, to);
  };
  weight_gradient(problem, x, dz, dense.data<float>(), dw, after);
}

// With few outputs oneDNN's vectors, which hold outputs, idle. Seen from the other side the
// gradient is that of the mirrored convolution, which takes dz to x and has many outputs.
void CpuBackend::thin_weight_gradient(const ConvolutionProblem& problem, const Array& x,
                                      const Array& dz, Array& dw) {
  const WeightShape shape = shape_of(dw, problem.groups);
  ConvolutionProblem seen = mirrored(problem);
  seen.groups = 1;
  const WeightShape from_shape{shape.ci, shape.kh, shape.kw, shape.co, 1};
  Array packed = scratch({shape.ci, shape.kh, shape.kw, shape.co}, DType::kF32);
  Array dense = scratch({shape.co, shape.kh, shape.kw, shape.ci}, DType::kF32);
  const Step after = [shape, from_shape, from = packed.data<float>(), middle = dense.data<float>(),
                      to = dw.data<float>()] {
    mirror_weights(from_shape, from, middle);
    regroup_weights(shape, middle, to);
  };
  weight_gradient(seen, dz, x, packed.data<float>(), dw, after);
}

void CpuBackend::conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                 const ConvOptions& o, OperandGradients& d) {
  const ThreadScope scope(threads_);
  const Array dz = sum_gradient(out, o.activation, !d.x.empty() || !d.w.empty(), d.b);
  const ConvolutionProblem problem = problem_of(x, w, o);
  if (!d.w.empty()) {
    if (has_mirror(problem) && problem.co <= 4 && problem.ci >= 8) {
      thin_weight_gradient(problem, x, dz, d.w);
    } else {
      grouped_weight_gradient(problem, x, dz, d.w);
    }
  }
  if (!d.x.empty()) data_gradient(problem, w, dz, d.x);
}

// A transposed convolution is the input gradient of a convolution that has the same weights: its
// own input gradient is that convolution, and its weight gradient is that convolution's.
void CpuBackend::conv_transpose2d_gradient(const Array& x, const Array& w,
                                           const OutputGradient& out, const ConvOptions& o,
                                           OperandGradients& d) {
  const ThreadScope scope(threads_);
  const Array dz = sum_gradient(out, o.activation, !d.x.empty() || !d.w.empty(), d.b);
  if (!d.w.empty()) grouped_weight_gradient(problem_of(dz, w, o), dz, x, d.w);
  if (d.x.empty()) return;
  const ConvOptions adjoint{o.stride, o.padding, o.groups, {}, o.constant_weights};
  wide_conv2d("gradient by x, conv2d", dz, w, {}, adjoint, d.x);
}

}  // namespace ptynet::cpu
