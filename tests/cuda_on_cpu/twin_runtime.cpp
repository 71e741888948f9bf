// kernels/cuda/runtime.h and the libraries, played on the CPU: one device whose memory is the
// host's and whose streams do all work at once, but for graphs: branches of theirs run as early as
// their waits allow in one launch, and as late in the next. PTYNET_TWIN_DEVICES and
// PTYNET_TWIN_CAPABILITY make it another machine, PTYNET_TWIN_MEMORY a smaller one.
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

struct CUstream_st {};

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

// Where a mark stands.
struct Point {
  Stream stream;
  std::size_t captured;
  Clock::time_point time;
};
Point point_of(Stream stream) { return {stream, twin::captured(), Clock::now()}; }
Point& point(const std::shared_ptr<void>& event) { return *static_cast<Point*>(event.get()); }

// A graph: what its streams do, and in which of them anything is done first.
class Branches {
 public:
  // Throws, as CUDA does, where nobody waits for the end of a branch other than `origin`.
  Branches(Stream origin, const std::vector<twin::Captured>& all) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto branch = find(all[i].stream);
      if (branch == branches_.end()) branch = branches_.insert(branch, {all[i].stream, {}, 0});
      branch->entries.push_back({i, all[i]});
    }
    for (const Branch& branch : branches_) {
      const bool joined = std::any_of(all.begin(), all.end(), [&](const twin::Captured& entry) {
        return entry.other == branch.stream && entry.before > branch.entries.back().number;
      });
      if (branch.stream != origin && !joined) fail_runtime("a branch of a graph has no end");
    }
  }

  void launch() {
    for (Branch& branch : branches_) branch.next = 0;
    while (true) {
      const auto next = std::find_if(branches_.begin(), branches_.end(),
                                     [this](const Branch& branch) { return is_ready(branch); });
      if (next == branches_.end()) break;
      next->entries[next->next++].captured.work();
    }
    std::reverse(branches_.begin(), branches_.end());
  }

 private:
  struct Entry {
    std::size_t number;  // within the capture
    twin::Captured captured;
  };
  struct Branch {
    Stream stream;
    std::vector<Entry> entries;
    std::size_t next;

    bool ended() const { return next == entries.size(); }
  };

  std::vector<Branch>::iterator find(Stream stream) {
    return std::find_if(branches_.begin(), branches_.end(),
                        [&](const Branch& branch) { return branch.stream == stream; });
  }
  bool is_ready(const Branch& branch) {
    if (branch.ended()) return false;
    const twin::Captured& entry = branch.entries[branch.next].captured;
    const auto other = find(entry.other);
    return other == branches_.end() || other->ended() ||
           other->entries[other->next].number >= entry.before;
  }

  std::vector<Branch> branches_;
};

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

OwnStream::OwnStream() : stream_(std::make_shared<CUstream_st>()) {}
void OwnStream::synchronize() const {}

void copy_bytes(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (bytes == 0) return;
  twin::submit(stream, [=] { std::memcpy(to, from, bytes); });
}

void zero_bytes(void* to, std::size_t bytes, Stream stream) {
  twin::submit(stream, [=] { std::memset(to, 0, bytes); });
}

Mark::Mark(Stream stream) : event_(std::make_shared<Point>(point_of(stream))) {}
void Mark::renew(Stream stream) { point(event_) = point_of(stream); }
void Mark::wait() const {}
double Mark::seconds_since(const Mark& earlier) const {
  return std::chrono::duration<double>(point(event_).time - point(earlier.event_).time).count();
}

void let_wait(Stream stream, const Mark& mark) {
  const Point& on = point(mark.event_);
  twin::submit_wait(stream, on.stream, on.captured);
}

Graph Graph::capture(Stream stream, const std::function<void()>& work) {
  twin::start_capture();
  try {
    work();
  } catch (...) {
    twin::end_capture();
    throw;
  }
  Graph out;
  out.executable_ = std::make_shared<Branches>(stream, twin::end_capture());
  return out;
}

void Graph::launch(Stream) const { static_cast<Branches*>(executable_.get())->launch(); }

double Graph::time(Stream stream, const std::function<void()>& work) {
  const Mark start(stream);
  work();
  return Mark(stream).seconds_since(start);
}

}  // namespace ptynet::cuda
