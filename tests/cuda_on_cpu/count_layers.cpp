#include "tests/cuda_on_cpu/count_layers.h"

#include <cmath>

#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/fused_first.h"
#include "kernels/cuda/fused_thin.h"
#include "kernels/cuda/thin_conv.h"
#include "tests/cuda_on_cpu/device_memory.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/ptynet_layers.h"
#include "tests/cuda_on_cpu/twin.h"

namespace ptynet::cuda::tests {

namespace {

constexpr Precision kPrecision = Precision::kF16;
constexpr int kMultiprocessors = 132;
constexpr double kSectorBytes = 32;
constexpr double kProductsPerInstruction = 16 * 8 * 16;

// The pages of what a kernel writes and reads; contents do not matter here.
DeviceMemory memory(double elements) {
  DeviceMemory out(static_cast<std::size_t>(elements) * element_bytes(kPrecision));
  out.fill(0);
  return out;
}

bool is_thin(const Layer& layer) {
  const ConvShape shape = layer.shape(1);
  return layer.transposed ? is_thin_conv_transpose2d(shape) : is_thin_conv2d(shape, kPrecision);
}

ConvTile tile_of(const Layer& layer) {
  const ConvShape shape = layer.shape(1);
  return layer.transposed ? suggest_transposed_tile(shape, kPrecision, kMultiprocessors)
                          : suggest_tile(shape, kPrecision, kMultiprocessors);
}

void run(const Layer& layer, const ConvOperands& operands) {
  const ConvShape shape = layer.shape(1);
  if (is_thin(layer)) {
    (layer.transposed ? thin_conv_transpose2d : thin_conv2d)(shape, kPrecision, operands, nullptr);
  } else {
    (layer.transposed ? conv_transpose2d : conv2d)(shape, kPrecision, operands, tile_of(layer),
                                                   nullptr);
  }
}

LayerCounts count_layer(const char* network, const Layer& layer) {
  const bool thin = is_thin(layer);
  const DeviceMemory x = memory(layer.inputs(1));
  const DeviceMemory y = memory(layer.outputs(1));
  const DeviceMemory w =
      memory(layer.transposed && !thin ? static_cast<double>(packed_weights(layer.shape(1)))
                                       : layer.weights());
  const twin::Counting counting;
  run(layer, {x.data(), w.data(), nullptr, y.data()});
  const twin::Counts& c = counting.counts();

  const double bytes = static_cast<double>(x.bytes() + w.bytes() + y.bytes());
  const double products = thin ? 0 : layer.flop(1) / 2 / kProductsPerInstruction;
  const ConvTile tile = tile_of(layer);
  return {network,
          text(layer.size, "px/", layer.in, "->", layer.out, "/k", layer.kernel, "/s", layer.stride,
               "/g", layer.groups, layer.transposed ? "/transposed" : ""),
          thin ? "thin" : text(tile.pixels_per_warp, "x", tile.channels),
          c.global_sectors,
          static_cast<std::int64_t>(std::ceil(bytes / kSectorBytes)),
          c.shared_waves,
          c.shared_accesses,
          c.matrix_instructions,
          static_cast<std::int64_t>(std::ceil(products))};
}

// Two layers of PtyNet-S in one kernel.
template <typename Run>
LayerCounts count_pair(const Layer& first, const Layer& second, const std::string& tile,
                       const Run& run_pair) {
  const DeviceMemory x = memory(first.inputs(1));
  const DeviceMemory first_w = memory(first.weights());
  const DeviceMemory second_w = memory(second.weights());
  const DeviceMemory y = memory(second.outputs(1));
  const twin::Counting counting;
  run_pair(ConvPairShape{first.shape(1), second.shape(1)},
           ConvPairOperands{x.data(), first_w.data(), nullptr, second_w.data(), nullptr, y.data()});
  const twin::Counts& c = counting.counts();
  const double bytes =
      static_cast<double>(x.bytes() + first_w.bytes() + second_w.bytes() + y.bytes());
  const double products = second.transposed ? 0 : second.flop(1) / 2 / kProductsPerInstruction;
  return {"ptynet-s",
          text(first.size, "px/", first.in, "->", first.out, "->", second.out, "/k", first.kernel,
               "/k", second.kernel),
          tile,
          c.global_sectors,
          static_cast<std::int64_t>(std::ceil(bytes / kSectorBytes)),
          c.shared_waves,
          c.shared_accesses,
          c.matrix_instructions,
          static_cast<std::int64_t>(std::ceil(products))};
}

LayerCounts count_first() {
  const Layer& first = kPtynetS[0];
  const Layer& second = kPtynetS[1];
  const ConvTile tile =
      suggest_fused_first_tile({first.shape(1), second.shape(1)}, kPrecision, kMultiprocessors);
  return count_pair(first, second, text(tile.pixels_per_warp, "x", tile.channels),
                    [&](const ConvPairShape& shape, const ConvPairOperands& operands) {
                      fused_first(shape, kPrecision, operands, tile, nullptr);
                    });
}

LayerCounts count_last() {
  return count_pair(kPtynetS[kPtynetS.size() - 2], kPtynetS.back(), "fused",
                    [](const ConvPairShape& shape, const ConvPairOperands& operands) {
                      fused_thin(shape, kPrecision, operands, nullptr);
                    });
}

}  // namespace

std::vector<LayerCounts> count_layers() {
  std::vector<LayerCounts> out;
  for (const Layer& layer : kPtynetS) out.push_back(count_layer("ptynet-s", layer));
  out.push_back(count_first());
  out.push_back(count_last());
  for (const Layer& layer : kPtynetB) out.push_back(count_layer("ptynet-b", layer));
  return out;
}

}  // namespace ptynet::cuda::tests
