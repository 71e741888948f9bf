#include "tests/cuda_on_cpu/count_layers.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/cuda/conv_candidates.h"
#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/conv_weight_gradient.h"
#include "kernels/cuda/conv_wgmma.h"
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

std::string name_of(const Layer& layer, const char* gradient = "") {
  return text(layer.size, "px/", layer.in, "->", layer.out, "/k", layer.kernel, "/s", layer.stride,
              "/g", layer.groups, layer.transposed ? "/transposed" : "", gradient);
}

bool is_thin(const ConvTask& task) {
  return task.transposed ? is_thin_conv_transpose2d(task.shape)
                         : is_thin_conv2d(task.shape, kPrecision);
}

// What counted, beside the least of memory, and of matrix instructions for so many products.
LayerCounts counts_of(const twin::Counts& c, double bytes, double products) {
  LayerCounts out{};
  out.sectors = c.global_sectors;
  out.least_sectors = static_cast<std::int64_t>(std::ceil(bytes / kSectorBytes));
  out.waves = c.shared_waves;
  out.accesses = c.shared_accesses;
  out.products = c.matrix_instructions;
  out.least_products = static_cast<std::int64_t>(std::ceil(products / kProductsPerInstruction));
  return out;
}

ConvTile tile_of(const ConvTask& task) {
  return task.transposed ? suggest_transposed_tile(task.shape, kPrecision, kMultiprocessors)
                         : suggest_tile(task.shape, kPrecision, kMultiprocessors);
}

void run(const ConvTask& task, const ConvOperands& operands) {
  if (is_thin(task)) {
    (task.transposed ? thin_conv_transpose2d : thin_conv2d)(task.shape, kPrecision, operands,
                                                            nullptr);
  } else {
    (task.transposed ? conv_transpose2d : conv2d)(task.shape, kPrecision, operands, tile_of(task),
                                                  nullptr);
  }
}

// The convolution `task` of a layer, or of its gradient.
LayerCounts count_convolution(const Layer& layer, const ConvTask& task) {
  const bool thin = is_thin(task);
  const bool gradient = task.result == ConvResult::kInputGradient;
  const DeviceMemory x = memory(gradient ? layer.outputs(1) : layer.inputs(1));
  const DeviceMemory y = memory(gradient ? layer.inputs(1) : layer.outputs(1));
  const DeviceMemory w = memory(
      task.transposed && !thin ? static_cast<double>(packed_weights(task.shape)) : layer.weights());
  const twin::Counting counting;
  run(task, {x.data(), w.data(), nullptr, y.data()});
  LayerCounts out =
      counts_of(counting.counts(), static_cast<double>(x.bytes() + w.bytes() + y.bytes()),
                thin ? 0 : layer.flop(1) / 2);
  out.layer = name_of(layer, gradient ? "/dx" : "");
  const ConvTile tile = tile_of(task);
  out.tile = thin ? "thin" : text(tile.pixels_per_warp, "x", tile.channels);
  return out;
}

// Layers that arithmetic bounds, and whose groups have channels enough for wgmma to be fast.
constexpr ConvTile kWgmmaTile{64, 64};
bool is_for_wgmma(const Layer& layer) {
  return !layer.transposed && layer.kernel > 1 && layer.stride == 1 &&
         layer.out / layer.groups >= kWgmmaTile.channels;
}

LayerCounts count_wgmma(const Layer& layer) {
  const DeviceMemory x = memory(layer.inputs(1));
  const DeviceMemory y = memory(layer.outputs(1));
  const DeviceMemory w = memory(layer.weights());
  const twin::Counting counting;
  wgmma_conv2d(layer.shape(1), kPrecision, {x.data(), w.data(), nullptr, y.data()}, kWgmmaTile,
               nullptr);
  LayerCounts out = counts_of(
      counting.counts(), static_cast<double>(x.bytes() + w.bytes() + y.bytes()), layer.flop(1) / 2);
  out.layer = name_of(layer, "/wgmma");
  out.tile = text(kWgmmaTile.pixels_per_warp, "x", kWgmmaTile.channels);
  return out;
}

// The convolution that has a layer's weights: of a transposed one, from its output to its input.
ConvShape convolution_of(const Layer& layer) {
  ConvShape out = layer.shape(1);
  if (!layer.transposed) return out;
  out.h = out.w = layer.output_size();
  std::swap(out.ci, out.co);
  return out;
}

LayerCounts count_layer(const Layer& layer) {
  return count_convolution(layer, {layer.shape(1), kPrecision, layer.transposed});
}

LayerCounts count_input_gradient(const Layer& layer) {
  const ConvShape conv = convolution_of(layer);
  return count_convolution(layer, {layer.transposed ? conv : input_gradient_of(conv), kPrecision,
                                   !layer.transposed, ConvResult::kInputGradient});
}

LayerCounts count_weight_gradient(const Layer& layer) {
  const ConvShape conv = convolution_of(layer);
  DeviceMemory x = memory(layer.inputs(1));
  DeviceMemory dz = memory(layer.outputs(1));
  if (layer.transposed) std::swap(x, dz);
  const auto floats = [](double count) { return memory(count * sizeof(float) / sizeof(Half)); };
  const DeviceMemory dw = floats(layer.weights());
  const std::int64_t parts_count = weight_gradient_parts(conv, kPrecision, kMultiprocessors);
  const DeviceMemory parts = floats(static_cast<double>(parts_count));
  const twin::Counting counting;
  weight_gradient(
      conv, kPrecision,
      {x.data(), dz.data(), static_cast<float*>(dw.data()), static_cast<float*>(parts.data())},
      kMultiprocessors, nullptr);
  LayerCounts out =
      counts_of(counting.counts(), static_cast<double>(x.bytes() + dz.bytes() + dw.bytes()),
                layer.flop(1) / 2);
  out.layer = name_of(layer, "/dw");
  const double parts_each = static_cast<double>(parts.bytes()) / static_cast<double>(dw.bytes());
  out.tile = text(std::max(1.0, parts_each), "x");
  return out;
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
  LayerCounts out =
      counts_of(counting.counts(),
                static_cast<double>(x.bytes() + first_w.bytes() + second_w.bytes() + y.bytes()),
                second.transposed ? 0 : second.flop(1) / 2);
  out.layer = text(first.size, "px/", first.in, "->", first.out, "->", second.out, "/k",
                   first.kernel, "/k", second.kernel);
  out.tile = tile;
  return out;
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

// Forward layers, then gradients, of which the first layer has none by its input.
void add_network(const char* network, const std::vector<Layer>& layers,
                 std::vector<LayerCounts>& out) {
  const std::size_t first = out.size();
  for (const Layer& layer : layers) {
    out.push_back(count_layer(layer));
    if (is_for_wgmma(layer)) out.push_back(count_wgmma(layer));
  }
  if (&layers == &kPtynetS) {
    out.push_back(count_first());
    out.push_back(count_last());
  }
  for (const Layer& layer : layers) {
    if (layer.in > 1) out.push_back(count_input_gradient(layer));
    out.push_back(count_weight_gradient(layer));
  }
  for (std::size_t i = first; i < out.size(); ++i) out[i].network = network;
}

}  // namespace

std::vector<LayerCounts> count_layers() {
  std::vector<LayerCounts> out;
  add_network("ptynet-s", kPtynetS, out);
  add_network("ptynet-b", kPtynetB, out);
  return out;
}

}  // namespace ptynet::cuda::tests
