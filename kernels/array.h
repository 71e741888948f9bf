// A contiguous block of elements on one device, shared by reference count.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/device.h"
#include "kernels/dtype.h"
#include "kernels/error.h"
#include "kernels/shape.h"

namespace ptynet {

// Copies share their elements; clone() does not. Distinct Array objects may be used from several
// threads at once; who writes shared elements must keep others out.
class Array {
 public:
  Array() = default;  // no elements, no memory; empty() is true

  // Uninitialised (or zeroed) host memory, aligned to 256 bytes.
  // Throws Error (runtime) when memory is short.
  static Array host(const Shape& shape, DType type);
  static Array zeros(const Shape& shape, DType type);
  template <typename T>
  static Array copy_of(const std::vector<T>& values, const Shape& shape) {
    Array out = host(shape, DTypeOf<T>::kValue);
    if (static_cast<std::int64_t>(values.size()) != shape.elements()) {
      fail_input("expected ", shape.elements(), " values for shape ", to_string(shape), ", found ",
                 values.size());
    }
    if (out.bytes() > 0) std::memcpy(out.data(), values.data(), out.bytes());
    return out;
  }
  // Memory owned elsewhere: `keep_alive` is held as long as any Array refers to it (may be null).
  static Array view(void* data, const Shape& shape, DType type, Device device = {},
                    std::shared_ptr<void> keep_alive = nullptr);

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  const Device& device() const { return device_; }
  bool empty() const { return data_ == nullptr; }
  std::int64_t elements() const { return empty() ? 0 : shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype_); }

  void* data() { return data_; }
  const void* data() const { return data_; }
  // Typed access; throws Error (runtime) when T is not the array's type.
  template <typename T>
  T* data() {
    expect(DTypeOf<T>::kValue);
    return static_cast<T*>(data_);
  }
  template <typename T>
  const T* data() const {
    expect(DTypeOf<T>::kValue);
    return static_cast<const T*>(data_);
  }

  // The same elements under another shape of equal size.
  Array reshape(const Shape& shape) const;
  // Elements [first, first + count) of the first dimension, sharing memory.
  Array slice(std::int64_t first, std::int64_t count) const;
  // A copy of its own; host arrays only.
  Array clone() const;

 private:
  void expect(DType type) const;

  Shape shape_;
  DType dtype_ = DType::kF32;
  Device device_;
  void* data_ = nullptr;
  std::shared_ptr<void> owner_;
};

// "f32[3, 64, 64]"
std::string describe(const Array& array);

}  // namespace ptynet
