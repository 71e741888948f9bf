// Random operands on the device, and what a kernel made of them beside what it should have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/stream.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/device_memory.h"

namespace ptynet::cuda::tests {

// Uniform in [low, high), the same for the same name.
std::vector<float> random_values(const char* name, std::int64_t count, double low, double high);

// `offset` bytes behind an address aligned to 256: what is not aligned must be taken too.
struct Placed {
  DeviceMemory memory;
  std::size_t offset;
  void* data() const { return static_cast<unsigned char*>(memory.data()) + offset; }
};
Placed placed(const void* from, std::size_t bytes, std::size_t offset = 0);
// All bits set: NaN in every float type.
Placed unwritten(std::size_t bytes, std::size_t offset = 0);

template <typename T>
Placed placed(const std::vector<T>& values, std::size_t offset = 0) {
  return placed(values.data(), values.size() * sizeof(T), offset);
}
Placed placed(const std::vector<float>& values, Precision precision, std::size_t offset = 0);

std::vector<unsigned char> bytes_of(const Placed& on_device);
template <typename T>
std::vector<T> values_of(const Placed& on_device) {
  const std::vector<unsigned char> bytes = bytes_of(on_device);
  std::vector<T> out(bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}
std::vector<float> floats_of(const Placed& on_device, Precision precision);

// An element may be off by `absolute`, and by `relative` times what is expected.
struct Tolerance {
  double absolute;
  double relative;
};
Outcome compare(const std::vector<double>& expected, const std::vector<double>& found,
                const Tolerance& tolerance);
Outcome compare(const std::vector<double>& expected, const std::vector<float>& found,
                const Tolerance& tolerance);
// Nothing may be off, not even the sign of a zero; any NaN is as good as another.
Outcome compare_exactly(const std::vector<double>& expected, const std::vector<float>& found);
// Fails where two runs did not leave the same bytes.
Outcome same_bytes(const Placed& once, const Placed& again);
// The worse of both.
Outcome worse(const Outcome& a, const Outcome& b);

}  // namespace ptynet::cuda::tests
