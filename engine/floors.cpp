#include "engine/floors.h"

#include <algorithm>
#include <cmath>

#include "layers/state_dict.h"

namespace ptynet {

namespace {

constexpr double kReal = sizeof(float);
constexpr double kComplex = 2 * kReal;

std::vector<Multiplier> multipliers_of(const MachineFigures& machine, Precision precision) {
  if (precision == Precision::kF32) return {{"fma", machine.fp32_flops}};
  const double share = precision == Precision::kTf32 ? 0.5 : 1.0;
  const double wgmma = share * machine.half_flops;
  return {{"wgmma", wgmma}, {"mma.sync", machine.mma_sync_share * wgmma}};
}

// What a row of the table says before times are made of it.
struct Work {
  std::string layer;
  Shape input, output;  // [n, h, w, c]
  double bytes = 0;
  double flops = 0;
  bool fp32 = false;  // whatever the precision
};

// The kernels of a network for n frames.
class Kernels {
 public:
  Kernels(const Architecture& architecture, const Shape& frames, Precision precision)
      : architecture_(architecture),
        n_(frames[0]),
        element_(static_cast<double>(size_of(array_type(precision)))),
        trace_(trace(architecture, frames[1], frames[2])) {}

  std::vector<Work> forward() const {
    std::vector<Work> out;
    for (const LayerTrace& layer : trace_) add(out, of(layer, forward_bytes(layer)));
    return out;
  }

  std::vector<Work> step() const {
    const Shape pixels = trace_.front().input.with_first(n_);
    const Shape image = trace_.back().output.with_first(n_);
    std::vector<Work> out;
    add(out, {"input_rule", pixels, pixels, numbers(pixels) * (kReal + element_)});
    for (const LayerTrace& layer : trace_) {
      double bytes = forward_bytes(layer);
      if (layer.type == LayerType::kBatchNorm2d) bytes = element_ * 2 * outputs(layer);
      add(out, of(layer, bytes));
    }
    const double heads = 2 * kReal * numbers(pixels);
    add(out, {"output_heads", image, pixels, element_ * numbers(image) + heads});
    add_diffraction(out, pixels);
    // Gradients and values of both heads.
    add(out, {"output_heads_gradient", pixels, image, 2 * heads + element_ * numbers(image)});
    std::for_each(trace_.rbegin(), trace_.rend(),
                  [&](const LayerTrace& layer) { add_gradients(out, layer); });
    // The second reads parameters, gradients and two moments, and writes all but the gradients.
    const Shape parameters{1, 1, 1, parameter_count(architecture_)};
    add(out, {"adam: finite gradients", parameters, parameters, kReal * numbers(parameters)});
    add(out, {"adam", parameters, parameters, 7 * kReal * numbers(parameters)});
    return out;
  }

 private:
  static double numbers(const Shape& shape) { return static_cast<double>(shape.elements()); }
  double inputs(const LayerTrace& layer) const {
    return static_cast<double>(n_) * numbers(layer.input);
  }
  double outputs(const LayerTrace& layer) const {
    return static_cast<double>(n_) * numbers(layer.output);
  }
  Work of(const LayerTrace& layer, double bytes) const {
    return {layer.name, layer.input.with_first(n_), layer.output.with_first(n_), bytes,
            static_cast<double>(n_) * layer.flops};
  }
  static void add(std::vector<Work>& to, Work work) {
    if (work.bytes > 0) to.push_back(std::move(work));
  }

  // 0 for what a convolution does on the way.
  double forward_bytes(const LayerTrace& layer) const {
    switch (layer.type) {
      case LayerType::kConv2d:
      case LayerType::kConvTranspose2d:
        return element_ * (inputs(layer) + outputs(layer) + layer.weights) +
               kReal * static_cast<double>(layer.output[3]);
      case LayerType::kMaxPool2d:
      case LayerType::kUpsampleBilinear2d:
        return element_ * (inputs(layer) + outputs(layer));
      case LayerType::kResidual:
        return element_ * outputs(layer);
      case LayerType::kBatchNorm2d:
      case LayerType::kActivation:
      case LayerType::kDropout:
      case LayerType::kBranches:
        return 0;
    }
    return 0;
  }

