#include "kernels/cuda/fused_thin.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/thin_conv.h"
#include "kernels/cuda/thin_output.h"
#include "kernels/cuda/thin_output_block.h"

namespace ptynet::cuda {

namespace {

constexpr int kConvTaps = 3;                        // along an axis
constexpr int kMostTaps = 4;                        // of the transposed convolution
constexpr int kStride = 2;                          // of the transposed convolution
constexpr int kChannels = 2;                        // between the layers, and of y
constexpr int kMiddle = kTileSide - kConvTaps + 1;  // rows and columns of the convolution's tile
// Steps of a tile. Two outputs along an axis stand over each pixel of the middle and the one
// before, so that tiles overlap by one.
constexpr int kSteps = kMiddle - 1;

// The transposed convolution.
struct Doubling {
  const void* w;   // [2, taps, taps, 2 / groups]
  const float* b;  // or null
  int oh, ow;
  int taps, padding, groups;
  Activation activation;
};

// Output o of the transposed convolution along an axis has o + padding = 2 q + r and takes taps r
// and r + 2 from the middle's pixels q and q - 1 (kernels/math.h, TransposedAxis). A block computes
// kSteps places q along each axis.
template <typename Element>
class FusedBlock {
 public:
  using Output = OutputBlock<Element, kConvTaps>;
  using Pair = Vector<float, kChannels>;

  PTYNET_DEVICE FusedBlock(const OutputProblem& p, const ConvOperands& operands, const Doubling& d)
      : p_(p),
        operands_(operands),
        d_(d),
        image_(block().x / p.tiles_across / p.tiles_down),
        row_(block().x / p.tiles_across % p.tiles_down * kSteps + d.padding / kStride),
        column_(block().x % p.tiles_across * kSteps + d.padding / kStride),
        middle_(shared<Pair, kMiddle * kMiddle>()),
        weights_(shared<Pair, kChannels * kMostTaps * kMostTaps, 1>()) {}

  PTYNET_DEVICE void run() {
    fetch_weights();
    const OutputPlace first{image_, row_ - 1, column_ - 1};
    Output(p_, operands_, first).run([&](int row, int column, int output, float value) {
      const bool inside = row >= 0 && row < p_.oh && column >= 0 && column < p_.ow;
      const int at = (row - first.row) * kMiddle + column - first.column;
      store(&middle_[at][output], inside ? value : 0.0F);
    });
    barrier();
    constexpr int kAcross = kStride * kSteps;
    PTYNET_NO_UNROLL
    for (int i = thread(); i < kAcross * kAcross; i += threads()) compute(i / kAcross, i % kAcross);
  }

 private:
  // To [input][tap][output] of all taps that there may be, zeros where there is none or where
  // groups part input and output.
  PTYNET_DEVICE void fetch_weights() {
    const auto* w = static_cast<const Element*>(d_.w);
    const int outputs = kChannels / d_.groups;  // of a group
    PTYNET_NO_UNROLL
    for (int i = thread(); i < kChannels * kMostTaps * kMostTaps; i += threads()) {
      const int input = i / (kMostTaps * kMostTaps);
      const int u = i / kMostTaps % kMostTaps;
      const int v = i % kMostTaps;
      const Element* from = w + ((input * d_.taps + u) * d_.taps + v) * outputs;
      Pair out;
      PTYNET_UNROLL
      for (int o = 0; o < kChannels; ++o) {
        const bool meets = u < d_.taps && v < d_.taps && (d_.groups == 1 || o == input);
        out[o] = meets ? to_float(load_readonly(from + o % outputs)) : 0.0F;
      }
      store(weights_ + i, out);
    }
  }

