#include "engine/floors.h"

namespace ptynet {

namespace {

std::vector<Multiplier> multipliers_of(const MachineFigures& machine, Precision precision) {
  if (precision == Precision::kF32) return {{"fma", machine.fp32_flops}};
  const double share = precision == Precision::kTf32 ? 0.5 : 1.0;
  const double wgmma = share * machine.half_flops;
  return {{"wgmma", wgmma}, {"mma.sync", machine.mma_sync_share * wgmma}};
}

// Of n frames; 0 for what a convolution does on the way.
double bytes_of(const LayerTrace& layer, double n, double element) {
  const auto input = static_cast<double>(layer.input.elements());
  const auto output = static_cast<double>(layer.output.elements());
  switch (layer.type) {
    case LayerType::kConv2d:
    case LayerType::kConvTranspose2d:
      return element * (n * (input + output) + layer.weights) +
             sizeof(float) * static_cast<double>(layer.output[3]);
    case LayerType::kMaxPool2d:
    case LayerType::kUpsampleBilinear2d:
      return element * n * (input + output);
    case LayerType::kResidual:
      return element * n * output;
    case LayerType::kBatchNorm2d:
    case LayerType::kActivation:
    case LayerType::kDropout:
    case LayerType::kBranches:
      return 0;
  }
  return 0;
}

}  // namespace

double Floors::least_s(std::size_t multiplier) const {
  double sum = 0;
  for (const LayerFloor& layer : layers) sum += layer.least_s(multiplier);
  return sum;
}

Floors floors(const Architecture& architecture, const Shape& frames, Precision precision,
              const MachineFigures& machine) {
  if (frames.rank() != 3 || frames[0] < 1) {
    fail_input("floors are of frames [n, h, w] with n >= 1, found ", to_string(frames));
  }
  for (const double figure :
       {machine.bytes_per_s, machine.half_flops, machine.mma_sync_share, machine.fp32_flops}) {
    if (!(figure > 0)) fail_input("the figures of a machine are above 0, found ", figure);
  }
  Floors out;
  out.multipliers = multipliers_of(machine, precision);
  const auto n = static_cast<double>(frames[0]);
  for (const LayerTrace& layer : trace(architecture, frames[1], frames[2])) {
    const double bytes = bytes_of(layer, n, static_cast<double>(size_of(array_type(precision))));
    if (bytes == 0) continue;
    LayerFloor floor{layer.name,
                     layer.input.with_first(frames[0]),
                     layer.output.with_first(frames[0]),
                     bytes,
                     n * layer.flops,
                     bytes / machine.bytes_per_s,
                     {}};
    for (const Multiplier& multiplier : out.multipliers) {
      floor.arithmetic_s.push_back(floor.flops / multiplier.flops);
    }
    out.layers.push_back(std::move(floor));
  }
  return out;
}

}  // namespace ptynet
