#include "tests/cuda_on_cpu/twin.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/math.h"
#include "tests/cuda_on_cpu/access_counter.h"
#include "tests/cuda_on_cpu/fiber.h"
#include "tests/cuda_on_cpu/twin_matrices.h"
#include "tests/cuda_on_cpu/twin_warpgroups.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace ptynet::cuda::twin {

namespace {

// Limits of compute capability 9.0, which a launch must keep on the device too.
constexpr int kMostThreads = 1024;
constexpr int kMostBlocksAcross = 65535;  // along y and z
constexpr std::size_t kMostSharedBytes = std::size_t{227} << 10;

// Shared memory between two gaps that nobody may touch. `address` is where descriptors of matrices
// find it.
class GuardedMemory {
 public:
  GuardedMemory(std::size_t bytes, int content, std::uint32_t address)
      : bytes_(bytes),
        address_(address),
        all_(static_cast<unsigned char*>(
            ::operator new (bytes + 2 * kGap, std::align_val_t{kGap}))) {
    std::memset(all_.get(), kMark, bytes + 2 * kGap);
    std::memset(data(), content, bytes);
    poison_gaps();
  }

  unsigned char* data() const { return all_.get() + kGap; }
  std::size_t bytes() const { return bytes_; }
  std::uint32_t address() const { return address_; }
  bool holds(const void* p) const { return p >= data() && p < data() + bytes_; }

  // Throws when a gap was written (AddressSanitizer stops where it happens).
  void check() const {
#ifndef __SANITIZE_ADDRESS__
    for (std::size_t i = 0; i < kGap; ++i) {
      if (all_[i] != kMark || data()[bytes_ + i] != kMark) {
        fail_runtime("shared memory of ", bytes_, " bytes was written outside of its bounds");
      }
    }
#endif
  }

 private:
  void poison_gaps() {
#ifdef __SANITIZE_ADDRESS__
    ASAN_POISON_MEMORY_REGION(all_.get(), kGap);
    ASAN_POISON_MEMORY_REGION(data() + bytes_, kGap);
#endif
  }

  static constexpr std::size_t kGap = 1024;
  static constexpr unsigned char kMark = 0xA5;
  struct Free {
    void operator()(unsigned char* p) const { ::operator delete (p, std::align_val_t{kGap}); }
  };
  std::size_t bytes_;
  std::uint32_t address_;
  std::unique_ptr<unsigned char[], Free> all_;
};

struct Copy {
  void* to;
  const void* from;  // null: zeros
  std::size_t bytes;

  void land() const {
    if (from != nullptr) {
      std::memcpy(to, from, bytes);
    } else {
      std::memset(to, 0, bytes);
    }
  }
};

enum class State : std::uint8_t { kReady, kAtBarrier, kInWarp };

struct Thread {
  Fiber fiber;
  Position position;
  State state = State::kReady;
  Site site{};              // where it waits
  void* operand = nullptr;  // for the warp it waits for
  std::vector<Copy> open;   // copies of no group yet
  std::vector<std::vector<Copy>> groups;
  bool unfenced = false;  // has written shared memory since its last fence_async_proxy()

  bool ended() const { return fiber.ended(); }
  bool ready() const { return !ended() && state == State::kReady; }
};

struct Settings {
  Order order = Order::kAscending;
  std::mt19937_64 random;
  std::optional<AccessCounter> counter;
  Counts counts;

  // Each byte of memory that nobody wrote: NaN, or large numbers, since a maximum passes NaN over.
  int unwritten() const { return order == Order::kRandom ? 0x7F : 0xFF; }

  // 0 .. count - 1 in the order of this turn.
  std::vector<std::size_t> turn(std::size_t count) {
    std::vector<std::size_t> out(count);
    std::iota(out.begin(), out.end(), std::size_t{0});
    if (order == Order::kDescending) std::reverse(out.begin(), out.end());
    if (order == Order::kRandom) std::shuffle(out.begin(), out.end(), random);
    return out;
  }
};
Settings settings;

thread_local std::optional<std::vector<Captured>> capture;

// The first so many of the calling thread's, kept from launch to launch: a fiber takes longer to
// make than many a kernel to run.
std::span<const std::unique_ptr<Thread>> threads_of_block(std::size_t count) {
  thread_local std::vector<std::unique_ptr<Thread>> made;
  while (made.size() < count) made.push_back(std::make_unique<Thread>());
  return {made.data(), count};
}

class Launch;
Launch* running = nullptr;

class Launch {
 public:
  Launch(const LaunchShape& shape, const std::function<void()>& body)
      : shape_(shape),
        body_(body),
        threads_(threads_of_block(static_cast<std::size_t>(shape.threads))) {}

