// Loops written once for every type that detectors count in.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/error.h"

namespace ptynet {

// Calls body with a value of the type of counts.
template <typename Body>
void with_count_type(DType type, Body&& body) {
  switch (type) {
    case DType::kU8:
      return body(std::uint8_t{});
    case DType::kU16:
      return body(std::uint16_t{});
    case DType::kU32:
      return body(std::uint32_t{});
    case DType::kI32:
      return body(std::int32_t{});
    case DType::kF32:
      return body(float{});
    default:
      fail_runtime("frames are u8, u16, u32, i32 or f32, found ", name_of(type));
  }
}

}  // namespace ptynet
