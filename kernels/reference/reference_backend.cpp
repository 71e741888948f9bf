#include "kernels/reference/reference_backend.h"

#include <chrono>
#include <cstring>

#include "kernels/random.h"
#include "kernels/scoped_value.h"

namespace ptynet::reference {

namespace {

struct ReferenceEvent final : Event {
  void wait() override {}
  void renew() override { time = std::chrono::steady_clock::now(); }
  std::chrono::steady_clock::time_point time = std::chrono::steady_clock::now();
};

}  // namespace

class ReferenceReplay final : public Replay {
 public:
  void run() override {
    for (const auto& step : work) step();
  }
  std::vector<std::string> steps() const override { return names; }
  std::vector<double> time_steps() override {
    std::vector<double> seconds;
    for (const auto& step : work) {
      const ReferenceEvent start;
      step();
      seconds.push_back(std::chrono::duration<double>(ReferenceEvent().time - start.time).count());
    }
    return seconds;
  }

  std::vector<std::string> names;
  std::vector<std::function<void()>> work;
};

std::vector<double> values_of(const Array& a) {
  std::vector<double> out = zeros_like(a);
  const auto widen_all = [&](const auto* from) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(from[i]);
  };
  switch (a.dtype()) {
    case DType::kF32:
      widen_all(a.data<float>());
      break;
    case DType::kF64:
      widen_all(a.data<double>());
      break;
    case DType::kU8:
      widen_all(a.data<std::uint8_t>());
      break;
    case DType::kU16:
      widen_all(a.data<std::uint16_t>());
      break;
    case DType::kU32:
      widen_all(a.data<std::uint32_t>());
      break;
    case DType::kI32:
      widen_all(a.data<std::int32_t>());
      break;
    case DType::kBf16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = double{widen(a.data<Bfloat16>()[i])};
      break;
    case DType::kF16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = double{widen(a.data<Half>()[i])};
      break;
    case DType::kC64:
      fail_runtime("expected a real array, found ", describe(a));
  }
  return out;
}

std::vector<Complex> complex_values_of(const Array& a) {
  if (a.dtype() == DType::kC64) {
    const auto* from = a.data<std::complex<float>>();
    return {from, from + a.elements()};
  }
  const std::vector<double> parts = values_of(a);
  std::vector<Complex> out(parts.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = {parts[2 * i], parts[2 * i + 1]};
  return out;
}

void store(const std::vector<double>& values, Array& y) {
  if (y.empty()) return;
  for (std::size_t i = 0; i < values.size(); ++i) {
    switch (y.dtype()) {
      case DType::kF32:
        y.data<float>()[i] = static_cast<float>(values[i]);
        break;
      case DType::kF64:
        y.data<double>()[i] = values[i];
        break;
      case DType::kBf16:
        y.data<Bfloat16>()[i] = narrow_bf16(static_cast<float>(values[i]));
        break;
      case DType::kF16:
        y.data<Half>()[i] = narrow_f16(static_cast<float>(values[i]));
        break;
      default:
        fail_runtime("the reference backend writes f32, f64, bf16 and f16, found ", describe(y));
    }
  }
}

void store(const std::vector<Complex>& values, Array& y) {
  std::vector<double> parts;
  for (const Complex& v : values) parts.insert(parts.end(), {v.real(), v.imag()});
  if (y.dtype() != DType::kC64) return store(parts, y);
  Array pairs = Array::view(y.data(), {2 * y.elements()}, DType::kF32);
  store(parts, pairs);
}

void ReferenceBackend::submit(std::string_view operation, std::function<void()> step) {
  if (recording_ == nullptr) return step();
  recording_->names.emplace_back(operation);
  recording_->work.push_back(std::move(step));
}

std::unique_ptr<Replay> ReferenceBackend::record(const std::function<void()>& work) {
  auto replay = std::make_unique<ReferenceReplay>();
  const ScopedValue recording(recording_, replay.get());
  work();
  return replay;
}

void ReferenceBackend::rehearse(const std::function<void()>& work) { record(work); }

std::unique_ptr<Event> ReferenceBackend::event() { return std::make_unique<ReferenceEvent>(); }

double ReferenceBackend::seconds_between(const Event& from, const Event& to) {
  const auto start = dynamic_cast<const ReferenceEvent&>(from).time;
  return std::chrono::duration<double>(dynamic_cast<const ReferenceEvent&>(to).time - start)
      .count();
}

void ReferenceBackend::copy(const Array& from, Array& to) {
  if (from.bytes() != to.bytes()) {
    fail_runtime("cannot copy ", describe(from), " to ", describe(to));
  }
  submit("copy", [from, to]() mutable { std::memcpy(to.data(), from.data(), from.bytes()); });
}

void ReferenceBackend::zero(Array& x) {
  submit("zero", [x]() mutable {
    if (x.bytes() > 0) std::memset(x.data(), 0, x.bytes());
  });
}

void ReferenceBackend::random_uniform(std::uint64_t seed, std::string_view stream, float low,
                                      float high, Array& y) {
  submit("random_uniform", [random = CounterRandom(seed, stream), low, high, y]() mutable {
    std::vector<double> out = zeros_like(y);
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = double{low} + (double{high} - double{low}) * random.uniform(i);
    }
    store(out, y);
  });
}

}  // namespace ptynet::reference

namespace ptynet {

std::unique_ptr<Backend> make_reference_backend() {
  return std::make_unique<reference::ReferenceBackend>();
}

}  // namespace ptynet
