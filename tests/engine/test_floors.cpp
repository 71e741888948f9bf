#include <algorithm>

#include "engine/floors.h"
#include "kernels/error.h"
#include "tests/catch.h"

using namespace ptynet;
using Catch::Contains;

namespace {

constexpr MachineFigures kMachine{2e12, 100e12, 0.5, 10e12};

// Three convolutions, one of them transposed, and an addition.
Architecture residual_network() {
  return parse_architecture(R"({
    "name": "small",
    "input": {"quantity": "amplitude", "scale": "frame_max", "epsilon": 1e-6},
    "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1}},
    "layers": [
      {"type": "conv2d", "name": "in", "in": 1, "out": 8, "kernel": 3, "stride": 2, "padding": 1,
       "groups": 1, "bias": true},
      {"type": "batch_norm2d", "name": "norm", "channels": 8, "eps": 1e-5, "momentum": 0.1},
      {"type": "leaky_relu", "slope": 0.2},
      {"type": "residual",
       "main": [{"type": "conv2d", "name": "grouped", "in": 8, "out": 8, "kernel": 3, "stride": 1,
                 "padding": 1, "groups": 2, "bias": false}],
       "shortcut": []},
      {"type": "conv_transpose2d", "name": "up", "in": 8, "out": 2, "kernel": 4, "stride": 2,
       "padding": 1, "groups": 1, "bias": true}]})");
}

std::vector<std::string> names(const Floors& found) {
  std::vector<std::string> out;
  for (const LayerFloor& layer : found.layers) out.push_back(layer.layer);
  return out;
}

}  // namespace

TEST_CASE("bytes and operations of layers are those counted by hand") {
  const Floors found = floors(residual_network(), {3, 16, 32}, Precision::kF16, kMachine);
  // Batch norm and activation are done by the convolution before them.
  CHECK(names(found) == std::vector<std::string>{"in", "grouped", "residual", "up"});

  // 3 frames of 16 x 32 in, 8 x 16 x 8 out, 72 weights, 2 bytes each; 8 biases of 4 bytes.
  CHECK(found.layers[0].bytes == 2 * (3 * (512 + 1024) + 72) + 32);
  // Both ways at 8 x 16 pixels: 9 taps of 1 input for each of 8 outputs.
  CHECK(found.layers[0].flops == 2 * 3 * 128 * 72);
  CHECK(found.layers[0].output == Shape{3, 8, 16, 8});

  // Two groups of 4 to 4 channels: 288 weights.
  CHECK(found.layers[1].bytes == 2 * (3 * (1024 + 1024) + 288) + 32);
  CHECK(found.layers[1].flops == 2 * 3 * 128 * 288);
  // The sum is stored by the convolution; the other summand is read once.
  CHECK(found.layers[2].bytes == 2 * 3 * 1024);
  CHECK(found.layers[2].flops == 0);

  // A transposed convolution multiplies at its input's pixels: 8 x 16, 16 taps, 8 to 2 channels.
  CHECK(found.layers[3].bytes == 2 * (3 * (1024 + 1024) + 256) + 8);
  CHECK(found.layers[3].flops == 2 * 3 * 128 * 256);
}

TEST_CASE("a floor is the longer of the two times") {
  const Floors half = floors(residual_network(), {3, 16, 32}, Precision::kBf16, kMachine);
  REQUIRE(half.multipliers.size() == 2);
  CHECK(half.multipliers[0].name == "wgmma");
  CHECK(half.multipliers[1].name == "mma.sync");
  CHECK(half.multipliers[1].flops == 50e12);
  const LayerFloor& grouped = half.layers[1];
  // 12 896 bytes at 2 TB/s, 221 184 operations at 100 and at 50 TFLOP/s.
  CHECK(grouped.memory_s == Approx(6.448e-9));
  CHECK(grouped.arithmetic_s[0] == Approx(2.21184e-9));
  CHECK(grouped.arithmetic_s[1] == Approx(4.42368e-9));
  CHECK(grouped.is_memory_bound(0));
  CHECK(grouped.least_s(1) == grouped.memory_s);

  const MachineFigures slow{2e12, 20e12, 0.5, 10e12};
  const Floors bound = floors(residual_network(), {3, 16, 32}, Precision::kBf16, slow);
  CHECK_FALSE(bound.layers[1].is_memory_bound(0));
  CHECK(bound.layers[1].least_s(0) == Approx(11.0592e-9));
  CHECK(bound.least_s(0) == Approx(bound.layers[0].memory_s + bound.layers[1].arithmetic_s[0] +
                                   bound.layers[2].memory_s + bound.layers[3].arithmetic_s[0]));
}

TEST_CASE("precisions differ in bytes and in what multiplies") {
  const auto of = [](Precision precision) {
    return floors(residual_network(), {1, 16, 32}, precision, kMachine);
  };
  CHECK(of(Precision::kTf32).layers[0].bytes == 4 * (512 + 1024 + 72) + 32);
  CHECK(of(Precision::kTf32).multipliers[0].flops == 50e12);
  CHECK(of(Precision::kTf32).multipliers[1].flops == 25e12);
  CHECK(of(Precision::kF32).layers[0].bytes == 4 * (512 + 1024 + 72) + 32);
  REQUIRE(of(Precision::kF32).multipliers.size() == 1);
  CHECK(of(Precision::kF32).multipliers[0].name == "fma");
  CHECK(of(Precision::kF32).multipliers[0].flops == 10e12);
}