  void run() {
    const auto [x, y, z] = shape_.blocks;
    const auto blocks =
        static_cast<std::size_t>(x) * static_cast<std::size_t>(y) * static_cast<std::size_t>(z);
    for (const std::size_t b : settings.turn(blocks)) {
      const int i = static_cast<int>(b);
      run_block({i % x, i / x % y, i / x / y});
    }
  }

  Thread& current() { return *current_; }

  void* shared_memory(const void* key, std::size_t bytes) {
    // One array after the other, each with a gap before it.
    constexpr std::size_t kGap = 1024;
    const std::size_t address = kGap * (shared_.size() + 1) + shared_bytes_ / kGap * kGap;
    const auto [place, is_new] =
        shared_.try_emplace(key, bytes, settings.unwritten(), static_cast<std::uint32_t>(address));
    if (is_new) shared_bytes_ += bytes;
    if (shared_bytes_ > kMostSharedBytes) {
      fail_runtime("a block has up to ", kMostSharedBytes, " bytes of shared memory, found ",
                   shared_bytes_);
    }
    return place->second.data();
  }
  bool is_shared(const void* p) const { return shared_array(p) != nullptr; }
  const GuardedMemory* shared_array(const void* p) const {
    for (const auto& [key, memory] : shared_) {
      if (memory.holds(p)) return &memory;
    }
    return nullptr;
  }
  // Null where no array has all those bytes.
  const unsigned char* shared_at(std::uint32_t address, std::size_t bytes) const {
    for (const auto& [key, memory] : shared_) {
      if (address < memory.address()) continue;
      const std::size_t offset = address - memory.address();
      if (offset + bytes <= memory.bytes()) return memory.data() + offset;
    }
    return nullptr;
  }
  const void* dynamic_key() const { return this; }
  std::size_t dynamic_bytes() const { return shape_.shared_bytes; }

  void meet(void* operand, void (*work)(const Operands&), const Site& site) {
    Thread& self = current();
    self.operand = operand;
    self.site = site;
    self.state = State::kInWarp;
    const std::size_t first = first_of_warp(self);
    Operands operands{};
    for (std::size_t l = 0; l < kWarpLanes; ++l) {
      Thread& other = *threads_[first + l];
      if (other.state != State::kInWarp) return pause();
      if (other.site.line != site.line) {
        fail_runtime("lanes of one warp meet at ", place(site), " and at ", place(other.site));
      }
      operands[l] = other.operand;
    }
    work(operands);
    for (std::size_t l = 0; l < kWarpLanes; ++l) threads_[first + l]->state = State::kReady;
  }

  WarpProducts& products() {
    return products_[static_cast<std::size_t>(current().position.thread / kWarpLanes)];
  }

  void expect_fenced(const Site& site) {
    const Thread* guilty = current_->unfenced ? current_ : leaked_;
    if (!guilty) return;
    fail_runtime(place(site), ": thread ", guilty->position.thread,
                 " has written shared memory, and called no fence_async_proxy() before the "
                 "barrier");
  }

  void wait_for_block(const Site& site) {
    current().site = site;
    current().state = State::kAtBarrier;
    pause();
  }

 private:
  static std::size_t first_of_warp(const Thread& thread) {
    return static_cast<std::size_t>(thread.position.thread / kWarpLanes * kWarpLanes);
  }

  // The fiber that resumes another is none: current_ is set before each.
  void pause() { current().fiber.pause(); }

