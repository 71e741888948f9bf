#include <algorithm>

#include "kernels/cuda/activate_all.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/thin_conv.h"
#include "kernels/cuda/thin_input.h"
#include "kernels/cuda/thin_output.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kTileColumns = 32;
constexpr int kTileRows = 8;
constexpr int kPixels = 4;    // that a thread computes together
constexpr int kMostTaps = 5;  // along an axis
constexpr int kMostStride = 2;

struct ThinProblem {
  int n, h, w;
  int oh, ow, co;
  int taps, stride, padding;
  int groups;
  Activation activation;
  int tiles_across, tiles_down;
};

// Output channels that a thread computes: what it writes at once.
template <typename Element>
inline constexpr int kThinChannels = 16 / static_cast<int>(sizeof(Element));

// One channel in, many out: the tile's input is brought to shared memory as floats, with the
// weights as [tap][channel]. The lanes of a warp go over the channels first, so that it writes
// whole pixels one after the other.
template <typename Element>
class ThinBlock {
 public:
  static constexpr int kChannels = kThinChannels<Element>;

  PTYNET_DEVICE ThinBlock(const ThinProblem& p, const ConvOperands& operands)
      : p_(p),
        operands_(operands),
        column_(block().x % p.tiles_across * kTileColumns),
        row_(block().x / p.tiles_across % p.tiles_down * kTileRows),
        image_(block().x / p.tiles_across / p.tiles_down),
        input_columns_((kTileColumns - 1) * p.stride + p.taps),
        weights_(dynamic_shared<float>()),
        input_(weights_ + p.taps * p.taps * p.co) {}

  PTYNET_DEVICE void run() {
    fetch_weights();
    fetch_input();
    barrier();
    const int vectors = p_.co / kChannels;
    const int channel = thread() % vectors * kChannels;
    const int across = kThreads / vectors;  // pixels that the block computes at once
    PTYNET_NO_UNROLL
    for (int first = thread() / vectors; first < kTileRows * kTileColumns;
         first += kPixels * across) {
      compute(first, across, channel);
    }
  }

 private:
  PTYNET_DEVICE void fetch_weights() {
    const auto* w = static_cast<const Element*>(operands_.w);
    const int taps = p_.taps * p_.taps;
    PTYNET_NO_UNROLL
    for (int i = thread(); i < taps * p_.co; i += kThreads) {
      store(weights_ + i, to_float(load_readonly(w + i % p_.co * taps + i / p_.co)));
    }
  }

  PTYNET_DEVICE void fetch_input() {
    const auto* x = static_cast<const Element*>(operands_.x);
    fetch_frame(x + static_cast<std::int64_t>(image_) * p_.h * p_.w, p_.h, p_.w,
                {row_ * p_.stride - p_.padding, column_ * p_.stride - p_.padding,
                 (kTileRows - 1) * p_.stride + p_.taps, input_columns_, input_columns_},
                input_);
  }

  // kPixels pixels of the tile, `across` apart from `first` on.
  PTYNET_DEVICE void compute(int first, int across, int channel) {
    Vector<float, kChannels> sums[kPixels];
    const float* input[kPixels];
    PTYNET_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      // The last round may reach beyond the tile: then it computes the last pixel again.
      const int pixel = min_of(first + i * across, kTileRows * kTileColumns - 1);
      input[i] = input_ + pixel / kTileColumns * p_.stride * input_columns_ +
                 pixel % kTileColumns * p_.stride;
      PTYNET_UNROLL
      for (int c = 0; c < kChannels; ++c) {
        sums[i][c] = operands_.b != nullptr ? load_readonly(operands_.b + channel + c) : 0.0F;
      }
    }
    const float* weights = weights_ + channel;
    PTYNET_NO_UNROLL
    for (int u = 0; u < p_.taps; ++u) {
      PTYNET_NO_UNROLL
      for (int v = 0; v < p_.taps; ++v) {
        add_thin_tap(input, u * input_columns_ + v, weights, sums);
        weights += p_.co;
      }
    }
    PTYNET_UNROLL
    for (int i = 0; i < kPixels; ++i) write(first + i * across, channel, sums[i]);
  }

  PTYNET_DEVICE void write(int pixel, int channel, Vector<float, kChannels>& sums) const {
    const int row = row_ + pixel / kTileColumns;
    const int column = column_ + pixel % kTileColumns;
    if (pixel >= kTileRows * kTileColumns || row >= p_.oh || column >= p_.ow) return;
    activate_all(sums, p_.activation);
    Vector<Element, kChannels> out;
    PTYNET_UNROLL
    for (int c = 0; c < kChannels; ++c) out[c] = from_float<Element>(sums[c]);
    const std::int64_t at = (static_cast<std::int64_t>(image_) * p_.oh + row) * p_.ow + column;
    auto* y = static_cast<Element*>(operands_.y) + at * p_.co + channel;
    store(reinterpret_cast<Vector<Element, kChannels>*>(y), out);
  }

  PTYNET_DEVICE static int min_of(int a, int b) { return a < b ? a : b; }

  const ThinProblem& p_;
  const ConvOperands& operands_;
  int column_, row_, image_;  // of the tile's first output pixel
  int input_columns_;         // of the tile in shared memory
  float* weights_;
  float* input_;
};

