#include "kernels/cuda/fused_convs.h"

#include "kernels/cuda/fused_first.h"
#include "kernels/cuda/fused_thin.h"
#include "kernels/error.h"

namespace ptynet::cuda {

namespace {

// One per kernel: the ways that it has for a pair, none where it is not made for it.

std::vector<FusedConv> by_fused_first(const ConvPairTask& task, int multiprocessors) {
  const ConvPairShape shape{task.first.shape, task.second.shape};
  const Precision precision = task.first.precision;
  if (task.first.transposed || task.second.transposed || !task.aligned_weights) return {};
  if (!is_fused_first(shape, precision)) return {};
  std::vector<FusedConv> out;
  const auto add = [&](const ConvTile& tile) {
    out.push_back({text("fused ", tile.pixels_per_warp, "x", tile.channels), false,
                   [shape, precision, tile](const ConvPairOperands& operands, Stream stream) {
                     fused_first(shape, precision, operands, tile, stream);
                   }});
  };
  const ConvTile suggested = suggest_fused_first_tile(shape, precision, multiprocessors);
  add(suggested);
  for (const ConvTile& tile : fused_first_tiles(shape, precision)) {
    if (tile != suggested) add(tile);
  }
  return out;
}

std::vector<FusedConv> by_fused_thin(const ConvPairTask& task, int) {
  const ConvPairShape shape{task.first.shape, task.second.shape};
  const Precision precision = task.first.precision;
  if (task.first.transposed || !task.second.transposed) return {};
  if (!is_fused_thin(shape, precision)) return {};
  return {{"fused", true, [shape, precision](const ConvPairOperands& operands, Stream stream) {
             fused_thin(shape, precision, operands, stream);
           }}};
}

}  // namespace

std::vector<FusedConv> fused_convs(const ConvPairTask& task, int multiprocessors) {
  for (const auto ways : {by_fused_first, by_fused_thin}) {
    std::vector<FusedConv> out = ways(task, multiprocessors);
    if (!out.empty()) return out;  // no pair is for two kernels
  }
  return {};
}

std::string describe(const ConvPairTask& task) {
  return text(describe(task.first), " + ", describe(task.second));
}

}  // namespace ptynet::cuda
