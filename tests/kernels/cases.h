// One table of operations and shapes for every backend: compared with the reference, and timed.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/random.h"

namespace ptynet::tests {

inline constexpr Activation kLeaky{ActivationKind::kLeakyRelu, 0.2F, 0};
inline constexpr Activation kPlain{};
inline constexpr Activation kClip{ActivationKind::kHardtanh, -1, 1};
inline constexpr Activation kSigmoid{ActivationKind::kSigmoid, 0, 0};
inline constexpr Activation kTanh{ActivationKind::kTanh, 0, 0};
inline constexpr Activation kRelu{ActivationKind::kRelu, 0, 0};

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

// What an activation may have given: its kinks are met exactly here and there.
inline Array random_activated(const std::string& name, const Shape& shape, const Activation& a) {
  Array out = random_array(name, shape, -2, 2);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    float& v = out.data<float>()[i];
    v = i % 7 == 3 ? 0.0F : activate(v, a);
  }
  return out;
}

// Room for what normalises a batch.
inline BatchStatistics room_for_batch(std::int64_t channels, DType type = DType::kF32) {
  const auto room = [&] { return Array::host({channels}, type); };
  return {room(), room(), room(), room()};
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

// One array that an operation leaves, and how many terms are summed for one element of it: the
// rounding of a device's f32 grows with the root of that.
struct Output {
  Array value;
  std::int64_t sum_length = 1;
};

// Runs one operation on a backend, on operands of its own.
struct OperationCase {
  std::string name;
  std::function<std::vector<Output>(Backend&)> run;
};

using OperationCases = std::vector<OperationCase>;

void add_convolution_cases(OperationCases& cases);
void add_pointwise_cases(OperationCases& cases);
void add_physics_cases(OperationCases& cases);
void add_learning_cases(OperationCases& cases);
void add_drawing_cases(OperationCases& cases);
void add_step_queue_cases(OperationCases& cases);

// All of them.
OperationCases operation_cases();

}  // namespace ptynet::tests
