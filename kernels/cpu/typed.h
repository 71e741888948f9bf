// Loops written once for f32 and bf16 arrays.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/array.h"
#include "kernels/math.h"

namespace ptynet::cpu {

inline float load(float v) { return v; }
inline float load(Bfloat16 v) { return widen(v); }
inline void store(float& to, float v) { to = v; }
inline void store(Bfloat16& to, float v) { to = narrow_bf16(v); }

// Null for an array without elements: an operand that is not there, a gradient nobody wants.
template <typename T>
T* data_or_null(Array& a) {
  return a.empty() ? nullptr : a.data<T>();
}
template <typename T>
const T* data_or_null(const Array& a) {
  return a.empty() ? nullptr : a.data<T>();
}

// Calls body with a value of the array's element type, float or Bfloat16.
template <typename Body>
void with_float_type(DType type, Body&& body) {
  switch (type) {
    case DType::kF32:
      return body(float{});
    case DType::kBf16:
      return body(Bfloat16{});
    default:
      fail_runtime("the CPU backend computes in f32 and bf16, found ", name_of(type));
  }
}

// Runs body(first, last) over runs of values, on all threads. What a body makes local, the compiler
// knows to be the same for all of a run.
template <typename Body>
void for_each_run(std::int64_t count, const Body& body) {
  constexpr std::int64_t kRunValues = 8192;
  const std::int64_t runs = (count + kRunValues - 1) / kRunValues;
#pragma omp parallel for
  for (std::int64_t run = 0; run < runs; ++run) {
    body(run * kRunValues, std::min((run + 1) * kRunValues, count));
  }
}

}  // namespace ptynet::cpu
