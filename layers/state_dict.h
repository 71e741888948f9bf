// Named tensors of a network, in PyTorch's names and layouts.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "layers/architecture.h"

namespace ptynet {

// name -> f32 host array: convolution weights [co, ci / groups, kh, kw], transposed ones
// [ci, co / groups, kh, kw], everything else [c].
using StateDict = std::map<std::string, Array>;

struct TensorSpec {
  std::string name;
  Shape shape;
};

// The tensors a network needs, in the order of its layers.
std::vector<TensorSpec> tensors_of(const Architecture& architecture);

// Number of trainable values (running statistics aside).
std::int64_t parameter_count(const Architecture& architecture);

// Throws Error (input) that lists missing tensors, wrong shapes, tensors that hold NaN or infinity
// and negative variances. Returns the names of tensors the network does not use.
std::vector<std::string> check_state(const Architecture& architecture, const StateDict& state);

// He-scaled uniform weights and non-trivial batch-norm statistics, reproducible: the stream of
// CounterRandom(seed, tensor name). Deep residual networks want a gain below 1 (ptynet-b: 0.6).
StateDict random_state(const Architecture& architecture, std::uint64_t seed, double gain = 1.0);

// What training starts from, as published: convolutions uniform within +-sqrt(6 / (fan_in +
// fan_out)) (Glorot and Bengio, AISTATS 2010; fans of the stored weight as PyTorch's
// xavier_uniform_ counts them: ci / groups * k * k and co * k * k), transposed ones normal with
// standard deviation 0.02, biases 0, batch norms the identity. The streams of
// CounterRandom(seed, tensor name); the normal ones by Box and Muller.
StateDict initial_state(const Architecture& architecture, std::uint64_t seed);

// The same network without batch norms that directly follow a convolution: their scale and shift
// go into the convolution's weights and bias. Statistics must be fixed (inference). Throws Error
// (input) where a batch norm has other channels than the convolution before it.
void fold_batch_norm(Architecture& architecture, StateDict& state);

}  // namespace ptynet
