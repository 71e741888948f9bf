#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/onednn.h"

namespace ptynet::cpu {

namespace {

ConvolutionProblem problem_of(const Array& x, const Array& w, const ConvOptions& o) {
  ConvolutionProblem p{};
  p.n = x.shape()[0];
  p.h = x.shape()[1];
  p.w = x.shape()[2];
  p.ci = x.shape()[3];
  p.co = w.shape()[0];
  p.kh = w.shape()[1];
  p.kw = w.shape()[2];
  p.groups = o.groups;
  p.stride = o.stride;
  p.padding_before = o.padding;
  p.padding_after = o.padding;
  p.source = x.dtype();
  p.activation = o.activation;
  return p;
}

// What a convolution step owns and needs: the primitive, and its weights in oneDNN's order.
struct ConvolutionStep {
  BoundPrimitive convolution;
  BoundPrimitive reorder;  // our weights to oneDNN's
  Array reorder_scratchpad;
  Array packed;  // oneDNN's weights

  // `weights` [co, kh, kw, ci / groups] and `bias` are read when the step runs, unless constant.
  ConvolutionStep(const ConvolutionProblem& problem,
                  const dnnl::convolution_forward::primitive_desc& description, const void* x,
                  const float* weights, const float* bias, void* y, void* scratchpad) {
    const dnnl::memory::desc ordered = description.weights_desc();
    const auto ordering = describe_reorder(user_weights(problem), ordered);
    reorder_scratchpad = Array::host({scratchpad_bytes(ordering)}, DType::kU8);
    packed = Array::host({static_cast<std::int64_t>(ordered.get_size())}, DType::kU8);
    reorder = BoundPrimitive::of<dnnl::reorder>(ordering);
    reorder.bind(DNNL_ARG_FROM, user_weights(problem), weights);
    reorder.bind(DNNL_ARG_TO, ordered, packed.data());
    reorder.bind(DNNL_ARG_SCRATCHPAD, ordering.scratchpad_desc(), reorder_scratchpad.data());
    convolution = BoundPrimitive::of<dnnl::convolution_forward>(description);
    convolution.bind(DNNL_ARG_SRC, description.src_desc(), x);
    convolution.bind(DNNL_ARG_WEIGHTS, ordered, packed.data());
    if (problem.bias) convolution.bind(DNNL_ARG_BIAS, description.bias_desc(), bias);
    convolution.bind(DNNL_ARG_DST, description.dst_desc(), y);
    convolution.bind(DNNL_ARG_SCRATCHPAD, description.scratchpad_desc(), scratchpad);
  }
};

std::string operation_name(std::string_view kind, const ConvolutionProblem& p,
                           const dnnl::convolution_forward::primitive_desc& description) {
  std::string name = text(kind, " ", p.kh, "x", p.kw, " ", p.ci, "->", p.co);
  if (p.stride > 1) name += text(" s", p.stride);
  if (p.groups > 1) name += text(" g", p.groups);
  return text(name, " (", description.impl_info_str(), ")");
}

// oneDNN has slow code for groups of a few outputs (bf16: 117 us where a dense layer takes 13). As
// one dense convolution with zeros between the groups they are faster; true depthwise ones have
// code of their own.
std::int64_t groups_to_run(std::int64_t ci, std::int64_t co, std::int64_t groups) {
  const bool depthwise = ci == groups && co == groups;
  return co / groups < 8 && !depthwise ? 1 : groups;
}

// [co, kh, kw, ci / groups] -> [co, kh, kw, ci], zero outside of the output's group.
void ungroup_weights(const Array& w, std::int64_t groups, const float* from, float* to) {
  const std::int64_t ci_group = w.shape()[3];
  const std::int64_t taps = w.shape()[1] * w.shape()[2];
  const std::int64_t co_group = w.shape()[0] / groups;
  std::fill_n(to, w.elements() * groups, 0.0F);
  for (std::int64_t tap = 0; tap < w.shape()[0] * taps; ++tap) {
    const std::int64_t group = tap / taps / co_group;
    std::copy_n(from + tap * ci_group, ci_group, to + (tap * groups + group) * ci_group);
  }
}

// Rearranges a transposed convolution's weights [ci, kh, kw, co / groups] into those of the one
// convolution, in `parts` groups, that computes all output phases (TransposedAxis): output channels
// in the order [part][phase row][phase column][co / parts], window position u holding tap
// t = taps - 1 - u. `parts` is `groups`, or 1 with zeros between the groups.
struct PhaseWeights {
  std::int64_t ci, co, kh, kw, groups, parts, stride, taps_h, taps_w;

