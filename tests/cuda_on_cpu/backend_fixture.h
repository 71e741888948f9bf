// What the tests of the whole backend on the CPU's twin share.
#pragma once

#include "kernels/cuda/cuda_backend.h"
#include "tests/catch.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"
#include "tests/support.h"

namespace ptynet::tests {

inline ContextOptions on_cuda(int index = 0) {
  ContextOptions options;
  options.device = {DeviceKind::kCuda, index};
  return options;
}

// From f32.
inline Array narrowed(const Array& wide, DType type) {
  Array out = Array::host(wide.shape(), type);
  for (std::int64_t i = 0; i < wide.elements(); ++i) {
    const float v = wide.data<float>()[i];
    if (type == DType::kBf16) out.data<Bfloat16>()[i] = narrow_bf16(v);
    if (type == DType::kF16) out.data<Half>()[i] = narrow_f16(v);
  }
  return out;
}

}  // namespace ptynet::tests
