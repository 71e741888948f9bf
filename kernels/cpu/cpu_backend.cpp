#include "kernels/cpu/cpu_backend.h"

#include <omp.h>

#include <chrono>
#include <cstring>

#include "kernels/random.h"
#include "kernels/scoped_value.h"

namespace ptynet::cpu {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Work on the CPU is done when it was asked for, so an event is the time of asking.
class CpuEvent final : public Event {
 public:
  void wait() override {}
  void renew() override { time = Clock::now(); }
  Clock::time_point time = Clock::now();
};

}  // namespace

class CpuReplay final : public Replay {
 public:
  explicit CpuReplay(int threads) : threads_(threads) {}

  void run() override {
    const ThreadScope scope(threads_);
    for (const auto& step : work_) step();
  }

  std::vector<std::string> steps() const override { return names_; }

  std::vector<double> time_steps() override {
    const ThreadScope scope(threads_);
    std::vector<double> seconds;
    seconds.reserve(work_.size());
    for (const auto& step : work_) {
      const Clock::time_point start = Clock::now();
      step();
      seconds.push_back(seconds_since(start));
    }
    return seconds;
  }

  void add(std::string name, std::function<void()> step) {
    names_.push_back(std::move(name));
    work_.push_back(std::move(step));
  }
  void keep(const Array& scratch) { kept_.push_back(scratch); }

 private:
  int threads_;
  std::vector<std::string> names_;
  std::vector<std::function<void()>> work_;
  std::vector<Array> kept_;
};

CpuBackend::CpuBackend(int threads)
    : threads_(threads > 0 ? threads : omp_get_num_procs()), allocator_(&pool_) {}

void CpuBackend::set_allocator(Allocator* allocator) {
  allocator_ = allocator != nullptr ? allocator : &pool_;
}

void CpuBackend::submit(std::string_view operation, const Array& shown, Step step) {
  if (recording()) {
    recording_->add(text(operation, " ", to_string(shown.shape())), std::move(step));
    return;
  }
  const ThreadScope scope(threads_);
  step();
}

void CpuBackend::submit_prepared(std::string_view operation, const Array& shown, bool constant,
                                 const Step& prepare, const Step& compute) {
  if (recording() && constant) {
    if (!rehearsing_) prepare();
    submit(operation, shown, compute);
    return;
  }
  submit(operation, shown, [prepare, compute] {
    prepare();
    compute();
  });
}

Array CpuBackend::scratch(const Shape& shape, DType type) {
  Array memory = allocator_->allocate(shape, type);
  if (recording() && allocator_ == &pool_) recording_->keep(memory);
  return memory;
}

std::unique_ptr<Replay> CpuBackend::record(const std::function<void()>& work) {
  if (recording()) fail_runtime("a recording cannot be made within another");
  auto replay = std::make_unique<CpuReplay>(threads_);
  const ScopedValue recording(recording_, replay.get());
  const ThreadScope scope(threads_);
  work();
  return replay;
}

// Memory that is asked for and never written to costs nothing.
void CpuBackend::rehearse(const std::function<void()>& work) {
  const ScopedValue rehearsing(rehearsing_, true);
  record(work);
}

std::unique_ptr<Event> CpuBackend::event() { return std::make_unique<CpuEvent>(); }

double CpuBackend::seconds_between(const Event& from, const Event& to) {
  const auto& start = dynamic_cast<const CpuEvent&>(from);
  const auto& end = dynamic_cast<const CpuEvent&>(to);
  return std::chrono::duration<double>(end.time - start.time).count();
}

void CpuBackend::copy(const Array& from, Array& to) {
  if (from.bytes() != to.bytes()) {
    fail_runtime("cannot copy ", describe(from), " to ", describe(to));
  }
  const std::size_t bytes = from.bytes();
  if (bytes == 0) return;
  if (!recording()) {  // sessions copy in and out between replays, where nothing is allocated
    std::memcpy(to.data(), from.data(), bytes);
    return;
  }
  submit("copy", to,
         [source = from.data(), target = to.data(), bytes] { std::memcpy(target, source, bytes); });
}

void CpuBackend::zero(Array& x) {
  if (x.bytes() == 0) return;
  submit("zero", x, [to = x.data(), bytes = x.bytes()] { std::memset(to, 0, bytes); });
}

void CpuBackend::random_uniform(std::uint64_t seed, std::string_view stream, float low, float high,
                                Array& y) {
  const CounterRandom random(seed, stream);
  submit("random_uniform", y, [random, low, high, out = y.data<float>(), count = y.elements()] {
#pragma omp parallel for
    for (std::int64_t i = 0; i < count; ++i) {
      const double u = random.uniform(static_cast<std::uint64_t>(i));
      out[i] = static_cast<float>(double{low} + (double{high} - double{low}) * u);
    }
  });
}

const Fft2<float>& CpuBackend::plan(std::int64_t rows, std::int64_t columns,
                                    FftDirection direction) {
  auto& plan = plans_[{rows, columns, direction}];
  if (!plan) plan = std::make_unique<Fft2<float>>(rows, columns, direction);
  return *plan;
}

}  // namespace ptynet::cpu

namespace ptynet {

std::unique_ptr<Backend> make_cpu_backend(int threads) {
  return std::make_unique<cpu::CpuBackend>(threads);
}

}  // namespace ptynet
