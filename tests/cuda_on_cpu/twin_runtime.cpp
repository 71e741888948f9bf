// kernels/cuda/runtime.h and the libraries, played on the CPU: one device whose memory is the
// host's and whose streams do all work at once. PTYNET_TWIN_DEVICES and PTYNET_TWIN_CAPABILITY make
// it another machine, PTYNET_TWIN_MEMORY a smaller one.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "kernels/cuda/runtime.h"
#include "kernels/error.h"
#include "tests/cuda_on_cpu/twin.h"

namespace ptynet::cuda {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kAlignment = 256;

long setting(const char* name, long otherwise) {
  const char* found = std::getenv(name);
  return found == nullptr ? otherwise : std::strtol(found, nullptr, 10);
}

std::size_t memory_bytes() {
  return static_cast<std::size_t>(setting("PTYNET_TWIN_MEMORY", 1L << 34));
}

std::atomic<std::size_t> bytes_in_use{0};

std::shared_ptr<void> aligned_memory(std::size_t bytes, std::function<void()> freed) {
  void* memory = ::operator new (bytes, std::align_val_t{kAlignment});
  std::memset(memory, 0xFF, bytes);  // NaN in every float type
  return {memory, [freed = std::move(freed)](void* p) {
            ::operator delete (p, std::align_val_t{kAlignment});
            freed();
          }};
}

thread_local int current = 0;

}  // namespace

std::vector<DeviceFacts> find_devices() {
  const long count = setting("PTYNET_TWIN_DEVICES", 1);
  if (count == 0) fail_runtime("the twin plays a machine without a CUDA device");
  const int capability = twin::compute_capability();
  return {static_cast<std::size_t>(count),
          DeviceFacts{"the CPU's twin of a GPU", capability, 8, memory_bytes(), 13000}};
}

DeviceScope::DeviceScope(int device)
    : before_(std::exchange(current, device)), changed_(device != before_) {}
DeviceScope::~DeviceScope() {
  if (changed_) current = before_;
}

std::shared_ptr<void> allocate_device_memory(std::size_t bytes) {
  const std::size_t used = bytes_in_use.load();
  const std::size_t free = memory_bytes() - std::min(memory_bytes(), used);
  if (bytes > free) {
    fail_runtime("out of device memory: ", bytes, " bytes wanted, ", free, " of ", memory_bytes(),
                 " free: use a smaller --batch, or stop other programs on the device");
  }
  bytes_in_use += bytes;
  return aligned_memory(bytes, [bytes] { bytes_in_use -= bytes; });
}

std::shared_ptr<void> allocate_pinned_memory(std::size_t bytes) {
  return aligned_memory(bytes, [] {});
}

OwnStream::OwnStream() = default;
void OwnStream::synchronize() const {}

void copy_bytes(void* to, const void* from, std::size_t bytes, Stream) {
  if (bytes == 0) return;
  twin::submit([=] { std::memcpy(to, from, bytes); });
}

void zero_bytes(void* to, std::size_t bytes, Stream) {
  twin::submit([=] { std::memset(to, 0, bytes); });
}

Mark::Mark(Stream) : event_(std::make_shared<Clock::time_point>(Clock::now())) {}
void Mark::renew(Stream) { *static_cast<Clock::time_point*>(event_.get()) = Clock::now(); }
void Mark::wait() const {}
double Mark::seconds_since(const Mark& earlier) const {
  const auto time = [](const Mark& mark) {
    return *static_cast<const Clock::time_point*>(mark.event_.get());
  };
  return std::chrono::duration<double>(time(*this) - time(earlier)).count();
}

void let_wait(Stream, const Mark&) {}

Graph Graph::capture(Stream, const std::function<void()>& work) {
  using Captured = std::vector<std::function<void()>>;
  twin::start_capture();
  try {
    work();
  } catch (...) {
    twin::end_capture();
    throw;
  }
  Graph out;
  out.executable_ = std::make_shared<Captured>(twin::end_capture());
  return out;
}

void Graph::launch(Stream) const {
  for (const auto& work :
       *static_cast<const std::vector<std::function<void()>>*>(executable_.get())) {
    work();
  }
}

double Graph::time(Stream stream, const std::function<void()>& work) {
  const Mark start(stream);
  work();
  return Mark(stream).seconds_since(start);
}

}  // namespace ptynet::cuda
