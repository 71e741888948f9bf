#include "kernels/array.h"

#include "kernels/allocator.h"

namespace ptynet {

Array Array::host(const Shape& shape, DType type) {
  const auto elements = static_cast<std::size_t>(shape.elements());
  if (elements > (std::size_t{1} << 62) / size_of(type)) {
    fail_input("an array of shape ", to_string(shape), " does not fit in memory");
  }
  std::shared_ptr<void> memory = allocate_host_memory(elements * size_of(type));
  void* data = memory.get();
  return view(data, shape, type, Device{}, std::move(memory));
}

Array Array::zeros(const Shape& shape, DType type) {
  Array out = host(shape, type);
  if (out.bytes() > 0) std::memset(out.data(), 0, out.bytes());
  return out;
}

Array Array::view(void* data, const Shape& shape, DType type, Device device,
                  std::shared_ptr<void> keep_alive) {
  Array out;
  out.shape_ = shape;
  out.dtype_ = type;
  out.device_ = device;
  out.data_ = data;
  out.owner_ = std::move(keep_alive);
  return out;
}

Array Array::reshape(const Shape& shape) const {
  if (shape.elements() != shape_.elements()) {
    fail_runtime("cannot view ", describe(*this), " as ", to_string(shape));
  }
  Array out = *this;
  out.shape_ = shape;
  return out;
}

Array Array::slice(std::int64_t first, std::int64_t count) const {
  if (shape_.rank() == 0 || first < 0 || count < 0 || first > shape_[0] - count) {
    fail_runtime("elements ", first, " to ", first + count, " are outside of ", describe(*this));
  }
  Array out = *this;
  out.shape_ = shape_.with_first(count);
  if (shape_[0] > 0) {
    const std::size_t stride = bytes() / static_cast<std::size_t>(shape_[0]);
    out.data_ = static_cast<char*>(data_) + stride * static_cast<std::size_t>(first);
  }
  return out;
}

Array Array::clone() const {
  if (device_.kind != DeviceKind::kCpu) fail_runtime("clone() copies host arrays only");
  if (empty()) return {};
  Array out = host(shape_, dtype_);
  if (bytes() > 0) std::memcpy(out.data_, data_, bytes());
  return out;
}

void Array::expect(DType type) const {
  if (type != dtype_) {
    fail_runtime("expected an array of ", name_of(type), ", found ", describe(*this));
  }
}

std::string describe(const Array& array) {
  return std::string(name_of(array.dtype())) + to_string(array.shape());
}

}  // namespace ptynet