TEST_CASE("a step of fine-tuning has the rows and bytes counted by hand") {
  const Floors found = step_floors(residual_network(), {3, 16, 32}, Precision::kTf32, kMachine);
  const std::vector<std::string> expected{"input_rule",
                                          "in",
                                          "norm",
                                          "grouped",
                                          "residual",
                                          "up",
                                          "output_heads",
                                          "compose_patches: exit waves",
                                          "transform",
                                          "far_field_intensity",
                                          "intensity_loss: good pixels",
                                          "intensity_loss: sums and slopes",
                                          "far_field_gradient",
                                          "adjoint transform",
                                          "exit_wave_gradient",
                                          "output_heads_gradient",
                                          "gradient by w, up",
                                          "gradient by x, up",
                                          "gradient by x, residual",
                                          "gradient by w, grouped",
                                          "gradient by x, grouped",
                                          "gradient by x, norm",
                                          "gradient by w, in",
                                          "adam: finite gradients",
                                          "adam"};
  CHECK(names(found) == expected);
  const auto of = [&](const std::string& name) -> const LayerFloor& {
    return *std::find_if(found.layers.begin(), found.layers.end(),
                         [&](const LayerFloor& layer) { return layer.layer == name; });
  };
  constexpr double kPixels = 3 * 16 * 32;
  constexpr double kWide = 3 * 8 * 16 * 8;  // numbers between the convolutions
  // The batch's own statistics: what "in" has stored is read again, and stored again.
  CHECK(of("norm").bytes == 4 * 2 * kWide);
  // Gradient and value, amplitude and phase, in; two channels out.
  CHECK(of("output_heads_gradient").bytes == 4 * (4 + 2) * kPixels);
  // Output's gradient, input, 256 weights, 2 biases. No activation follows.
  CHECK(of("gradient by w, up").bytes == 4 * (2 * kPixels + kWide + 256 + 2));
  CHECK(of("gradient by x, up").bytes == 4 * (2 * kPixels + kWide + 256));
  CHECK(of("gradient by x, up").flops == 2 * 3 * 128 * 256);
  CHECK(of("gradient by w, grouped").bytes == 4 * (2 * kWide + 288 + 8));
  CHECK(of("gradient by x, residual").bytes == 4 * kWide);
  CHECK(of("gradient by x, norm").bytes == 4 * 3 * kWide);
  // Waves in and out, and 8 bytes of the probe for each pixel of one frame.
  CHECK(of("exit_wave_gradient").bytes == 4 * (2 + 2 + 2) * kPixels + 8 * 512);
  CHECK(of("far_field_gradient").bytes == 4 * (2 + 1 + 2) * kPixels);
  // 5 N log2 N in fp32, whatever the precision of the network.
  CHECK(of("transform").flops == 5 * kPixels * 9);
  CHECK(of("transform").arithmetic_s[0] == Approx(5 * kPixels * 9 / kMachine.fp32_flops));
  // 72 + 8 + 16 + 288 + 256 + 2 parameters, seven numbers each.
  CHECK(of("adam").bytes == 4 * 7 * 642);
  CHECK(of("adam: finite gradients").bytes == 4 * 642);
}

TEST_CASE("gradients read a convolution's output where an activation follows") {
  const auto bytes_by_w = [](const std::string& activation) {
    const Architecture network = parse_architecture(R"({
      "name": "pair", "input": {"quantity": "intensity", "scale": "none"},
      "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1}},
      "layers": [
        {"type": "conv2d", "name": "a", "in": 1, "out": 2, "kernel": 1, "stride": 1, "padding": 0,
         "groups": 1, "bias": true})" + activation + "]}");
    const Floors found = step_floors(network, {1, 4, 4}, Precision::kF32, kMachine);
    const auto end = found.layers.end();
    const auto at = std::find_if(found.layers.begin(), end, [](const LayerFloor& layer) {
      return layer.layer == "gradient by w, a";
    });
    return at == end ? -1.0 : at->bytes;
  };
  const double plain = 4 * (16 + 32 + 2 + 2);
  CHECK(bytes_by_w("") == plain);
  CHECK(bytes_by_w(R"(, {"type": "relu"})") == plain + 4 * 32);
}

TEST_CASE("floors of what cannot be are refused") {
  const Architecture network = residual_network();
  CHECK_THROWS_WITH(floors(network, {0, 16, 32}, Precision::kF16, kMachine),
                    Contains("[0, 16, 32]"));
  CHECK_THROWS_WITH(floors(network, {1, 15, 32}, Precision::kF16, kMachine), Contains("15x32"));
  MachineFigures machine;
  machine.bytes_per_s = 0;
  CHECK_THROWS_WITH(floors(network, {1, 16, 32}, Precision::kF16, machine), Contains("above 0"));
}
