// One table of operations and shapes for every backend: compared with the reference, and timed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/random.h"

namespace ptynet::tests {

// f32 values in [low, high), the same for the same name.
inline Array random_array(const std::string& name, const Shape& shape, double low = -1,
                          double high = 1) {
  const CounterRandom random(7, name);
  Array out = Array::host(shape, DType::kF32);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<float>()[i] =
        static_cast<float>(low + (high - low) * random.uniform(static_cast<std::uint64_t>(i)));
  }
  return out;
}

inline Array random_complex(const std::string& name, const Shape& shape) {
  const Array parts = random_array(name, {shape.elements() * 2});
  Array out = Array::host(shape, DType::kC64);
  std::memcpy(out.data(), parts.data(), parts.bytes());
  return out;
}

// Whole counts of any frame type, with a bad value of the type here and there.
template <typename T>
Array random_counts(const std::string& name, const Shape& shape, T bad) {
  const CounterRandom random(9, name);
  Array out = Array::host(shape, DTypeOf<T>::kValue);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    const double u = random.uniform(static_cast<std::uint64_t>(i));
    out.data<T>()[i] = u > 0.98 ? bad : static_cast<T>(u * u * 200);
  }
  return out;
}

// Runs one operation on a backend and gives its output.
struct OperationCase {
  std::string name;
  std::function<Array(Backend&)> run;
};

std::vector<OperationCase> operation_cases();

}  // namespace ptynet::tests
