#include "tests/cuda_on_cpu/count_layers.h"

#include <cstdio>
#include <vector>

#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/thin_conv.h"
#include "tests/cuda_on_cpu/device_memory.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/ptynet_layers.h"
#include "tests/cuda_on_cpu/twin.h"

namespace ptynet::cuda::tests {

namespace {

// The pages of what a kernel writes and reads; contents do not matter here.
DeviceMemory memory(double elements, Precision precision) {
  DeviceMemory out(static_cast<std::size_t>(elements) * element_bytes(precision));
  out.fill(0);
  return out;
}

void count_layer(const Layer& layer, Precision precision, int multiprocessors) {
  constexpr double kProductsPerInstruction = 16 * 8 * 16;
  constexpr double kSectorBytes = 32;
  const ConvShape shape = layer.shape(1);
  const DeviceMemory x = memory(layer.inputs(1), precision);
  const DeviceMemory y = memory(layer.outputs(1), precision);
  const double weights =
      layer.transposed ? static_cast<double>(packed_weights(shape)) : layer.weights();
  const DeviceMemory w = memory(weights, precision);
  const ConvOperands operands{x.data(), w.data(), nullptr, y.data()};
  const bool thin =
      layer.transposed ? is_thin_conv_transpose2d(shape) : is_thin_conv2d(shape, precision);
  const ConvTile tile =
      (layer.transposed ? suggest_transposed_tile
                        : static_cast<decltype(&suggest_transposed_tile)>(suggest_tile))(
          shape, precision, multiprocessors);
  const twin::Counting counting;
  if (thin) {
    (layer.transposed ? thin_conv_transpose2d : thin_conv2d)(shape, precision, operands, nullptr);
  } else {
    (layer.transposed ? conv_transpose2d : conv2d)(shape, precision, operands, tile, nullptr);
  }
  const twin::Counts& c = counting.counts();
  const double bytes = static_cast<double>(x.bytes() + w.bytes() + y.bytes());
  const std::string what =
      text(layer.size, "px ", layer.in, "->", layer.out, " k", layer.kernel, " s", layer.stride,
           " g", layer.groups, layer.transposed ? " transposed" : "");
  const std::string used = thin ? "thin" : text(tile.pixels_per_warp, "x", tile.channels);
  std::printf(
      "%-30s %7s %8.2f %9.2f %8.2f\n", what.c_str(), used.c_str(),
      static_cast<double>(c.global_sectors) * kSectorBytes / bytes,
      static_cast<double>(c.shared_waves) / static_cast<double>(c.shared_accesses + 1),
      static_cast<double>(c.matrix_instructions) * kProductsPerInstruction / (layer.flop(1) / 2));
  std::fflush(stdout);
}

}  // namespace

void count_layers(const std::string& network, int multiprocessors, double most_flop) {
  std::printf("%s, batch 1, fp16\n%-30s %7s %8s %9s %8s\n", network.c_str(), "layer", "tile",
              "sectors", "conflicts", "products");
  for (const Layer& layer : network == "ptynet-b" ? kPtynetB : kPtynetS) {
    if (layer.flop(1) <= most_flop) count_layer(layer, Precision::kF16, multiprocessors);
  }
}

}  // namespace ptynet::cuda::tests