  // From both heads to the loss and back.
  static void add_diffraction(std::vector<Work>& out, const Shape& pixels) {
    const double p = numbers(pixels);
    const double frame = static_cast<double>(pixels[1] * pixels[2]);  // the probe's pixels
    const double butterflies = 5 * p * std::log2(frame);
    const auto add_row = [&](const char* name, double bytes, double flops = 0) {
      add(out, {name, pixels, pixels, bytes, flops, true});
    };
    add_row("compose_patches: exit waves", p * (2 * kReal + kComplex) + kComplex * frame);
    add_row("transform", 2 * kComplex * p, butterflies);
    add_row("far_field_intensity", p * (kComplex + kReal));
    add_row("intensity_loss: good pixels", kReal * p);
    add_row("intensity_loss: sums and slopes", 3 * kReal * p);
    add_row("far_field_gradient", p * (2 * kComplex + kReal));
    add_row("adjoint transform", 2 * kComplex * p, butterflies);
    add_row("exit_wave_gradient", p * (kComplex + 4 * kReal) + kComplex * frame);
  }

  void add_gradients(std::vector<Work>& out, const LayerTrace& layer) const {
    // Of its output: the gradient, and the value that an activation's slope is taken from.
    const double above = element_ * (layer.activated ? 2 : 1) * outputs(layer);
    Work by_w = of(layer, 0);
    by_w.layer = "gradient by w, " + layer.name;
    Work by_x = of(layer, 0);
    by_x.layer = "gradient by x, " + layer.name;
    switch (layer.type) {
      case LayerType::kConv2d:
      case LayerType::kConvTranspose2d:
        by_w.bytes = above + element_ * inputs(layer) +
                     kReal * (layer.weights + static_cast<double>(layer.output[3]));
        by_x.bytes = above + element_ * (inputs(layer) + layer.weights);
        break;
      case LayerType::kBatchNorm2d:
      case LayerType::kMaxPool2d:
        by_x.bytes = element_ * (2 * inputs(layer) + outputs(layer));
        break;
      case LayerType::kUpsampleBilinear2d:
        by_x.bytes = element_ * (inputs(layer) + outputs(layer));
        break;
      case LayerType::kResidual:
      case LayerType::kBranches:  // the parts' gradients are added
        by_x.bytes = element_ * inputs(layer);
        break;
      case LayerType::kActivation:
      case LayerType::kDropout:
        break;
    }
    add(out, std::move(by_w));
    if (!layer.first) add(out, std::move(by_x));
  }

  const Architecture& architecture_;
  std::int64_t n_;
  double element_;  // bytes
  std::vector<LayerTrace> trace_;
};

void expect_figures(const Shape& frames, const MachineFigures& machine) {
  if (frames.rank() != 3 || frames[0] < 1) {
    fail_input("floors are of frames [n, h, w] with n >= 1, found ", to_string(frames));
  }
  for (const double figure :
       {machine.bytes_per_s, machine.half_flops, machine.mma_sync_share, machine.fp32_flops}) {
    if (!(figure > 0)) fail_input("the figures of a machine are above 0, found ", figure);
  }
}

Floors timed(std::vector<Work> works, Precision precision, const MachineFigures& machine) {
  Floors out;
  out.multipliers = multipliers_of(machine, precision);
  for (Work& work : works) {
    LayerFloor floor{std::move(work.layer),
                     work.input,
                     work.output,
                     work.bytes,
                     work.flops,
                     work.bytes / machine.bytes_per_s,
                     {}};
    for (const Multiplier& multiplier : out.multipliers) {
      floor.arithmetic_s.push_back(work.flops /
                                   (work.fp32 ? machine.fp32_flops : multiplier.flops));
    }
    out.layers.push_back(std::move(floor));
  }
  return out;
}

}  // namespace

double Floors::least_s(std::size_t multiplier) const {
  double sum = 0;
  for (const LayerFloor& layer : layers) sum += layer.least_s(multiplier);
  return sum;
}

Floors floors(const Architecture& architecture, const Shape& frames, Precision precision,
              const MachineFigures& machine) {
  expect_figures(frames, machine);
  return timed(Kernels(architecture, frames, precision).forward(), precision, machine);
}

Floors step_floors(const Architecture& architecture, const Shape& frames, Precision precision,
                   const MachineFigures& machine) {
  expect_figures(frames, machine);
  return timed(Kernels(architecture, frames, precision).step(), precision, machine);
}

}  // namespace ptynet
