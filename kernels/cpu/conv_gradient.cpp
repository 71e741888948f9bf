// Gradients of convolutions, f32, by oneDNN's. Which formulation is taken where, and what it
// measures: docs/decisions/0005-convolution-gradients.md.

#include <algorithm>
#include <numeric>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/fixed_activation.h"

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
    with_kind(activation, [this, first, size](auto kind) {
      const Activation a = kind.activation();
#pragma omp simd
      for (std::int64_t i = first; i < first + size; ++i) dz[i] = dy[i] * activation_slope(y[i], a);
    });
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

constexpr std::int64_t kFewOutputs = 4;

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

// A weight gradient by oneDNN, and its way back from oneDNN's order to ours.
struct WeightGradient {
  BoundPrimitive gradient, reorder;
  std::function<void()> after;  // may be empty

  void run() const {
    gradient.run();
    reorder.run();
    if (after) after();
  }
};

// The weight gradient of a convolution of few outputs, dW[o, u, v, i] = sum over pixels of
// dz[pixel, o] * x[pixel + (u, v), i]. oneDNN would add all pixels of a batch one after the other
// in f32, tens of thousands for each of a few weights: measured errors of 5e-6. Here a row is added
// in f32, and rows and images in f64, in a fixed order.
struct FewOutputs {
  ConvolutionProblem p;
  const float* x;
  const float* dz;
  double* totals;  // [n, weights()]

  std::int64_t ci_group() const { return p.ci / p.groups; }
  std::int64_t weights() const { return p.co * p.kh * p.kw * ci_group(); }

  void run(float* dw) const {
#pragma omp parallel for schedule(static)
    for (std::int64_t image = 0; image < p.n; ++image) {
      std::fill_n(totals + image * weights(), weights(), 0.0);
      for (std::int64_t row = 0; row < p.output_rows(); ++row) add_row(image, row);
    }
    for (std::int64_t i = 0; i < weights(); ++i) {
      double sum = 0;
      for (std::int64_t image = 0; image < p.n; ++image) sum += totals[image * weights() + i];
      dw[i] = static_cast<float>(sum);
    }
  }

 private:
  void add_row(std::int64_t image, std::int64_t row) const {
    const std::int64_t ow = p.output_columns();
    for (std::int64_t u = 0; u < p.kh; ++u) {
      const std::int64_t from_row = row * p.stride - p.padding_top + u;
      if (from_row < 0 || from_row >= p.h) continue;
      for (std::int64_t v = 0; v < p.kw; ++v) {
        // Columns whose tap lies within the image.
        const std::int64_t shift = v - p.padding_sides;
        const std::int64_t first = shift < 0 ? (-shift + p.stride - 1) / p.stride : 0;
        const std::int64_t count = std::min(ow, (p.w - 1 - shift) / p.stride + 1) - first;
        if (p.w - 1 - shift < 0 || count < 1) continue;
        const float* source =
            x + ((image * p.h + from_row) * p.w + first * p.stride + shift) * p.ci;
        const float* slopes = dz + ((image * p.output_rows() + row) * ow + first) * p.co;
        for (std::int64_t o = 0; o < p.co; ++o) {
          add_tap(source + o / (p.co / p.groups) * ci_group(), slopes + o, count,
                  totals + image * weights() + ((o * p.kh + u) * p.kw + v) * ci_group());
        }
      }
    }
  }

  // For one output and tap: all input channels, a vector of them at a time.
  void add_tap(const float* source, const float* slopes, std::int64_t count, double* total) const {
    std::int64_t i = 0;
    for (; i + 16 <= ci_group(); i += 16) add<16>(source + i, slopes, count, total + i);
    for (; i + 8 <= ci_group(); i += 8) add<8>(source + i, slopes, count, total + i);
    for (; i < ci_group(); ++i) add<1>(source + i, slopes, count, total + i);
  }

  template <std::int64_t Lanes>
  void add(const float* source, const float* slopes, std::int64_t count, double* total) const {
    const std::int64_t step = p.stride * p.ci;
    float sum[Lanes] = {};
    for (std::int64_t c = 0; c < count; ++c) {
      const float slope = slopes[c * p.co];
#pragma omp simd
      for (std::int64_t i = 0; i < Lanes; ++i) sum[i] += slope * source[c * step + i];
    }
    for (std::int64_t i = 0; i < Lanes; ++i) total[i] += double{sum[i]};
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
  const auto description = describe_weight_gradient(problem);
  const dnnl::memory::desc ordered = description.diff_weights_desc();
  const auto ordering = describe_reorder(ordered, user_weights(problem));
  Array packed = scratch({static_cast<std::int64_t>(ordered.get_size())}, DType::kU8);
  Array ordering_scratchpad = scratch({scratchpad_bytes(ordering)}, DType::kU8);
  Array scratchpad = scratch({scratchpad_bytes(description)}, DType::kU8);
  auto step = std::make_shared<WeightGradient>();
  step->gradient = BoundPrimitive::of<dnnl::convolution_backward_weights>(description);
  step->gradient.bind(DNNL_ARG_SRC, description.src_desc(), x.data());
  step->gradient.bind(DNNL_ARG_DIFF_DST, description.diff_dst_desc(), dz.data());
  step->gradient.bind(DNNL_ARG_DIFF_WEIGHTS, ordered, packed.data());
  step->gradient.bind(DNNL_ARG_SCRATCHPAD, description.scratchpad_desc(), scratchpad.data());
  step->reorder = BoundPrimitive::of<dnnl::reorder>(ordering);
  step->reorder.bind(DNNL_ARG_FROM, ordered, packed.data());
  step->reorder.bind(DNNL_ARG_TO, user_weights(problem), dw);
  step->reorder.bind(DNNL_ARG_SCRATCHPAD, ordering.scratchpad_desc(), ordering_scratchpad.data());
  step->after = after;
  submit(convolution_name("gradient by w, conv2d", problem, description.impl_info_str()), shown,
         [step] { step->run(); });
}

void CpuBackend::grouped_weight_gradient(ConvolutionProblem problem, const Array& x,
                                         const Array& dz, Array& dw) {
  const WeightShape shape = shape_of(dw, problem.groups);
  if (problem.co <= kFewOutputs) {
    Array totals = scratch({problem.n, dw.elements()}, DType::kF64);
    const FewOutputs few{problem, x.data<float>(), dz.data<float>(), totals.data<double>()};
    return submit(convolution_name("gradient by w, conv2d", problem, "few outputs"), dw,
                  [few, to = dw.data<float>()] { few.run(to); });
  }
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

void CpuBackend::conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                 const ConvOptions& o, OperandGradients& d) {
  const ThreadScope scope(threads_);
  const Array dz = sum_gradient(out, o.activation, !d.x.empty() || !d.w.empty(), d.b);
  const ConvolutionProblem problem = problem_of(x, w, o);
  if (!d.w.empty()) grouped_weight_gradient(problem, x, dz, d.w);
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