template <typename Element>
PTYNET_KERNEL(kThreads, 1)
thin_kernel(ThinProblem p, ConvOperands operands) {
  ThinBlock<Element>(p, operands).run();
}

// Two channels in and out, stride 2: a thread computes one output pixel from the taps that meet it.
template <typename Element>
PTYNET_KERNEL(kThreads, 1)
thin_transposed_kernel(ThinProblem p, ConvOperands operands) {
  const std::int64_t i = static_cast<std::int64_t>(block().x) * kThreads + thread();
  if (i >= static_cast<std::int64_t>(p.n) * p.oh * p.ow) return;
  const int column = static_cast<int>(i % p.ow) + p.padding;
  const int row = static_cast<int>(i / p.ow % p.oh) + p.padding;
  const int image = static_cast<int>(i / p.ow / p.oh);
  const auto* x = static_cast<const Vector<Element, 2>*>(operands.x);
  const auto* w = static_cast<const Element*>(operands.w);
  Vector<float, 2> sums{{0, 0}};
  PTYNET_NO_UNROLL
  for (int u = row % 2; u < p.taps; u += 2) {
    PTYNET_NO_UNROLL
    for (int v = column % 2; v < p.taps; v += 2) {
      const int from_row = (row - u) / 2;
      const int from_column = (column - v) / 2;
      if (u > row || v > column || from_row >= p.h || from_column >= p.w) continue;
      const std::int64_t at =
          (static_cast<std::int64_t>(image) * p.h + from_row) * p.w + from_column;
      const Vector<Element, 2> in = load_readonly(x + at);
      const int tap = u * p.taps + v;
      const int taps = p.taps * p.taps;
      PTYNET_UNROLL
      for (int c = 0; c < 2; ++c) {
        const float value = to_float(in[c]);
        if (p.groups == 2) {
          sums[c] += value * to_float(load_readonly(w + c * taps + tap));
        } else {
          PTYNET_UNROLL
          for (int o = 0; o < 2; ++o) {
            sums[o] += value * to_float(load_readonly(w + (c * taps + tap) * 2 + o));
          }
        }
      }
    }
  }
  PTYNET_UNROLL
  for (int o = 0; o < 2; ++o) {
    if (operands.b != nullptr) sums[o] += load_readonly(operands.b + o);
  }
  activate_all(sums, p.activation);
  store_result<Element>(operands.y, 2 * i, sums, operands.f32_result);
}

ThinProblem problem_of(const ConvShape& s) {
  ThinProblem p{};
  p.n = s.n;
  p.h = s.h;
  p.w = s.w;
  p.co = s.co;
  p.taps = s.kernel;
  p.stride = s.stride;
  p.padding = s.padding;
  p.groups = s.groups;
  p.activation = s.activation;
  return p;
}

using ThinKernel = void (*)(ThinProblem, ConvOperands);

template <template <typename> typename Table>
ThinKernel of_precision(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return Table<Bfloat16>::kKernel;
    case Precision::kF16:
      return Table<Half>::kKernel;
    default:
      return Table<float>::kKernel;
  }
}

