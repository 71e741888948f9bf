// Loops written once for f32 and bf16 arrays.
#pragma once

#include <cstdint>

#include "kernels/array.h"
#include "kernels/math.h"

namespace ptynet::cpu {

inline float load(float v) { return v; }
inline float load(Bfloat16 v) { return widen(v); }
inline void store(float& to, float v) { to = v; }
inline void store(Bfloat16& to, float v) { to = narrow_bf16(v); }

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

}  // namespace ptynet::cpu
