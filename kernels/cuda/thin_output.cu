#include "kernels/cuda/launching.h"
#include "kernels/cuda/thin_output.h"
#include "kernels/cuda/thin_output_block.h"

namespace ptynet::cuda {

namespace {

constexpr int kMostOutputs = 4;
constexpr int kVectorBytes = 16;
constexpr int kBankVectors = 8;  // that all banks of shared memory serve at once
// Of a block on any device, less what fused_thin.cu takes beside it.
constexpr std::size_t kMostSharedBytes = std::size_t{96} << 10;

template <typename Element, int kTaps>
PTYNET_KERNEL(2 * kOutputThreads, 1)
thin_output_kernel(OutputProblem p, ConvOperands operands) {
  using Block = OutputBlock<Element, kTaps>;
  const int tile = block().x / p.tiles_across;
  const OutputPlace at{tile / p.tiles_down, tile % p.tiles_down * Block::kTile,
                       block().x % p.tiles_across * Block::kTile};
  Block(p, operands, at).run([&](int row, int column, int output, float value) {
    if (row >= p.oh || column >= p.ow) return;
    const std::int64_t pixel = (static_cast<std::int64_t>(at.image) * p.oh + row) * p.ow + column;
    store_result<Element>(operands.y, pixel * p.co + output, Vector<float, 1>{{value}},
                          operands.f32_result);
  });
}

int divide_up(int a, int b) { return (a + b - 1) / b; }

int vector_channels(Precision precision) {
  const bool narrow = precision == Precision::kBf16 || precision == Precision::kF16;
  return narrow ? kPerAccess<Half> : kPerAccess<float>;
}

template <typename Element>
auto kernel_of(int taps) {
  switch (taps) {
    case 1:
      return thin_output_kernel<Element, 1>;
    case 3:
      return thin_output_kernel<Element, 3>;
    default:
      return thin_output_kernel<Element, 5>;
  }
}

}  // namespace

OutputProblem output_problem(const ConvShape& s, Precision precision,
                             const ConvOperands& operands) {
  OutputProblem p{};
  p.h = s.h;
  p.w = s.w;
  p.ci = s.ci;
  p.oh = s.h + 2 * s.padding - s.kernel + 1;
  p.ow = s.w + 2 * s.padding - s.kernel + 1;
  p.co = s.co;
  p.ci_group = s.ci / s.groups;
  p.co_group = s.co / s.groups;
  p.padding = s.padding;
  p.activation = s.activation;
  p.group_vectors = divide_up(p.ci_group, vector_channels(precision));
  p.vectors = s.groups * p.group_vectors;
  // Lanes that bring the vectors of one pixel, or of a few, write to different banks.
  p.vector_pitch = kTilePixels + divide_up(kBankVectors, p.vectors);
  p.outputs = s.co % 2 == 0 ? 2 : 1;
  p.aligned = p.ci_group % vector_channels(precision) == 0 &&
              are_aligned(kVectorBytes, operands.x, operands.w);
  return p;
}

std::size_t output_shared_bytes(const OutputProblem& p, int taps, Precision precision) {
  const int planes = taps * taps;
  const int input = p.vectors * p.vector_pitch * kVectorBytes;
  const int weights = p.co * planes * p.group_vectors * vector_channels(precision);
  const int products = p.outputs * (planes * kTilePixels + kPlaneGap);
  return static_cast<std::size_t>(input) +
         static_cast<std::size_t>(weights + products) * sizeof(float);
}

bool is_thin_output(const ConvShape& s, Precision precision) {
  const bool known = s.kernel == 1 || s.kernel == 3 || s.kernel == 5;
  if (s.co > kMostOutputs || !known || s.stride != 1) return false;
  const OutputProblem p = output_problem(s, precision, {});
  return output_shared_bytes(p, s.kernel, precision) <= kMostSharedBytes;
}

void thin_output(const ConvShape& s, Precision precision, const ConvOperands& operands,
                 Stream stream) {
  OutputProblem p = output_problem(s, precision, operands);
  p.tiles_across = divide_up(p.ow, kTileSide - s.kernel + 1);
  p.tiles_down = divide_up(p.oh, kTileSide - s.kernel + 1);
  const LaunchShape shape{{p.tiles_across * p.tiles_down * s.n},
                          p.outputs * kOutputThreads,
                          output_shared_bytes(p, s.kernel, precision)};
  with_element(precision, [&](auto type) {
    launch("thin_output", kernel_of<decltype(type)>(s.kernel), shape, stream, p, operands);
  });
}

}  // namespace ptynet::cuda