  void run_block(const Index3& block) {
    shared_.clear();
    shared_bytes_ = 0;
    products_.assign(threads_.size() / kWarpLanes, {});
    for (std::size_t t = 0; t < threads_.size(); ++t) {
      Thread& thread = *threads_[t];
      thread.position = {block, shape_.blocks, static_cast<int>(t), shape_.threads};
      thread.state = State::kReady;
      thread.open.clear();
      thread.groups.clear();
      thread.unfenced = false;
      thread.fiber.start(body_);
    }
    leaked_ = nullptr;
    while (true) {
      bool ran = false;
      for (const std::size_t w : settings.turn(threads_.size() / kWarpLanes)) ran |= run_warp(w);
      if (!ran && !release_barrier()) break;
    }
    for (const auto& [key, memory] : shared_) memory.check();
    WarpProducts::expect_ended(products_);
    if (settings.counter) settings.counter->end_block(settings.counts);
  }

  // Until all its lanes wait for the block or have ended; whether any had something to do.
  bool run_warp(std::size_t warp) {
    bool ran = false;
    for (bool again = true; again;) {
      again = false;
      for (const std::size_t l : settings.turn(kWarpLanes)) {
        Thread& thread = *threads_[warp * kWarpLanes + l];
        if (!thread.ready()) continue;
        current_ = &thread;
        thread.fiber.resume();
        again = ran = true;
      }
    }
    return ran;
  }

  // Whether anybody waited. Throws when not all threads wait at the same barrier.
  bool release_barrier() {
    const auto first = std::find_if(threads_.begin(), threads_.end(),
                                    [](const auto& thread) { return !thread->ended(); });
    if (first == threads_.end()) return false;
    const Site& site = (*first)->site;
    for (const auto& thread : threads_) {
      if (thread->ended() || thread->state != State::kAtBarrier || thread->site.line != site.line) {
        fail_runtime("thread ", (*first)->position.thread, " waits at ", place(site),
                     " for thread ", thread->position.thread, ", which ",
                     thread->ended() ? "has ended" : "waits at " + place(thread->site));
      }
    }
    leaked_ = nullptr;
    for (const auto& thread : threads_) {
      thread->state = State::kReady;
      if (thread->unfenced) leaked_ = thread.get();
    }
    return true;
  }

  const LaunchShape& shape_;
  const std::function<void()>& body_;
  std::span<const std::unique_ptr<Thread>> threads_;
  std::map<const void*, GuardedMemory> shared_;
  std::size_t shared_bytes_ = 0;
  std::vector<WarpProducts> products_;  // of each warp
  Thread* current_ = nullptr;
  const Thread* leaked_ = nullptr;  // one that was unfenced at the last barrier
};

void expect_launchable(const LaunchShape& shape) {
  const auto [x, y, z] = shape.blocks;
  if (shape.threads < kWarpLanes || shape.threads > kMostThreads ||
      shape.threads % kWarpLanes != 0) {
    fail_runtime("a block has 32, 64 .. 1024 threads, found ", shape.threads);
  }
  if (x < 1 || y < 1 || z < 1 || y > kMostBlocksAcross || z > kMostBlocksAcross) {
    fail_runtime("a grid has at least 1 block and up to 65535 along y and z, found ", x, " x ", y,
                 " x ", z);
  }
  if (shape.shared_bytes > kMostSharedBytes) {
    fail_runtime("a block has up to ", kMostSharedBytes, " bytes of shared memory, found ",
                 shape.shared_bytes);
  }
}

// Throws unless the address is aligned, and counts.
void count_access(const void* address, std::size_t bytes, const char* access, const Site& site) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    fail_runtime(place(site), ": ", access, " of ", bytes,
                 " bytes at an address that is no multiple of them");
  }
  if (!settings.counter) return;
  const Space space = running->is_shared(address) ? Space::kShared : Space::kGlobal;
  settings.counter->note(position().thread, site, space, address, bytes);
}

}  // namespace

std::string place(const Site& site) {
  std::string_view file = site.file;
  file.remove_prefix(file.rfind('/') + 1);
  return text(file, ":", site.line);
}

void expect_shared(const void* p, const char* what, const Site& site) {
  if (!running->is_shared(p)) {
    fail_runtime(place(site), ": ", what, " needs an address in shared memory");
  }
}

void count_matrix_instructions(int count) { settings.counts.matrix_instructions += count; }

void count_shared_reads(int count) {
  settings.counts.shared_accesses += count;
  settings.counts.shared_waves += count;
}