  // The output at `row`, `column` of the tile.
  PTYNET_DEVICE void compute(int row, int column) const {
    const int y_row = row_ * kStride + row - d_.padding;
    const int y_column = column_ * kStride + column - d_.padding;
    if (y_row < 0 || y_row >= d_.oh || y_column < 0 || y_column >= d_.ow) return;
    // The middle's tile begins one before the first place.
    const Pair* middle = middle_ + (row / kStride + 1) * kMiddle + column / kStride + 1;
    const Pair* weights = weights_ + row % kStride * kMostTaps + column % kStride;
    Pair sums;
    PTYNET_UNROLL
    for (int o = 0; o < kChannels; ++o) {
      sums[o] = d_.b != nullptr ? load_readonly(d_.b + o) : 0.0F;
    }
    PTYNET_UNROLL
    for (int t = 0; t < 4; ++t) {
      const int back_rows = t / 2;
      const int back_columns = t % 2;
      const Pair in = load(middle - back_rows * kMiddle - back_columns);
      PTYNET_UNROLL
      for (int c = 0; c < kChannels; ++c) {
        const int tap = (c * kMostTaps + back_rows * kStride) * kMostTaps + back_columns * kStride;
        const Pair w = load(weights + tap);
        PTYNET_UNROLL
        for (int o = 0; o < kChannels; ++o) sums[o] += in[c] * w[o];
      }
    }
    activate_all(sums, d_.activation);
    const std::int64_t pixel =
        (static_cast<std::int64_t>(image_) * d_.oh + y_row) * d_.ow + y_column;
    store_result<Element>(operands_.y, pixel * kChannels, sums, operands_.f32_result);
  }

  const OutputProblem& p_;
  const ConvOperands& operands_;
  const Doubling& d_;
  int image_, row_, column_;  // of the first place q
  Pair* middle_;
  Pair* weights_;
};

template <typename Element>
PTYNET_KERNEL(kChannels* kOutputThreads, 1)
fused_thin_kernel(OutputProblem p, ConvOperands operands, Doubling d) {
  FusedBlock<Element>(p, operands, d).run();
}

Doubling doubling_of(const ConvShape& s, const ConvPairOperands& operands) {
  Doubling d{};
  d.w = operands.second_w;
  d.b = operands.second_b;
  d.oh = (s.h - 1) * kStride - 2 * s.padding + s.kernel;
  d.ow = (s.w - 1) * kStride - 2 * s.padding + s.kernel;
  d.taps = s.kernel;
  d.padding = s.padding;
  d.groups = s.groups;
  d.activation = s.activation;
  return d;
}

// Tiles that hold the places q of `outputs` outputs along an axis.
int tiles(int outputs, int padding) {
  const int places = (outputs - 1 + padding) / kStride - padding / kStride + 1;
  return (places + kSteps - 1) / kSteps;
}

}  // namespace

bool is_fused_thin(const ConvPairShape& shape, Precision precision) {
  const ConvShape& conv = shape.first;
  const ConvShape& next = shape.second;
  const int grown = 2 * conv.padding - kConvTaps + 1;
  return conv.co == kChannels && conv.kernel == kConvTaps && is_thin_output(conv, precision) &&
         is_thin_conv_transpose2d(next) && next.kernel <= kMostTaps && next.n == conv.n &&
         next.h == conv.h + grown && next.w == conv.w + grown;
}

void fused_thin(const ConvPairShape& shape, Precision precision, const ConvPairOperands& operands,
                Stream stream) {
  if (!is_fused_thin(shape, precision)) {
    const ConvShape& c = shape.first;
    const ConvShape& t = shape.second;
    fail_runtime(
        "fused_thin takes a convolution with kernel 3 and stride 1 to two channels, and a "
        "transposed one of its output with up to 4 taps and stride 2, found ",
        c.ci, " -> ", c.co, ", kernel ", c.kernel, ", and ", t.ci, " -> ", t.co, ", kernel ",
        t.kernel, ", stride ", t.stride,
        ": use thin_conv2d and thin_conv_transpose2d, or conv2d and conv_transpose2d");
  }
  const ConvOperands conv{operands.x, operands.first_w, operands.first_b, operands.y,
                          operands.f32_result};
  const Doubling d = doubling_of(shape.second, operands);
  OutputProblem p = output_problem(shape.first, precision, conv);
  p.tiles_across = tiles(d.ow, d.padding);
  p.tiles_down = tiles(d.oh, d.padding);
  const LaunchShape launched{{p.tiles_across * p.tiles_down * shape.first.n},
                             kChannels * kOutputThreads,
                             output_shared_bytes(p, kConvTaps, precision)};
  with_element(precision, [&](auto type) {
    launch("fused_thin", fused_thin_kernel<decltype(type)>, launched, stream, p, conv, d);
  });
}

}  // namespace ptynet::cuda
