// Numbers as files hold them, turned into the element types of arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/bytes.h"
#include "kernels/array.h"

namespace ptynet::io {

enum class ElementKind : std::uint8_t { kBool, kSigned, kUnsigned, kFloat, kBrainFloat, kComplex };

// An element of a file: its kind, its size in bytes, and the order of those bytes.
struct ElementType {
  ElementKind kind = ElementKind::kFloat;
  std::size_t size = 4;
  bool big_endian = false;
};

// "float64", "uint16", "complex64"
std::string to_string(const ElementType& type);

// The array type that holds such elements: bool u8 (0 or 1); int8 to int64 i32; uint8 u8, uint16
// u16, uint32 and uint64 u32; float16, bfloat16 and float32 f32; float64 f64; complex64 and
// complex128 c64.
DType array_type_of(const ElementType& type);

// True when the bytes of the file are the bytes of an array of type `to`.
bool same_bytes(const ElementType& from, DType to);

// Converts every element of `source` into `into`, whose length must fit. Integers and bool go to
// any integer type that holds the value, or to f32 and f64; floats to f32 and f64; complex to c64.
// Throws Error (input), beginning with `where`, for any other pair of types and for a value which
// the target cannot hold (float16 and so on of infinity and NaN are kept).
void convert_elements(Bytes source, const ElementType& from, Array& into, const std::string& where);

}  // namespace ptynet::io
