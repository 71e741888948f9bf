#include "kernels/cpu/conv.h"

#include <algorithm>
#include <cstring>

namespace ptynet::cpu {

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
  p.pad(o.padding);
  p.source = x.dtype();
  return p;
}

WeightShape shape_of(const Array& w, std::int64_t groups) {
  const Shape& s = w.shape();
  return {s[0], s[1], s[2], s[3] * groups, groups};
}

std::string convolution_name(std::string_view kind, const ConvolutionProblem& p,
                             std::string_view implementation) {
  std::string name = text(kind, " ", p.kh, "x", p.kw, " ", p.ci, "->", p.co);
  if (p.stride > 1) name += text(" s", p.stride);
  if (p.groups > 1) name += text(" g", p.groups);
  return text(name, " (", implementation, ")");
}

namespace {

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

// Images that go through the places together: as many as stay in the second-level cache on their
// way to y, and divide the batch.
std::int64_t images_at_once(std::int64_t n, std::int64_t image_bytes) {
  constexpr std::int64_t kCacheBytes = std::int64_t{2} << 20;
  std::int64_t images = n;
  while (images > 1 && (images * image_bytes > kCacheBytes || n % images != 0)) --images;
  return images;
}

}  // namespace

void CpuBackend::convolve(ConvolutionProblem problem, const Convolution& c) {
  problem.n /= c.pieces;
  std::vector<BoundPrimitive> pieces;
  if (c.backward) {
    const auto description = describe_data_gradient(problem);
    auto primitive = BoundPrimitive::of<dnnl::convolution_backward_data>(description);
    primitive.bind(DNNL_ARG_DIFF_DST, description.diff_dst_desc(), c.x);
    primitive.bind(DNNL_ARG_DIFF_SRC, description.diff_src_desc(), c.y);
    pieces.push_back(std::move(primitive));
    return submit_convolution(problem, c, description, pieces);
  }
  const auto description = describe_convolution(problem);
  const auto* x = static_cast<const char*>(c.x);
  for (std::int64_t piece = 0; piece < c.pieces; ++piece) {
    auto primitive = BoundPrimitive::of<dnnl::convolution_forward>(description);
    primitive.bind(DNNL_ARG_SRC, description.src_desc(), x);
    if (problem.bias) primitive.bind(DNNL_ARG_BIAS, description.bias_desc(), c.bias);
    primitive.bind(DNNL_ARG_DST, description.dst_desc(), c.y);
    pieces.push_back(std::move(primitive));
    x += description.src_desc().get_size();
  }
  submit_convolution(problem, c, description, pieces);
}

template <typename Description>
void CpuBackend::submit_convolution(const ConvolutionProblem& problem, const Convolution& c,
                                    const Description& description,
                                    const std::vector<BoundPrimitive>& pieces) {
  struct Primitives {
    BoundPrimitive reorder;
    std::vector<BoundPrimitive> pieces;
    Array kept;
  };
  const dnnl::memory::desc ordered = description.weights_desc();
  const auto ordering = describe_reorder(user_weights(problem), ordered);
  const auto bytes = static_cast<std::int64_t>(ordered.get_size());
  Array packed = weight_memory({bytes}, DType::kU8, c.constant_weights);
  Array ordering_scratchpad = scratch({scratchpad_bytes(ordering)}, DType::kU8);
  Array scratchpad = scratch({scratchpad_bytes(description)}, DType::kU8);
  auto step = std::make_shared<Primitives>();
  if (c.constant_weights) step->kept = packed;
  step->reorder = BoundPrimitive::of<dnnl::reorder>(ordering);
  step->reorder.bind(DNNL_ARG_FROM, user_weights(problem), c.weights);
  step->reorder.bind(DNNL_ARG_TO, ordered, packed.data());
  step->reorder.bind(DNNL_ARG_SCRATCHPAD, ordering.scratchpad_desc(), ordering_scratchpad.data());
  step->pieces = pieces;
  for (BoundPrimitive& piece : step->pieces) {
    piece.bind(DNNL_ARG_WEIGHTS, ordered, packed.data());
    piece.bind(DNNL_ARG_SCRATCHPAD, description.scratchpad_desc(), scratchpad.data());
  }

  const auto prepare = [step, before = c.before] {
    if (before) before();
    step->reorder.run();
  };
  const auto compute = [step, after = c.after] {
    for (std::size_t piece = 0; piece < step->pieces.size(); ++piece) {
      step->pieces[piece].run();
      if (after) after(static_cast<std::int64_t>(piece));
    }
  };
  submit_prepared(convolution_name(c.kind, problem, description.impl_info_str()), c.shown,
                  c.constant_weights, prepare, compute);
}

