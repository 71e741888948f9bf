#include "tests/cuda_on_cpu/count_layers.h"

#include <cmath>

#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/conv_wgmma.h"
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

// What `launch` costs for a layer whose weights have so many elements.
template <typename Launch>
LayerCounts count(const char* network, const Layer& layer, double weights, const Launch& launch) {
  const DeviceMemory x = memory(layer.inputs(1));
  const DeviceMemory y = memory(layer.outputs(1));
  const DeviceMemory w = memory(weights);
  const twin::Counting counting;
  launch(ConvOperands{x.data(), w.data(), nullptr, y.data()});
  const twin::Counts& c = counting.counts();
  const double bytes = static_cast<double>(x.bytes() + w.bytes() + y.bytes());
  return {network,
          text(layer.size, "px/", layer.in, "->", layer.out, "/k", layer.kernel, "/s", layer.stride,
               "/g", layer.groups, layer.transposed ? "/transposed" : ""),
          "",
          c.global_sectors,
          static_cast<std::int64_t>(std::ceil(bytes / kSectorBytes)),
          c.shared_waves,
          c.shared_accesses,
          c.matrix_instructions,
          static_cast<std::int64_t>(std::ceil(layer.flop(1) / 2 / kProductsPerInstruction))};
}

std::string name_of(const ConvTile& tile) { return text(tile.pixels_per_warp, "x", tile.channels); }

LayerCounts count_layer(const char* network, const Layer& layer) {
  const bool thin = is_thin(layer);
  const bool packed = layer.transposed && !thin;
  LayerCounts out =
      count(network, layer,
            packed ? static_cast<double>(packed_weights(layer.shape(1))) : layer.weights(),
            [&](const ConvOperands& operands) { run(layer, operands); });
  out.tile = thin ? "thin" : name_of(tile_of(layer));
  if (thin) out.least_products = 0;
  return out;
}

// Layers that arithmetic bounds, and whose groups have channels enough for wgmma to be fast.
constexpr ConvTile kWgmmaTile{64, 64};
bool is_for_wgmma(const Layer& layer) {
  return !layer.transposed && layer.kernel > 1 && layer.stride == 1 &&
         layer.out / layer.groups >= kWgmmaTile.channels;
}

LayerCounts count_wgmma(const char* network, const Layer& layer) {
  LayerCounts out = count(network, layer, layer.weights(), [&](const ConvOperands& operands) {
    wgmma_conv2d(layer.shape(1), kPrecision, operands, kWgmmaTile, nullptr);
  });
  out.layer += "/wgmma";
  out.tile = name_of(kWgmmaTile);
  return out;
}

void count_network(const char* network, const std::vector<Layer>& layers,
                   std::vector<LayerCounts>& out) {
  for (const Layer& layer : layers) {
    out.push_back(count_layer(network, layer));
    if (is_for_wgmma(layer)) out.push_back(count_wgmma(network, layer));
  }
}

// The last two layers of PtyNet-S in one kernel.
LayerCounts count_fused() {
  const Layer& conv = kPtynetS[kPtynetS.size() - 2];
  const Layer& last = kPtynetS.back();
  const DeviceMemory x = memory(conv.inputs(1));
  const DeviceMemory w = memory(conv.weights());
  const DeviceMemory last_w = memory(last.weights());
  const DeviceMemory y = memory(last.outputs(1));
  const twin::Counting counting;
  fused_thin({conv.shape(1), last.shape(1)}, kPrecision,
             {x.data(), w.data(), nullptr, last_w.data(), nullptr, y.data()}, nullptr);
  const twin::Counts& c = counting.counts();
  const double bytes = static_cast<double>(x.bytes() + w.bytes() + last_w.bytes() + y.bytes());
  return {"ptynet-s",
          text(conv.size, "px/", conv.in, "->", conv.out, "->", last.out, "/k", conv.kernel, "/k",
               last.kernel),
          "fused",
          c.global_sectors,
          static_cast<std::int64_t>(std::ceil(bytes / kSectorBytes)),
          c.shared_waves,
          c.shared_accesses,
          c.matrix_instructions,
          0};
}

}  // namespace

std::vector<LayerCounts> count_layers() {
  std::vector<LayerCounts> out;
  count_network("ptynet-s", kPtynetS, out);
  out.push_back(count_fused());
  count_network("ptynet-b", kPtynetB, out);
  return out;
}

}  // namespace ptynet::cuda::tests
