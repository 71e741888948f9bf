// What the hand-written kernels ask of the memories and matrix units for each convolution of a
// network, beside the least that the shapes allow, counted on the twin.
#pragma once

#include <string>

namespace ptynet::cuda::tests {

// Prints a line per layer of "ptynet-s" or "ptynet-b", fp16, one frame, tiles as suggested for so
// many multiprocessors:
//   sectors    of 32 bytes of global memory, over those of x, w and y once
//   conflicts  passes through shared memory per access of up to 128 bytes: 1 without bank conflicts
//   products   of matrix instructions, over those of the convolution
void count_layers(const std::string& network, int multiprocessors, double most_flop);

}  // namespace ptynet::cuda::tests
