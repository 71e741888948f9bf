#include "kernels/cuda/conv_problem.h"
#include "kernels/cuda/conv_transpose.h"

namespace ptynet::cuda {

namespace {

constexpr int kPackThreads = 256;

// Taps of one phase along an axis.
int phase_taps(const ConvShape& s) { return (s.kernel + s.stride - 1) / s.stride; }

struct Packing {
  int kernel, stride, padding, taps;
  int co, ci_group, co_group;
};

// Along one axis: which tap of the kernel is tap `tap` of phase `phase`? (kernels/math.h,
// TransposedAxis: output o of phase e has o + padding = stride * q + r and takes taps stride * t +
// r from inputs q - t; the convolution walks its inputs forwards, so t falls.)
PTYNET_DEVICE int kernel_tap(const Packing& p, int phase, int tap) {
  const int r = (phase + p.padding) % p.stride;
  return (p.taps - 1 - tap) * p.stride + r;
}

template <typename Element>
PTYNET_KERNEL(kPackThreads)
pack_kernel(Packing p, const Element* weights, Element* packed, std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(block().x) * threads() + thread();
  if (i >= count) return;
  const int input = static_cast<int>(i % p.ci_group);
  std::int64_t rest = i / p.ci_group;
  const int tap_column = static_cast<int>(rest % p.taps);
  rest /= p.taps;
  const int tap_row = static_cast<int>(rest % p.taps);
  rest /= p.taps;
  const int output = static_cast<int>(rest % p.co);
  const int phase = static_cast<int>(rest / p.co);

  const int row = kernel_tap(p, phase / p.stride, tap_row);
  const int column = kernel_tap(p, phase % p.stride, tap_column);
  Element value = from_float<Element>(0);
  if (row < p.kernel && column < p.kernel) {
    const std::int64_t from = output / p.co_group * p.ci_group + input;
    const std::int64_t tap = (from * p.kernel + row) * p.kernel + column;
    value = load_readonly(weights + tap * p.co_group + output % p.co_group);
  }
  store(packed + i, value);
}

template <typename Element>
void pack(const Packing& packing, const void* weights, void* packed, std::int64_t count,
          Stream stream) {
  const int blocks = static_cast<int>((count + kPackThreads - 1) / kPackThreads);
  launch("pack_weights", pack_kernel<Element>, LaunchShape{{blocks}, kPackThreads}, stream, packing,
         static_cast<const Element*>(weights), static_cast<Element*>(packed), count);
}

}  // namespace

ConvProblem transposed_problem(const ConvShape& s) {
  ConvProblem p{};
  p.n = s.n;
  p.h = s.h;
  p.w = s.w;
  p.ci = s.ci;
  p.oh = (s.h - 1) * s.stride - 2 * s.padding + s.kernel + s.extra_rows;
  p.ow = (s.w - 1) * s.stride - 2 * s.padding + s.kernel + s.extra_columns;
  p.co = s.co;
  p.ci_group = s.ci / s.groups;
  p.co_group = s.co / s.groups;
  p.taps = phase_taps(s);
  p.stride = 1;
  p.phases = s.stride;
  p.padding = p.taps - 1;
  p.phase_padding = s.padding;
  p.activation = s.activation;
  return p;
}

ConvShape input_gradient_of(const ConvShape& conv) {
  const ConvProblem forward = conv_problem(conv);
  ConvShape out = conv;
  out.h = forward.oh;
  out.w = forward.ow;
  out.ci = conv.co;
  out.co = conv.ci;
  out.activation = {};
  const ConvProblem back = transposed_problem(out);
  out.extra_rows = conv.h - back.oh;
  out.extra_columns = conv.w - back.ow;
  return out;
}

std::int64_t packed_weights(const ConvShape& s) {
  const std::int64_t taps = phase_taps(s) * phase_taps(s);
  return taps * s.stride * s.stride * s.co * (s.ci / s.groups);
}

void pack_weights(const ConvShape& s, Precision precision, const void* weights, void* packed,
                  Stream stream) {
  const Packing packing{s.kernel, s.stride,        s.padding,      phase_taps(s),
                        s.co,     s.ci / s.groups, s.co / s.groups};
  const std::int64_t count = packed_weights(s);
  if (precision == Precision::kF32 || precision == Precision::kTf32) {
    pack<float>(packing, weights, packed, count, stream);
  } else {  // bits move as they are
    pack<Half>(packing, weights, packed, count, stream);
  }
}

std::vector<ConvTile> transposed_tiles(const ConvShape& shape, Precision precision) {
  return fitting_tiles(transposed_problem(shape), precision);
}

ConvTile suggest_transposed_tile(const ConvShape& shape, Precision precision, int multiprocessors) {
  return suggest_tile(transposed_problem(shape), precision, multiprocessors);
}

void conv_transpose2d(const ConvShape& shape, Precision precision, const ConvOperands& operands,
                      const ConvTile& tile, Stream stream) {
  run_convolution("conv_transpose2d", transposed_problem(shape), precision, operands, tile, stream);
}

}  // namespace ptynet::cuda