std::uint32_t shared_address(const void* p) {
  const GuardedMemory* array = running->shared_array(p);
  if (array == nullptr || reinterpret_cast<std::uintptr_t>(p) % 16 != 0) {
    fail_runtime("a matrix begins in shared memory, at a multiple of 16 bytes");
  }
  const std::ptrdiff_t offset = static_cast<const unsigned char*>(p) - array->data();
  return array->address() + static_cast<std::uint32_t>(offset);
}

const unsigned char* shared_memory_at(std::uint32_t address, std::size_t bytes, const Site& site) {
  const unsigned char* out = running->shared_at(address, bytes);
  if (out == nullptr) {
    fail_runtime(place(site), ": a matrix has ", bytes, " bytes at ", address,
                 ", outside of every array of shared memory");
  }
  return out;
}

void expect_fenced(const Site& site) { running->expect_fenced(site); }
WarpProducts& products_of_warp() { return running->products(); }
void fence_async_proxy() { running->current().unfenced = false; }

void set_order(Order order, std::uint64_t seed) {
  settings.order = order;
  settings.random.seed(seed);
}

void start_capture() {
  if (capture) fail_runtime("a capture is under way");
  capture.emplace();
}

std::vector<Captured> end_capture() {
  std::vector<Captured> out = std::move(*capture);
  capture.reset();
  return out;
}

std::size_t captured() { return capture ? capture->size() : 0; }

void submit(Stream stream, std::function<void()> work) {
  if (!capture) return work();
  capture->push_back({stream, std::move(work)});
}

void submit_wait(Stream stream, Stream other, std::size_t before) {
  if (capture) capture->push_back({stream, [] {}, other, before});
}

Counting::Counting() {
  settings.counter.emplace();
  settings.counts = {};
}
Counting::~Counting() { settings.counter.reset(); }
const Counts& Counting::counts() const { return settings.counts; }

void run(const char* name, const LaunchShape& shape, const std::function<void()>& body) {
  static std::mutex device;  // does one launch at a time
  const std::scoped_lock lock(device);
  try {
    expect_launchable(shape);
    Launch here(shape, body);
    running = &here;
    here.run();
    running = nullptr;
  } catch (const Error& error) {
    running = nullptr;
    throw Error(error.fault(), text(name, ": ", error.what()));
  }
}

const Position& position() { return running->current().position; }

void* shared_memory(const void* key, std::size_t bytes) {
  return running->shared_memory(key, bytes);
}

void* dynamic_shared_memory() {
  return running->shared_memory(running->dynamic_key(), running->dynamic_bytes());
}

std::size_t most_shared_bytes() { return kMostSharedBytes; }

int compute_capability() {
  const char* found = std::getenv("PTYNET_TWIN_CAPABILITY");
  return found == nullptr ? 90 : std::atoi(found);
}

void note_access(const void* address, std::size_t bytes, bool writes, const Site& site) {
  count_access(address, bytes, writes ? "a store" : "a load", site);
  if (writes && running->is_shared(address)) running->current().unfenced = true;
}

void wait_for_block(const Site& site) { running->wait_for_block(site); }

void start_copy(void* to, const void* from, std::size_t bytes, bool valid, const Site& site) {
  expect_shared(to, "a copy's target", site);
  count_access(to, bytes, "a copy", site);
  if (valid) count_access(from, bytes, "a copy", site);
  std::memset(to, settings.unwritten(), bytes);
  running->current().open.push_back({to, valid ? from : nullptr, bytes});
}

void commit_copies() {
  Thread& self = running->current();
  self.groups.push_back(std::move(self.open));
  self.open.clear();
}

void wait_for_copies(int pending) {
  Thread& self = running->current();
  std::vector<std::vector<Copy>>& groups = self.groups;
  while (groups.size() > static_cast<std::size_t>(pending)) {
    for (const Copy& copy : groups.front()) copy.land();
    self.unfenced |= !groups.front().empty();
    groups.erase(groups.begin());
  }
}

void meet(void* operand, void (*work)(const Operands&), const Site& site) {
  running->meet(operand, work, site);
}

Half narrow_f16(float v) { return ptynet::narrow_f16(v); }

}  // namespace ptynet::cuda::twin
