// Complex numbers in kernels, and where a far field keeps them.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"

namespace ptynet::cuda {

// N of them, side by side in memory: re, im, re, im ...
template <int N>
using Complexes = Vector<float, 2 * N>;

template <int K>
PTYNET_DEVICE Vector<float, K> product(const Vector<float, K>& a, const Vector<float, K>& b) {
  Vector<float, K> out;
  PTYNET_UNROLL
  for (int i = 0; i < K; i += 2) {
    out[i] = a[i] * b[i] - a[i + 1] * b[i + 1];
    out[i + 1] = a[i] * b[i + 1] + a[i + 1] * b[i];
  }
  return out;
}

// sums += conj(a) * b
template <int K>
PTYNET_DEVICE void add_conjugate_product(const Vector<float, K>& a, const Vector<float, K>& b,
                                         Vector<float, K>& sums) {
  PTYNET_UNROLL
  for (int i = 0; i < K; i += 2) {
    sums[i] += a[i] * b[i] + a[i + 1] * b[i + 1];
    sums[i + 1] += a[i] * b[i + 1] - a[i + 1] * b[i];
  }
}

// The first `i` of `array`, which is aligned to N.
template <int N>
PTYNET_DEVICE Complexes<N>* complex_at(float* array, std::int64_t i) {
  return reinterpret_cast<Complexes<N>*>(array + 2 * i);
}
template <int N>
PTYNET_DEVICE const Complexes<N>* complex_at(const float* array, std::int64_t i) {
  return reinterpret_cast<const Complexes<N>*>(array + 2 * i);
}

// Where a transform of h x w, zero frequency in its corner, has what stands at (row, column) once
// zero frequency is in the middle. Even columns keep their right neighbour where w % 4 == 0.
PTYNET_DEVICE std::int64_t place_before_shift(int row, int column, int h, int w) {
  const int from_row = row < h / 2 ? row + (h - h / 2) : row - h / 2;
  const int from_column = column < w / 2 ? column + (w - w / 2) : column - w / 2;
  return std::int64_t{from_row} * w + from_column;
}

}  // namespace ptynet::cuda
