// A network as a JSON file describes it: input rule, tree of layers, output heads.
//
//   {"name": "...",
//    "input": {"quantity": "amplitude|intensity", "scale": "none|frame_max|scan_max",
//              "epsilon": 1e-6, "factor": 1e4},
//    "layers": [{"type": "conv2d", "name": ..., "in", "out", "kernel", "stride", "padding",
//                "groups", "bias"}, {"type": "conv_transpose2d", ...as conv2d},
//               {"type": "batch_norm2d", "name", "channels", "eps", "momentum"},
//               {"type": "leaky_relu", "slope"}, {"type": "hardtanh", "min", "max"},
//               {"type": "relu" | "sigmoid" | "tanh"}, {"type": "max_pool2d", "kernel"},
//               {"type": "upsample_bilinear2d", "scale"}, {"type": "dropout", "p"},
//               {"type": "residual", "main": [...], "shortcut": [...]},
//               {"type": "branches", "branches": [[...], ...]}],
//    "output": {"amplitude": {"channel", "scale", "offset"}, "phase": {...}}}
//
// Names are those of the published state dicts: a layer owns "<name>.weight" and so on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/backend.h"

namespace ptynet {

enum class LayerType : std::uint8_t {
  kConv2d,
  kConvTranspose2d,
  kBatchNorm2d,
  kActivation,
  kMaxPool2d,
  kUpsampleBilinear2d,
  kDropout,
  kResidual,
  kBranches
};

struct LayerSpec {
  LayerType type = LayerType::kActivation;
  std::string name;  // of layers that own tensors
  std::int64_t in = 0, out = 0, kernel = 0, stride = 1, padding = 0, groups = 1;
  bool bias = false;
  float epsilon = 1e-5F, momentum = 0.1F;     // batch norm, of `in` channels
  Activation activation;                      // fused, when built, into the layer before
  std::int64_t scale = 1;                     // upsampling
  float probability = 0;                      // dropout: does nothing in inference
  std::vector<std::vector<LayerSpec>> parts;  // residual: main and shortcut; branches: each
};

struct Architecture {
  std::string name;
  InputRule input;
  OutputHead amplitude;
  OutputHead phase;
  std::vector<LayerSpec> layers;
  std::string json;  // as it was read
};

// Throws Error (input) that names the layer: unknown types, keys missing or out of range, names
// used twice, trees deeper than 32.
Architecture parse_architecture(std::string_view json);

// ptynet-s, ptynet-b, ptychonn, ptychonn-small-phase, ptychonet.
std::vector<std::string> built_in_architectures();
// Throws Error (input) listing the names there are.
Architecture built_in_architecture(std::string_view name);

// ptynet (root, frame maximum), ptychonn (counts as they are), hxn (root of counts / scan maximum
// * 1e4). Throws Error (input) listing the names there are.
InputRule named_input_rule(std::string_view name);

// Where a convolution or another layer stands, in the order of execution.
struct LayerTrace {
  std::string name;  // of the layer, or its type where it has none
  LayerType type;
  Shape input, output;     // [1, h, w, c] for one frame
  double weights = 0;      // numbers of the kernel of a convolution
  double flops = 0;        // multiplications and additions of one frame, without taps on zeros
  bool activated = false;  // an activation follows directly
  bool first = false;      // no layer with parameters comes before it
};

// Follows one frame of h x w pixels through the tree. Throws Error (input) naming the layer whose
// channels or extents do not fit, or the heads' channels, or an output of another size than h x w.
std::vector<LayerTrace> trace(const Architecture& architecture, std::int64_t h, std::int64_t w);

}  // namespace ptynet
