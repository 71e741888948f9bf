#include "kernels/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

namespace ptynet {

namespace {

constexpr std::size_t kAlignment = 256;  // what CUDA's libraries want of a workspace
constexpr std::size_t kHugePage = std::size_t{1} << 21;

std::size_t round_up(std::size_t bytes) {
  return std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
}

std::size_t bytes_of(const Shape& shape, DType type) {
  return static_cast<std::size_t>(shape.elements()) * size_of(type);
}

}  // namespace

std::shared_ptr<void> allocate_host_memory(std::size_t bytes) {
  // Blocks of megabytes ask for huge pages: a network walks through all of its arena at every call.
  const bool huge = bytes >= kHugePage;
  const std::size_t size = huge ? (bytes + kHugePage - 1) / kHugePage * kHugePage : round_up(bytes);
  void* memory = size < bytes ? nullptr : std::aligned_alloc(huge ? kHugePage : kAlignment, size);
  if (memory == nullptr) fail_runtime("out of memory: ", bytes, " bytes could not be allocated");
#ifdef MADV_HUGEPAGE
  if (huge) madvise(memory, size, MADV_HUGEPAGE);  // advice: no matter if it is not taken
#endif
  return {memory, [](void* p) { std::free(p); }};
}

struct MemoryPool::State {
  mutable std::mutex mutex;
  std::multimap<std::size_t, std::shared_ptr<void>> unused;
  std::size_t held = 0;
};

MemoryPool::MemoryPool(Device device, RawAllocate raw)
    : state_(std::make_shared<State>()), device_(device), raw_(std::move(raw)) {}

Array MemoryPool::allocate(const Shape& shape, DType type) {
  const std::size_t bytes = round_up(bytes_of(shape, type));
  std::shared_ptr<void> block;
  {
    const std::scoped_lock lock(state_->mutex);
    const auto found = state_->unused.find(bytes);
    if (found != state_->unused.end()) {
      block = std::move(found->second);
      state_->unused.erase(found);
    }
  }
  if (!block) {
    block = raw_(bytes);
    const std::scoped_lock lock(state_->mutex);
    state_->held += bytes;
  }
  void* data = block.get();
  std::shared_ptr<void> lease(data, [state = state_, block, bytes](void*) mutable {
    const std::scoped_lock lock(state->mutex);
    state->unused.emplace(bytes, std::move(block));
  });
  return Array::view(data, shape, type, device_, std::move(lease));
}

void MemoryPool::trim() {
  const std::scoped_lock lock(state_->mutex);
  for (const auto& [bytes, block] : state_->unused) state_->held -= bytes;
  state_->unused.clear();
}

std::size_t MemoryPool::bytes_held() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->held;
}

// Free places below `end` by offset; everything from `end` on is free.
struct Arena::State {
  std::map<std::size_t, std::size_t> free_at;  // offset -> bytes
  std::size_t end = 0;
  std::size_t peak = 0;
  std::size_t live = 0;
  Array slab;

  std::size_t take(std::size_t bytes) {
    ++live;
    auto best = free_at.end();
    for (auto it = free_at.begin(); it != free_at.end(); ++it) {
      if (it->second >= bytes && (best == free_at.end() || it->second < best->second)) best = it;
    }
    if (best != free_at.end()) {
      const auto [offset, size] = *best;
      free_at.erase(best);
      if (size > bytes) free_at.emplace(offset + bytes, size - bytes);
      return offset;
    }
    const std::size_t offset = end;
    end += bytes;
    peak = std::max(peak, end);
    return offset;
  }

  void give_back(std::size_t offset, std::size_t bytes) {
    --live;
    auto place = free_at.emplace(offset, bytes).first;
    const auto next = std::next(place);
    if (next != free_at.end() && place->first + place->second == next->first) {
      place->second += next->second;
      free_at.erase(next);
    }
    if (place != free_at.begin()) {
      const auto previous = std::prev(place);
      if (previous->first + previous->second == place->first) {
        previous->second += place->second;
        free_at.erase(place);
        place = previous;
      }
    }
    if (place->first + place->second == end) {
      end = place->first;
      free_at.erase(place);
    }
  }
};

Arena::Arena(Allocator& backing) : backing_(backing), state_(std::make_shared<State>()) {}

Array Arena::allocate(const Shape& shape, DType type) {
  const std::size_t bytes = round_up(bytes_of(shape, type));
  const std::size_t offset = state_->take(bytes);
  Array memory;
  if (state_->slab.empty()) {
    memory = backing_.allocate(shape, type);
  } else {
    if (offset + bytes > state_->slab.bytes()) {
      fail_runtime("the arena was planned for ", state_->slab.bytes(), " bytes, found ",
                   offset + bytes, " in use: the sequence of operations has changed");
    }
    memory =
        state_->slab.slice(static_cast<std::int64_t>(offset), static_cast<std::int64_t>(bytes));
  }
  void* data = memory.data();
  const Device device = memory.device();
  std::shared_ptr<void> lease(
      data, [state = state_, memory, offset, bytes](void*) { state->give_back(offset, bytes); });
  return Array::view(data, shape, type, device, std::move(lease));
}

void Arena::place() {
  if (state_->live > 0) fail_runtime("an arena is placed while ", state_->live, " arrays live");
  state_->slab = backing_.allocate({static_cast<std::int64_t>(state_->peak)}, DType::kU8);
  state_->peak = 0;
}

std::size_t Arena::peak_bytes() const {
  return state_->slab.empty() ? state_->peak : state_->slab.bytes();
}

}  // namespace ptynet