void CpuBackend::conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                        Array& y) {
  const ThreadScope scope(threads_);
  if (is_thin(x, w, o)) return thin_conv2d(x, w, b, o, y);
  wide_conv2d("conv2d", x, w, b, o, y);
}

void CpuBackend::wide_conv2d(std::string_view kind, const Array& x, const Array& w, const Array& b,
                             const ConvOptions& o, Array& y) {
  ConvolutionProblem problem = problem_of(x, w, o);
  problem.target = y.dtype();
  problem.bias = !b.empty();
  problem.activation = o.activation;
  problem.groups = groups_to_run(problem.ci, problem.co, o.groups);
  Convolution c{kind, false, y, x.data(), w.data<float>(), nullptr, y.data(), o.constant_weights};
  if (problem.bias) c.bias = b.data<float>();
  const Array dense = ungrouped(problem, shape_of(w, o.groups), c);
  convolve(problem, c);
}

// Where the problem has fewer groups than the weights, `c` gets them with zeros, in this memory.
Array CpuBackend::ungrouped(const ConvolutionProblem& problem, const WeightShape& shape,
                            Convolution& c) {
  if (problem.groups == shape.groups) return {};
  Array dense =
      weight_memory({shape.co, shape.kh, shape.kw, shape.ci}, DType::kF32, c.constant_weights);
  c.before = [shape, from = c.weights, to = dense.data<float>()] {
    ungroup_weights(shape, from, to);
  };
  c.weights = dense.data<float>();
  return dense;
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
  Array weights = weight_memory({channels, rows.taps(), columns.taps(), phases.ci / parts},
                                DType::kF32, o.constant_weights);
  Array bias = b.empty() ? Array() : weight_memory({channels}, DType::kF32, o.constant_weights);
  const std::int64_t element_bytes = static_cast<std::int64_t>(size_of(y.dtype()));
  const std::int64_t image_bytes = rows.places() * columns.places() * channels * element_bytes;
  const std::int64_t images = images_at_once(x.shape()[0], image_bytes);
  Array places = scratch({images, rows.places(), columns.places(), channels}, y.dtype());

  ConvolutionProblem problem = problem_of(x, weights, o);
  problem.stride = 1;
  problem.groups = parts;
  problem.pad(rows.taps() - 1);
  problem.target = y.dtype();
  problem.bias = !b.empty();
  problem.activation = o.activation;
  Convolution c{
      "conv_transpose2d", false, y, x.data(), weights.data<float>(), nullptr, places.data(),
      o.constant_weights};
  if (problem.bias) c.bias = bias.data<float>();
  c.before = [phases, from = w.data<float>(), to = weights.data<float>(),
              bias_from = b.empty() ? nullptr : b.data<float>(),
              bias_to = b.empty() ? nullptr : bias.data<float>()] {
    phases.pack(from, to);
    if (bias_from != nullptr) phases.pack_bias(bias_from, bias_to);
  };
  c.pieces = problem.n / images;
  const PhaseSpread spread{rows, columns, images, parts, phases.co};
  c.after = [spread, from = places.data(), to = static_cast<char*>(y.data()),
             piece_bytes = y.bytes() / static_cast<std::size_t>(c.pieces),
             bytes = size_of(y.dtype()),
             kept = o.constant_weights ? bias : Array()](std::int64_t piece) {
    spread.run(from, to + static_cast<std::size_t>(piece) * piece_bytes, bytes);
  };
  convolve(problem, c);
}

}  // namespace ptynet::cpu
