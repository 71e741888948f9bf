#include "layers/architecture.h"

namespace ptynet {

namespace {

struct Size {
  std::int64_t h, w, c;
  bool learned = false;  // layers with parameters came before
};

constexpr std::int64_t kMaxExtent = 1 << 16;

std::string label(const LayerSpec& layer) {
  switch (layer.type) {
    case LayerType::kConv2d:
    case LayerType::kConvTranspose2d:
    case LayerType::kBatchNorm2d:
      return layer.name;
    case LayerType::kActivation:
      return "activation";
    case LayerType::kMaxPool2d:
      return "max_pool2d";
    case LayerType::kUpsampleBilinear2d:
      return "upsample_bilinear2d";
    case LayerType::kDropout:
      return "dropout";
    case LayerType::kResidual:
      return "residual";
    case LayerType::kBranches:
      return "branches";
  }
  return "layer";
}

class Tracer {
 public:
  Size sequence(const std::vector<LayerSpec>& layers, Size size) {
    for (const LayerSpec& layer : layers) {
      const bool follows = &layer != &layers.front();
      if (layer.type == LayerType::kActivation && follows) steps.back().activated = true;
      size = step(layer, size);
    }
    return size;
  }
  std::vector<LayerTrace> steps;

 private:
  Size step(const LayerSpec& layer, Size in) {
    Size out = in;
    double pixels = 0;  // at which a convolution multiplies its whole kernel
    switch (layer.type) {
      case LayerType::kConv2d:
        expect_channels(layer, in);
        out = {convolved(layer, in.h), convolved(layer, in.w), layer.out, true};
        pixels = static_cast<double>(out.h * out.w);
        break;
      case LayerType::kConvTranspose2d:
        expect_channels(layer, in);
        out = {(in.h - 1) * layer.stride - 2 * layer.padding + layer.kernel,
               (in.w - 1) * layer.stride - 2 * layer.padding + layer.kernel, layer.out, true};
        pixels = static_cast<double>(in.h * in.w);
        break;
      case LayerType::kBatchNorm2d:
        expect_channels(layer, in);
        out.learned = true;
        break;
      case LayerType::kMaxPool2d:
        out = {in.h / layer.kernel, in.w / layer.kernel, in.c, in.learned};
        break;
      case LayerType::kUpsampleBilinear2d:
        out = {in.h * layer.scale, in.w * layer.scale, in.c, in.learned};
        break;
      case LayerType::kActivation:
      case LayerType::kDropout:
        break;
      case LayerType::kResidual:
        out = residual(layer, in);
        break;
      case LayerType::kBranches:
        out = branches(layer, in);
        break;
    }
    if (out.h < 1 || out.w < 1 || out.h > kMaxExtent || out.w > kMaxExtent) {
      fail_input("layer '", label(layer), "' turns ", in.h, "x", in.w, " pixels into ", out.h, "x",
                 out.w, ": frames of this size do not fit the network");
    }
    const double kernel = pixels > 0 ? weights(layer) : 0;
    steps.push_back({label(layer),
                     layer.type,
                     {1, in.h, in.w, in.c},
                     {1, out.h, out.w, out.c},
                     kernel,
                     2 * pixels * kernel,
                     false,
                     !in.learned});
    return out;
  }

  // Both ways, each input channel of a group meets each output channel of it at every tap.
  static double weights(const LayerSpec& layer) {
    const std::int64_t inputs = layer.in / layer.groups;
    return static_cast<double>(layer.kernel * layer.kernel * inputs) *
           static_cast<double>(layer.out);
  }

  static std::int64_t convolved(const LayerSpec& layer, std::int64_t extent) {
    const std::int64_t room = extent + 2 * layer.padding - layer.kernel;
    return room < 0 ? 0 : room / layer.stride + 1;
  }

  static void expect_channels(const LayerSpec& layer, Size in) {
    if (layer.in != in.c) {
      fail_input("layer '", layer.name, "' takes ", layer.in, " channels, but ", in.c, " reach it");
    }
  }

  static void expect_equal(const LayerSpec& layer, Size a, Size b, bool channels) {
    if (a.h != b.h || a.w != b.w || (channels && a.c != b.c)) {
      fail_input("layer '", label(layer), "': its parts give ", a.h, "x", a.w, "x", a.c, " and ",
                 b.h, "x", b.w, "x", b.c, ", which do not fit together");
    }
  }

  Size residual(const LayerSpec& layer, Size in) {
    const Size main = sequence(layer.parts[0], in);
    expect_equal(layer, main, sequence(layer.parts[1], in), true);
    return main;
  }

  Size branches(const LayerSpec& layer, Size in) {
    Size out = sequence(layer.parts[0], in);
    for (std::size_t i = 1; i < layer.parts.size(); ++i) {
      const Size part = sequence(layer.parts[i], in);
      expect_equal(layer, out, part, false);
      out.c += part.c;
    }
    return out;
  }
};

}  // namespace

std::vector<LayerTrace> trace(const Architecture& architecture, std::int64_t h, std::int64_t w) {
  if (h < 1 || w < 1 || h > kMaxExtent || w > kMaxExtent) {
    fail_input("frames have 1 to ", kMaxExtent, " rows and columns, found ", h, "x", w);
  }
  Tracer tracer;
  const Size out = tracer.sequence(architecture.layers, {h, w, 1});
  if (out.h != h || out.w != w) {
    fail_input("network '", architecture.name, "' turns frames of ", h, "x", w,
               " pixels into patches of ", out.h, "x", out.w,
               ": use frames whose size its strides divide, or --crop");
  }
  for (const OutputHead& head : {architecture.amplitude, architecture.phase}) {
    if (head.channel >= out.c) {
      fail_input("network '", architecture.name, "' has ", out.c,
                 " output channels, but a head reads channel ", head.channel);
    }
  }
  return tracer.steps;
}

}  // namespace ptynet
