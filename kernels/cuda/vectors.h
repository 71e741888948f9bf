// Several elements at once as floats, in one access of memory.
#pragma once

#include "kernels/cuda/device.h"

namespace ptynet::cuda {

// Elements of T in the largest access, 16 bytes.
template <typename T>
inline constexpr int kPerAccess = 16 / static_cast<int>(sizeof(T));

// `from` aligned to N elements. Not for memory that another array of the kernel may share but
// elementwise: then each thread reads what it will write itself.
template <int N, typename T>
PTYNET_DEVICE Vector<float, N> load_floats(const T* from, Site site = Site::current()) {
  const auto in = load(reinterpret_cast<const Vector<T, N>*>(from), site);
  Vector<float, N> out;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) out[i] = to_float(in[i]);
  return out;
}

template <int N, typename T>
PTYNET_DEVICE void store_floats(T* to, const Vector<float, N>& values,
                                Site site = Site::current()) {
  Vector<T, N> out;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) out[i] = from_float<T>(values[i]);
  store(reinterpret_cast<Vector<T, N>*>(to), out, site);
}

// To element `at` and on of y, an array of T or, `as_f32`, of float.
template <typename T, int N>
PTYNET_DEVICE void store_result(void* y, std::int64_t at, const Vector<float, N>& values,
                                bool as_f32, Site site = Site::current()) {
  if (as_f32) {
    store_floats(static_cast<float*>(y) + at, values, site);
  } else {
    store_floats(static_cast<T*>(y) + at, values, site);
  }
}

}  // namespace ptynet::cuda