  // Weight from input i to output c at a tap of the transposed kernel.
  float weight(const float* w, std::int64_t i, std::int64_t c, std::int64_t row,
               std::int64_t column) const {
    const std::int64_t co_group = co / groups;
    if (row >= kh || column >= kw || i / (ci / groups) != c / co_group) return 0.0F;
    return w[((i * kh + row) * kw + column) * co_group + c % co_group];
  }

  void pack(const float* w, float* packed) const {
    for (std::int64_t part = 0; part < parts; ++part) {
      for (std::int64_t phase = 0; phase < stride * stride; ++phase) {
        for (std::int64_t c = part * co / parts; c < (part + 1) * co / parts; ++c) {
          for (std::int64_t u = 0; u < taps_h * taps_w; ++u) {
            const std::int64_t row = stride * (taps_h - 1 - u / taps_w) + phase / stride;
            const std::int64_t column = stride * (taps_w - 1 - u % taps_w) + phase % stride;
            for (std::int64_t i = part * ci / parts; i < (part + 1) * ci / parts; ++i) {
              *packed++ = weight(w, i, c, row, column);
            }
          }
        }
      }
    }
  }

  void pack_bias(const float* b, float* packed) const {
    for (std::int64_t part = 0; part < parts; ++part) {
      for (std::int64_t phase = 0; phase < stride * stride; ++phase) {
        packed = std::copy_n(b + part * co / parts, co / parts, packed);
      }
    }
  }
};

// Spreads the phases over the output: places [n, qh, qw, part, s, s, co / part] -> y [n, oh, ow,
// co].
struct PhaseSpread {
  TransposedAxis rows, columns;
  std::int64_t n, parts, co;

  // Elements of a chunk (co / parts) are moved together; Bytes is their size when known beforehand.
  template <std::size_t Bytes>
  void run_sized(const char* places, char* y, std::size_t chunk_bytes) const {
    const std::int64_t oh = rows.outputs();
    const std::int64_t ow = columns.outputs();
    const std::int64_t stride = rows.stride;
    const auto chunk = static_cast<std::int64_t>(Bytes > 0 ? Bytes : chunk_bytes);
    const std::int64_t place_bytes = parts * stride * stride * chunk;
    const std::int64_t first_place = columns.padding / stride;
    const std::int64_t first_phase = columns.padding % stride;
#pragma omp parallel for collapse(2)
    for (std::int64_t image = 0; image < n; ++image) {
      for (std::int64_t o = 0; o < oh; ++o) {
        const std::int64_t q = (o + rows.padding) / stride;
        const std::int64_t phase = (o + rows.padding) % stride;
        const char* place =
            places + ((image * rows.places() + q) * columns.places() + first_place) * place_bytes +
            phase * stride * chunk;
        char* to = y + (image * oh + o) * ow * parts * chunk;
        std::int64_t r = first_phase;
        for (std::int64_t p = 0; p < ow; ++p) {
          for (std::int64_t g = 0; g < parts; ++g) {
            std::memcpy(to, place + (g * stride * stride + r) * chunk,
                        Bytes > 0 ? Bytes : chunk_bytes);
            to += chunk;
          }
          if (++r == stride) {
            r = 0;
            place += place_bytes;
          }
        }
      }
    }
  }

