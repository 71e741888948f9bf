#include <algorithm>
#include <array>
#include <limits>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_problem.h"
#include "kernels/cuda/launching.h"

namespace ptynet::cuda {

namespace {

constexpr std::array kTiles{ConvTile{16, 16}, ConvTile{32, 16}, ConvTile{64, 16}, ConvTile{16, 32},
                            ConvTile{32, 32}, ConvTile{64, 32}, ConvTile{32, 64}, ConvTile{64, 64}};
constexpr int kBigStep = 16 << 10;  // bytes of weights

// The one tile of arrays that are not aligned.
constexpr ConvTile kSlowTile{32, 16};

// Bits of the least power of two that is not below v.
int bits_to_hold(int v) {
  int bits = 0;
  while ((1 << bits) < v) ++bits;
  return bits;
}

bool on_vector(const void* a) { return are_aligned(kVectorBytes, a); }

ConvKernel find_kernel(Precision precision, const ConvPlan& plan) {
  return with_math(precision, [&](auto math) {
    return find_conv_kernel<decltype(math)>(plan.tile, plan.steps, plan.aligned);
  });
}

}  // namespace

ConvProblem conv_problem(const ConvShape& s) {
  ConvProblem p{};
  p.n = s.n;
  p.h = s.h;
  p.w = s.w;
  p.ci = s.ci;
  p.oh = (s.h + 2 * s.padding - s.kernel) / s.stride + 1;
  p.ow = (s.w + 2 * s.padding - s.kernel) / s.stride + 1;
  p.co = s.co;
  p.ci_group = s.ci / s.groups;
  p.co_group = s.co / s.groups;
  p.taps = s.kernel;
  p.stride = s.stride;
  p.phases = 1;
  p.padding = s.padding;
  p.phase_padding = 0;
  p.activation = s.activation;
  return p;
}

bool is_aligned(const ConvProblem& p, Precision precision, const ConvOperands& operands) {
  return p.ci_group * element_bytes(precision) % kVectorBytes == 0 && on_vector(operands.x) &&
         on_vector(operands.w);
}

bool takes_whole_vectors(const ConvProblem& p, const void* y) {
  return p.co_group % kVectorChannels == 0 && on_vector(y);
}

void cut_output(ConvProblem& p, int pixels, int least_bits) {
  const int rows = divide_up(p.oh, p.phases);
  const int columns = divide_up(p.ow, p.phases);
  const int bits = bits_to_hold(pixels);
  const auto bits_of = [&](int extent, int most) {
    return std::min(std::max(bits_to_hold(extent), least_bits), most);
  };
  // Near to a square, which has the smallest halo; small images share a tile.
  p.column_bits = bits_of(columns, bits / 2);
  p.row_bits = bits_of(rows, bits - p.column_bits);
  p.image_bits = std::min(bits_to_hold(p.n), bits - p.column_bits - p.row_bits);
  p.column_bits = bits - p.row_bits - p.image_bits;
  p.tiles_across = divide_up(columns, 1 << p.column_bits);
  p.tiles_down = divide_up(rows, 1 << p.row_bits);
  p.halo_rows = ((1 << p.row_bits) - 1) * p.stride + p.taps;
  p.halo_columns = divide_up(((1 << p.column_bits) - 1) * p.stride + p.taps, p.stride) * p.stride;
  p.halo_pixels = (p.halo_rows * p.halo_columns) << p.image_bits;
}

ConvPlan plan_convolution(const ConvProblem& problem, const ConvTile& tile, Precision precision,
                          bool aligned) {
  ConvPlan out{problem, aligned ? tile : kSlowTile, aligned, 1, {}, 0, 0};
  ConvProblem& p = out.problem;
  cut_output(p, kConvWarps * out.tile.pixels_per_warp, 0);
  p.channel_tiles = divide_up(p.co_group, out.tile.channels);

  const int channel_bytes = p.ci_group * element_bytes(precision);
  if (aligned && channel_bytes > kStepBytes) out.steps = 2;
  p.chunks = divide_up(channel_bytes, out.steps * kStepBytes);
  // While a step is read, the next one or two are on their way, with the input of their chunks. Big
  // steps take long enough that one is in time, and leave room for a second block.
  const int step_rows = p.taps * out.tile.channels;
  p.stages = step_rows * row_pitch(out.steps) > kBigStep ? 2 : 3;
  p.input_buffers = std::min(p.taps == 1 ? p.stages : 2, p.chunks);

  out.blocks = {p.tiles_across * p.tiles_down * divide_up(p.n, 1 << p.image_bits),
                p.co / p.co_group * p.channel_tiles, p.phases * p.phases};
  const int rows = p.input_buffers * p.halo_pixels + p.stages * step_rows;
  const int sums = kConvWarps * out.tile.pixels_per_warp * sums_pitch(out.tile.channels);
  out.ring_bytes = static_cast<std::size_t>(rows) * static_cast<std::size_t>(row_pitch(out.steps));
  out.shared_bytes = std::max(out.ring_bytes, static_cast<std::size_t>(sums));
  return out;
}

void expect_array_result(const char* name, Precision precision, const ConvOperands& operands) {
  if (operands.f32_result && element_bytes(precision) != sizeof(float)) {
    fail_runtime(name,
                 ": expected y of the precision's array type, found f32: only the thin "
                 "kernels for few output channels widen their result");
  }
}

std::vector<ConvTile> tiles_that_run(const ConvProblem& problem, Precision precision,
                                     const std::function<bool(const ConvPlan&)>& runs) {
  std::vector<ConvTile> out;
  for (const ConvTile& tile : kTiles) {
    if (runs(plan_convolution(problem, tile, precision, true))) out.push_back(tile);
  }
  return out;
}

ConvTile suggest_tile(const std::vector<ConvTile>& tiles, const ConvProblem& problem,
                      Precision precision, int multiprocessors) {
  ConvTile best = kTiles.front();
  double least = std::numeric_limits<double>::infinity();
  for (const ConvTile& tile : tiles) {
    const ConvPlan plan = plan_convolution(problem, tile, precision, true);
    const double all = double{1} * plan.blocks.x * plan.blocks.y * plan.blocks.z;
    const double rounds = std::max(1.0, all / multiprocessors);
    // A warp reads its operands once per pixel and channel for every product of both.
    const double work = double{1} * tile.pixels_per_warp * tile.channels;
    const double reads = 8.0 * (tile.pixels_per_warp + tile.channels);
    if (rounds * (work + reads) < least) {
      least = rounds * (work + reads);
      best = tile;
    }
  }
  return best;
}

std::vector<ConvTile> fitting_tiles(const ConvProblem& problem, Precision precision) {
  const std::size_t most = most_shared_bytes();
  return tiles_that_run(problem, precision, [&](const ConvPlan& plan) {
    return find_kernel(precision, plan) != nullptr && plan.shared_bytes <= most;
  });
}

ConvTile suggest_tile(const ConvProblem& problem, Precision precision, int multiprocessors) {
  return suggest_tile(fitting_tiles(problem, precision), problem, precision, multiprocessors);
}

std::vector<ConvTile> conv_tiles(const ConvShape& shape, Precision precision) {
  return fitting_tiles(conv_problem(shape), precision);
}

ConvTile suggest_tile(const ConvShape& shape, Precision precision, int multiprocessors) {
  return suggest_tile(conv_problem(shape), precision, multiprocessors);
}

void run_convolution(const char* name, const ConvProblem& problem, Precision precision,
                     const ConvOperands& operands, const ConvTile& tile, Stream stream) {
  expect_array_result(name, precision, operands);
  ConvPlan plan =
      plan_convolution(problem, tile, precision, is_aligned(problem, precision, operands));
  plan.problem.whole_vectors = takes_whole_vectors(problem, operands.y);
  const ConvKernel kernel = find_kernel(precision, plan);
  const std::size_t most = most_shared_bytes();
  if (kernel == nullptr || plan.shared_bytes > most) {
    fail_runtime(name, ": no kernel for a tile of ", plan.tile.pixels_per_warp, " pixels by ",
                 plan.tile.channels, " channels per warp that takes ", plan.shared_bytes,
                 " bytes of shared memory: take a tile of conv_tiles(), a smaller one if this is "
                 "over ",
                 most);
  }
  launch(name, kernel, LaunchShape{plan.blocks, kConvThreads, plan.shared_bytes}, stream,
         plan.problem, operands);
}

void conv2d(const ConvShape& shape, Precision precision, const ConvOperands& operands,
            const ConvTile& tile, Stream stream) {
  run_convolution("conv2d", conv_problem(shape), precision, operands, tile, stream);
}

}  // namespace ptynet::cuda
