// The least time that each layer of a network takes on a machine given by its figures. Everything
// follows from shapes: nothing is run, and no device is needed.
#pragma once

#include <string>
#include <vector>

#include "kernels/precision.h"
#include "layers/architecture.h"

namespace ptynet {

// Of a GPU; the defaults are those of an NVIDIA H200.
struct MachineFigures {
  double bytes_per_s = 4.3e12;  // of a large copy, read and written together
  double half_flops = 790e12;   // FLOP/s of dense fp16 and bf16 products by wgmma; tf32 has half
  double mma_sync_share = 0.6;  // of those that mma.sync reaches
  double fp32_flops = 67e12;    // FLOP/s outside the tensor cores
};

// What multiplies: wgmma and mma.sync where tensor cores do, fma in fp32.
struct Multiplier {
  std::string name;
  double flops = 0;  // FLOP/s
};

struct LayerFloor {
  std::string layer;    // its name, or its type where it has none; of learning: what is computed
  Shape input, output;  // [n, h, w, c]
  double bytes = 0;     // of input, weights and output once, in the precision; biases are fp32
  double flops = 0;     // multiplications and additions, without taps on zeros
  double memory_s = 0;  // for the bytes
  // For the flops, by each of Floors::multipliers.
  std::vector<double> arithmetic_s;

  bool is_memory_bound(std::size_t multiplier) const {
    return memory_s >= arithmetic_s[multiplier];
  }
  double least_s(std::size_t multiplier) const {
    return is_memory_bound(multiplier) ? memory_s : arithmetic_s[multiplier];
  }
};

struct Floors {
  std::vector<Multiplier> multipliers;
  std::vector<LayerFloor> layers;  // in the order of execution

  double least_s(std::size_t multiplier) const;  // sum over the layers
};

// Of n frames of h x w pixels. Activations, batch norm and concatenation cost nothing: a
// convolution does them on the way. An addition of two branches reads one of them once more, for
// the same reason. The input rule, the output heads and the time of a launch are left out.
// Throws Error (input) as trace() does, and when n or a figure is not above 0.
Floors floors(const Architecture& architecture, const Shape& frames, Precision precision,
              const MachineFigures& machine);

// Of a step of fine-tuning with one probe mode: input rule, layers, heads, the l1 loss through the
// diffraction, all gradients, Adam. A row is what one kernel does, each of its arrays moved once:
// - batch norm reads what the convolution has written, for its statistics are those of the batch;
// - a convolution's gradients read its output too where an activation follows, whose gradient is
//   taken on the way;
// - weights' gradients, and everything from the heads to the loss and back, are fp32.
// Transforms count 5 N log2 N operations of fp32; other operations outside convolutions: none.
// Throws Error (input) as floors() does.
Floors step_floors(const Architecture& architecture, const Shape& frames, Precision precision,
                   const MachineFigures& machine);

}  // namespace ptynet
