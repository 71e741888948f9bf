#include "tests/cuda_on_cpu/outcome.h"

#include <algorithm>
#include <cmath>

#include "kernels/random.h"
#include "tests/cuda_on_cpu/elements.h"

namespace ptynet::cuda::tests {

std::vector<float> random_values(const char* name, std::int64_t count, double low, double high) {
  const CounterRandom random(7, name);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(low + (high - low) * random.uniform(i));
  }
  return out;
}

Placed unwritten(std::size_t bytes, std::size_t offset) {
  Placed out{DeviceMemory(bytes + offset), offset};
  out.memory.fill(0xFF);
  return out;
}

Placed placed(const void* from, std::size_t bytes, std::size_t offset) {
  std::vector<unsigned char> all(bytes + offset, 0xFF);
  if (bytes > 0) std::memcpy(all.data() + offset, from, bytes);
  Placed out{DeviceMemory(bytes + offset), offset};
  out.memory.upload(all.data());
  return out;
}

Placed placed(const std::vector<float>& values, Precision precision, std::size_t offset) {
  return placed(to_bytes(values, precision), offset);
}

std::vector<unsigned char> bytes_of(const Placed& on_device) {
  std::vector<unsigned char> all(on_device.memory.bytes());
  if (!all.empty()) on_device.memory.download(all.data());
  return {all.begin() + static_cast<std::ptrdiff_t>(on_device.offset), all.end()};
}

std::vector<float> floats_of(const Placed& on_device, Precision precision) {
  return from_bytes(bytes_of(on_device), precision);
}

Outcome compare(const std::vector<double>& expected, const std::vector<double>& found,
                const Tolerance& tolerance) {
  if (expected.size() != found.size()) {
    fail_runtime("expected ", expected.size(), " elements, found ", found.size());
  }
  Outcome out;
  double squares = 0;
  double error_squares = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(found[i] - expected[i]);
    const double allowed = tolerance.absolute + tolerance.relative * std::abs(expected[i]);
    const double ratio = error == 0 ? 0 : error / allowed;
    squares += expected[i] * expected[i];
    error_squares += error * error;
    if (!(ratio <= out.worst)) {  // NaN too
      out.worst = std::isnan(ratio) ? HUGE_VAL : ratio;
      out.where = text("element ", i, " of ", expected.size(), ": expected ", expected[i],
                       ", found ", found[i]);
    }
  }
  out.error = std::sqrt(error_squares / std::max(squares, 1e-30));
  return out;
}

Outcome compare(const std::vector<double>& expected, const std::vector<float>& found,
                const Tolerance& tolerance) {
  return compare(expected, std::vector<double>(found.begin(), found.end()), tolerance);
}

Outcome compare_exactly(const std::vector<double>& expected, const std::vector<float>& found) {
  if (expected.size() != found.size()) {
    fail_runtime("expected ", expected.size(), " elements, found ", found.size());
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double y = double{found[i]};
    const bool both_nan = std::isnan(expected[i]) && std::isnan(y);
    const bool same = expected[i] == y && std::signbit(expected[i]) == std::signbit(y);
    if (both_nan || same) continue;
    return {
        HUGE_VAL, HUGE_VAL,
        text("element ", i, " of ", expected.size(), ": expected ", expected[i], ", found ", y)};
  }
  return {};
}

Outcome same_bytes(const Placed& once, const Placed& again) {
  if (bytes_of(once) == bytes_of(again)) return {};
  return {0, HUGE_VAL, "two runs left different bytes"};
}

Outcome worse(const Outcome& a, const Outcome& b) {
  Outcome out = a.worst >= b.worst ? a : b;
  out.error = std::max(a.error, b.error);
  return out;
}

}  // namespace ptynet::cuda::tests