  void run(const void* places, void* y, std::size_t element_bytes) const {
    const auto* from = static_cast<const char*>(places);
    auto* to = static_cast<char*>(y);
    const std::size_t chunk = static_cast<std::size_t>(co / parts) * element_bytes;
    switch (chunk) {
      case 4:
        return run_sized<4>(from, to, chunk);
      case 8:
        return run_sized<8>(from, to, chunk);
      case 128:
        return run_sized<128>(from, to, chunk);
      case 256:
        return run_sized<256>(from, to, chunk);
      default:
        return run_sized<0>(from, to, chunk);
    }
  }
};

}  // namespace

std::size_t CpuBackend::conv2d_workspace(const Array& x, const Array& w, const ConvOptions& o) {
  const ThreadScope scope(threads_);
  return static_cast<std::size_t>(scratchpad_bytes(describe_convolution(problem_of(x, w, o))));
}

void CpuBackend::conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                        Array& y) {
  const ThreadScope scope(threads_);
  if (is_thin(x, w, o)) return thin_conv2d(x, w, b, o, y);
  ConvolutionProblem problem = problem_of(x, w, o);
  problem.target = y.dtype();
  problem.bias = !b.empty();
  problem.groups = groups_to_run(problem.ci, problem.co, o.groups);
  const bool ungrouped = problem.groups != o.groups;
  Array weights =
      ungrouped ? Array::host({problem.co, problem.kh, problem.kw, problem.ci}, DType::kF32) : w;
  const auto description = describe_convolution(problem);
  Array scratchpad = scratch({scratchpad_bytes(description)}, DType::kU8);
  auto step = std::make_shared<ConvolutionStep>(
      problem, description, x.data(), weights.data<float>(), b.empty() ? nullptr : b.data<float>(),
      y.data(), scratchpad.data());
  const auto prepare = [=, groups = o.groups]() mutable {
    if (ungrouped) ungroup_weights(w, groups, w.data<float>(), weights.data<float>());
    step->reorder.run();
  };
  const std::string name = operation_name("conv2d", problem, description);
  submit_prepared(name, y, o.constant_weights, prepare, [step] { step->convolution.run(); });
}

void CpuBackend::conv_transpose2d(const Array& x, const Array& w, const Array& b,
                                  const ConvOptions& o, Array& y) {
  const ThreadScope scope(threads_);
  const TransposedAxis rows{x.shape()[1], w.shape()[1], o.stride, o.padding};
  const TransposedAxis columns{x.shape()[2], w.shape()[2], o.stride, o.padding};
  const std::int64_t channels = y.shape()[3] * o.stride * o.stride;
  const std::int64_t parts = groups_to_run(x.shape()[3], channels, o.groups);
  const PhaseWeights phases{x.shape()[3], y.shape()[3], w.shape()[1], w.shape()[2],  o.groups,
                            parts,        o.stride,     rows.taps(),  columns.taps()};
  Array weights =
      Array::host({channels, rows.taps(), columns.taps(), phases.ci / parts}, DType::kF32);
  Array bias = b.empty() ? Array() : Array::host({channels}, DType::kF32);

  ConvolutionProblem problem = problem_of(x, weights, o);
  problem.stride = 1;
  problem.groups = parts;
  problem.padding_before = problem.padding_after = rows.taps() - 1;
  problem.target = y.dtype();
  problem.bias = !b.empty();
  const auto description = describe_convolution(problem);
  Array scratchpad = scratch({scratchpad_bytes(description)}, DType::kU8);
  Array places = scratch({problem.n, rows.places(), columns.places(), channels}, y.dtype());
  auto step = std::make_shared<ConvolutionStep>(
      problem, description, x.data(), weights.data<float>(),
      b.empty() ? nullptr : bias.data<float>(), places.data(), scratchpad.data());

  const auto prepare = [step, phases, weights, bias, from = w.data<float>(),
                        bias_from = b.empty() ? nullptr : b.data<float>()]() mutable {
    phases.pack(from, weights.data<float>());
    if (bias_from != nullptr) phases.pack_bias(bias_from, bias.data<float>());
    step->reorder.run();
  };
  const PhaseSpread spread{rows, columns, problem.n, parts, phases.co};
  const auto compute = [step, spread, from = places.data(), to = y.data(),
                        bytes = size_of(y.dtype()), bias] {
    step->convolution.run();
    spread.run(from, to, bytes);
  };
  const std::string name = operation_name("conv_transpose2d", problem, description);
  submit_prepared(name, y, o.constant_weights, prepare, compute);
}

}  // namespace ptynet::cpu
