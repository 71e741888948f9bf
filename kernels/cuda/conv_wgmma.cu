#include <algorithm>
#include <array>

#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/conv_wgmma.h"
#include "kernels/cuda/conv_wgmma_problem.h"

namespace ptynet::cuda {

namespace {

constexpr std::array kTiles{ConvTile{16, 16}, ConvTile{32, 16},  ConvTile{64, 16}, ConvTile{16, 32},
                            ConvTile{32, 32}, ConvTile{64, 32},  ConvTile{16, 64}, ConvTile{32, 64},
                            ConvTile{64, 64}, ConvTile{16, 128}, ConvTile{32, 128}};
constexpr int kBigStep = 16 << 10;  // bytes of weights
constexpr int kBankBytes = 128;     // of all 32 banks

struct Plan {
  WgmmaProblem problem;
  int steps;  // products per tap and chunk of channels
  Index3 blocks;
  std::size_t shared_bytes;
};

bool is_taken(const ConvProblem& p, Precision precision) {
  constexpr int kChannelMultiple = 8;
  return precision != Precision::kF32 && p.ci_group * element_bytes(precision) % kStepBytes == 0 &&
         p.co_group % kChannelMultiple == 0;
}

// As many bytes from plane to plane that vectors of one pixel after the other lie in different
// banks.
int plane_bytes(int places, int steps) {
  return divide_up(places * kVectorBytes, kBankBytes) * kBankBytes + (kBankBytes >> steps);
}

Plan plan_of(const ConvProblem& problem, const ConvTile& tile, Precision precision) {
  Plan out{{problem, 0, 0}, 1, {}, 0};
  ConvProblem& p = out.problem.conv;
  cut_output(p, kConvWarps * tile.pixels_per_warp, kSquareBits);
  p.channel_tiles = divide_up(p.co_group, tile.channels);

  const int channel_bytes = p.ci_group * element_bytes(precision);
  out.steps = channel_bytes % (2 * kStepBytes) == 0 ? 2 : 1;
  p.chunks = channel_bytes / (out.steps * kStepBytes);
  out.problem.input_plane = plane_bytes(p.halo_pixels, out.steps);
  out.problem.weights_plane = plane_bytes(tile.channels, out.steps);

  // The products of two steps are under way while the copies of stages - 2 more are. An input
  // buffer is read by `taps` of them.
  const int vectors = out.steps * kStepBytes / kVectorBytes;
  const int step_bytes = p.taps * vectors * out.problem.weights_plane;
  p.stages = step_bytes > kBigStep ? 3 : 4;
  p.input_buffers = std::min(1 + divide_up(p.stages - 1, p.taps), p.chunks);

  out.blocks = {p.tiles_across * p.tiles_down * divide_up(p.n, 1 << p.image_bits),
                p.co / p.co_group * p.channel_tiles, p.phases * p.phases};
  const int input_bytes = p.input_buffers * vectors * out.problem.input_plane;
  const int sums = kConvWarps * tile.pixels_per_warp * sums_pitch(tile.channels);
  out.shared_bytes = static_cast<std::size_t>(std::max(input_bytes + p.stages * step_bytes, sums));
  return out;
}

std::vector<ConvTile> tiles_of(const ConvProblem& problem, Precision precision) {
  std::vector<ConvTile> out;
  if (!is_taken(problem, precision) || !has_wgmma()) return out;
  for (const ConvTile& tile : kTiles) {
    const bool half_empty = tile.channels > 16 && problem.co_group <= tile.channels / 2;
    const Plan plan = plan_of(problem, tile, precision);
    const bool exists = find_wgmma_kernel(tile, plan.steps, precision) != nullptr;
    if (exists && !half_empty && plan.shared_bytes <= most_shared_bytes()) out.push_back(tile);
  }
  return out;
}

void run(const char* name, const ConvProblem& problem, Precision precision,
         const ConvOperands& operands, const ConvTile& tile, Stream stream) {
  expect_array_result(name, precision, operands);
  const std::vector<ConvTile> tiles = tiles_of(problem, precision);
  if (std::find(tiles.begin(), tiles.end(), tile) == tiles.end()) {
    fail_runtime(name, ": no kernel for a tile of ", tile.pixels_per_warp, " pixels by ",
                 tile.channels, " channels per warp: take a tile of wgmma_tiles()");
  }
  Plan plan = plan_of(problem, tile, precision);
  plan.problem.conv.whole_vectors = takes_whole_vectors(problem, operands.y);
  launch(name, find_wgmma_kernel(tile, plan.steps, precision),
         LaunchShape{plan.blocks, kConvThreads, plan.shared_bytes}, stream, plan.problem, operands);
}

}  // namespace

bool has_wgmma() {
  return compute_capability() / 10 == 9 &&
         find_wgmma_kernel(kTiles.front(), 1, Precision::kF16) != nullptr;
}

std::vector<ConvTile> wgmma_tiles(const ConvShape& shape, Precision precision) {
  return tiles_of(conv_problem(shape), precision);
}

std::vector<ConvTile> transposed_wgmma_tiles(const ConvShape& shape, Precision precision) {
  return tiles_of(transposed_problem(shape), precision);
}

void wgmma_conv2d(const ConvShape& shape, Precision precision, const ConvOperands& operands,
                  const ConvTile& tile, Stream stream) {
  const ConvProblem problem = conv_problem(shape);
  if (!is_aligned(problem, precision, operands)) {
    return conv2d(shape, precision, operands, tile, stream);
  }
  run("wgmma_conv2d", problem, precision, operands, tile, stream);
}

void wgmma_conv_transpose2d(const ConvShape& shape, Precision precision,
                            const ConvOperands& operands, const ConvTile& tile, Stream stream) {
  const ConvProblem problem = transposed_problem(shape);
  if (!is_aligned(problem, precision, operands)) {
    return conv_transpose2d(shape, precision, operands, tile, stream);
  }
  run("wgmma_conv_transpose2d", problem, precision, operands, tile, stream);
}

}  // namespace ptynet::cuda
