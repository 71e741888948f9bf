// The convolutions of PtyNet-S and PtyNet-B for frames of 128 x 128, and the least that each can
// cost.
#pragma once

#include <vector>

#include "kernels/cuda/conv.h"

namespace ptynet::cuda::tests {

struct Layer {
  int count;  // times the network has it
  bool transposed;
  int size;  // rows and columns of the input, px
  int in, out, kernel, stride, padding, groups;

  ConvShape shape(int batch) const {
    constexpr Activation kLeaky{ActivationKind::kLeakyRelu, 0.2F, 0};
    return {batch, size, size, in, out, kernel, stride, padding, groups, kLeaky};
  }
  int output_size() const {
    return transposed ? (size - 1) * stride - 2 * padding + kernel
                      : (size + 2 * padding - kernel) / stride + 1;
  }
  double inputs(int batch) const { return double{1} * batch * size * size * in; }
  double outputs(int batch) const {
    return double{1} * batch * output_size() * output_size() * out;
  }
  double weights() const { return double{1} * kernel * kernel * in * out / groups; }
  double flop(int batch) const {
    const double pixels =
        double{1} * batch * (transposed ? size * size : output_size() * output_size());
    return 2 * pixels * weights();
  }
};

inline const std::vector<Layer> kPtynetS{
    {1, false, 128, 1, 16, 3, 1, 1, 1},  {1, false, 128, 16, 16, 3, 2, 1, 1},
    {1, false, 64, 16, 16, 3, 1, 1, 1},  {1, false, 64, 16, 32, 3, 2, 1, 1},
    {1, false, 32, 32, 64, 3, 1, 1, 1},  {1, false, 32, 64, 128, 3, 2, 1, 1},
    {1, false, 16, 128, 64, 3, 1, 1, 1}, {1, false, 16, 64, 64, 3, 1, 1, 2},
    {1, true, 16, 64, 64, 4, 2, 1, 2},   {1, false, 32, 64, 64, 3, 1, 1, 1},
    {1, false, 32, 64, 64, 3, 1, 1, 2},  {1, true, 32, 64, 64, 4, 2, 1, 2},
    {1, false, 64, 64, 16, 3, 1, 1, 1},  {1, false, 64, 16, 2, 3, 1, 1, 2},
    {1, true, 64, 2, 2, 4, 2, 1, 2}};

inline const std::vector<Layer> kPtynetB{
    {1, false, 128, 1, 32, 5, 1, 2, 1},    {1, false, 128, 1, 32, 1, 1, 0, 1},
    {1, false, 128, 32, 32, 1, 1, 0, 1},   {1, false, 128, 32, 32, 2, 2, 0, 1},
    {6, false, 64, 32, 32, 5, 1, 2, 1},    {2, false, 64, 32, 32, 5, 1, 2, 2},
    {2, false, 64, 32, 32, 1, 1, 0, 1},    {2, false, 64, 32, 32, 1, 1, 0, 2},
    {1, false, 64, 32, 64, 5, 1, 2, 1},    {1, false, 64, 32, 64, 1, 1, 0, 1},
    {1, false, 64, 64, 64, 1, 1, 0, 1},    {1, false, 64, 64, 64, 2, 2, 0, 1},
    {6, false, 32, 64, 64, 5, 1, 2, 1},    {2, false, 32, 64, 64, 5, 1, 2, 2},
    {2, false, 32, 64, 64, 1, 1, 0, 1},    {2, false, 32, 64, 64, 1, 1, 0, 2},
    {1, false, 32, 64, 128, 5, 1, 2, 1},   {1, false, 32, 64, 128, 1, 1, 0, 1},
    {1, false, 32, 128, 128, 1, 1, 0, 1},  {1, false, 32, 128, 128, 2, 2, 0, 1},
    {12, false, 16, 128, 128, 5, 1, 2, 1}, {4, false, 16, 128, 128, 5, 1, 2, 2},
    {4, false, 16, 128, 128, 1, 1, 0, 1},  {4, false, 16, 128, 128, 1, 1, 0, 2},
    {1, false, 16, 128, 256, 5, 1, 2, 1},  {1, false, 16, 128, 256, 1, 1, 0, 1},
    {1, false, 16, 256, 256, 1, 1, 0, 1},  {1, false, 16, 256, 256, 2, 2, 0, 1},
    {6, false, 8, 256, 256, 5, 1, 2, 1},   {2, false, 8, 256, 256, 5, 1, 2, 2},
    {2, false, 8, 256, 256, 1, 1, 0, 1},   {2, false, 8, 256, 256, 1, 1, 0, 2},
    {1, false, 8, 256, 128, 5, 1, 2, 2},   {1, false, 8, 128, 128, 1, 1, 0, 2},
    {1, false, 8, 256, 128, 1, 1, 0, 1},   {1, true, 8, 128, 128, 2, 2, 0, 1},
    {1, false, 16, 128, 64, 5, 1, 2, 2},   {1, false, 16, 64, 64, 1, 1, 0, 2},
    {1, false, 16, 128, 64, 1, 1, 0, 1},   {1, true, 16, 64, 64, 2, 2, 0, 1},
    {1, false, 32, 64, 32, 5, 1, 2, 2},    {1, false, 32, 32, 32, 1, 1, 0, 2},
    {1, false, 32, 64, 32, 1, 1, 0, 1},    {1, true, 32, 32, 32, 2, 2, 0, 1},
    {1, false, 64, 32, 2, 5, 1, 2, 2},     {1, false, 64, 2, 2, 1, 1, 0, 2},
    {1, false, 64, 32, 2, 1, 1, 0, 1},     {1, true, 64, 2, 2, 2, 2, 0, 1}};

}  // namespace ptynet::cuda::tests