template <typename Element>
struct Expanding {
  static constexpr ThinKernel kKernel = thin_kernel<Element>;
};
template <typename Element>
struct Transposed {
  static constexpr ThinKernel kKernel = thin_transposed_kernel<Element>;
};

bool is_wide(Precision precision) {
  return precision == Precision::kF32 || precision == Precision::kTf32;
}

bool is_expanding(const ConvShape& s, Precision precision) {
  const int vectors = s.co / (is_wide(precision) ? kThinChannels<float> : kThinChannels<Half>);
  const int channels = vectors * (is_wide(precision) ? kThinChannels<float> : kThinChannels<Half>);
  const bool even = vectors > 0 && vectors <= 16 && kThreads % vectors == 0;
  return s.ci == 1 && s.groups == 1 && channels == s.co && even && s.kernel <= kMostTaps &&
         s.stride <= kMostStride;
}

void expand(const ConvShape& s, Precision precision, const ConvOperands& operands, Stream stream) {
  if (operands.f32_result && !is_wide(precision)) {
    fail_runtime("thin_conv2d ", s.ci, " -> ", s.co,
                 ": expected y of the precision's array type, found f32: only layers of few output "
                 "channels widen their result");
  }
  ThinProblem p = problem_of(s);
  p.oh = (s.h + 2 * s.padding - s.kernel) / s.stride + 1;
  p.ow = (s.w + 2 * s.padding - s.kernel) / s.stride + 1;
  p.tiles_across = (p.ow + kTileColumns - 1) / kTileColumns;
  p.tiles_down = (p.oh + kTileRows - 1) / kTileRows;
  const int rows = (kTileRows - 1) * s.stride + s.kernel;
  const int columns = (kTileColumns - 1) * s.stride + s.kernel;
  const int floats = s.kernel * s.kernel * s.co + rows * columns;
  const LaunchShape shape{{p.tiles_across * p.tiles_down * s.n},
                          kThreads,
                          static_cast<std::size_t>(floats) * sizeof(float)};
  launch("thin_conv2d", of_precision<Expanding>(precision), shape, stream, p, operands);
}

}  // namespace

bool is_thin_conv2d(const ConvShape& s, Precision precision) {
  return is_expanding(s, precision) || is_thin_output(s, precision);
}

void thin_conv2d(const ConvShape& s, Precision precision, const ConvOperands& operands,
                 Stream stream) {
  if (is_expanding(s, precision)) {
    expand(s, precision, operands, stream);
  } else if (is_thin_output(s, precision)) {
    thin_output(s, precision, operands, stream);
  } else {
    fail_runtime("thin_conv2d takes one input channel, up to ", kMostTaps, " taps, stride up to ",
                 kMostStride,
                 " and output channels in whole vectors, or up to 4 output channels, "
                 "1, 3 or 5 taps, stride 1 and input channels that fit in shared memory, found ",
                 s.ci, " -> ", s.co, ", ", s.kernel, " taps, stride ", s.stride, ": use conv2d");
  }
}

bool is_thin_conv_transpose2d(const ConvShape& s) {
  return s.ci == 2 && s.co == 2 && s.groups <= 2 && s.stride == 2;
}

void thin_conv_transpose2d(const ConvShape& s, Precision precision, const ConvOperands& operands,
                           Stream stream) {
  if (!is_thin_conv_transpose2d(s)) {
    fail_runtime("thin_conv_transpose2d takes two channels in and out and stride 2, found ", s.ci,
                 " -> ", s.co, ", stride ", s.stride, ": use conv_transpose2d");
  }
  ThinProblem p = problem_of(s);
  p.oh = (s.h - 1) * s.stride - 2 * s.padding + s.kernel + s.extra_rows;
  p.ow = (s.w - 1) * s.stride - 2 * s.padding + s.kernel + s.extra_columns;
  const std::int64_t pixels = static_cast<std::int64_t>(s.n) * p.oh * p.ow;
  const int blocks = static_cast<int>((pixels + kThreads - 1) / kThreads);
  launch("thin_conv_transpose2d", of_precision<Transposed>(precision),
         LaunchShape{{blocks}, kThreads}, stream, p, operands);
}

}  // namespace ptynet::cuda
