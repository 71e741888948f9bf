#include "tests/cuda_on_cpu/access_counter.h"

#include <algorithm>
#include <set>

namespace ptynet::cuda::twin {

namespace {

constexpr std::uintptr_t kSectorBytes = 32;
constexpr std::uintptr_t kBankBytes = 4;
constexpr std::size_t kBanks = 32;

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  return (hash ^ value) * 0x9E3779B97F4A7C15U;
}

std::uint64_t key_of(const Site& site) {
  return mix(reinterpret_cast<std::uintptr_t>(site.file), site.line);
}

}  // namespace

void AccessCounter::note(int thread, const Site& site, Space space, const void* address,
                         std::size_t bytes) {
  const Key line = mix(key_of(site), static_cast<std::uint64_t>(space));
  const std::uint32_t visit = visits_[mix(line, static_cast<std::uint64_t>(thread))]++;
  const auto warp = static_cast<std::uint64_t>(thread / kWarpLanes) << 32;
  Access& access = accesses_[mix(mix(line, warp), visit)];
  access.space = space;
  access.bytes = bytes;
  access.addresses.push_back(reinterpret_cast<std::uintptr_t>(address));
  access.lanes.push_back(thread % kWarpLanes);
}

void AccessCounter::end_block(Counts& counts) {
  for (const auto& [key, access] : accesses_) count(access, counts);
  accesses_.clear();
  visits_.clear();
}

void AccessCounter::count(const Access& access, Counts& counts) {
  if (access.space == Space::kShared) return count_shared(access, counts);
  std::set<std::uintptr_t> sectors;
  for (const std::uintptr_t address : access.addresses) {
    for (std::uintptr_t s = address / kSectorBytes;
         s <= (address + access.bytes - 1) / kSectorBytes; ++s) {
      sectors.insert(s);
    }
  }
  counts.global_accesses += 1;
  counts.global_sectors += static_cast<std::int64_t>(sectors.size());
}

void AccessCounter::count_shared(const Access& access, Counts& counts) {
  // 8 bytes per lane are served to half a warp at a time, 16 bytes to a quarter.
  const std::size_t parts = std::max<std::size_t>(1, access.bytes / kBankBytes);
  for (std::size_t part = 0; part < parts; ++part) {
    std::array<std::set<std::uintptr_t>, kBanks> words;
    for (std::size_t i = 0; i < access.addresses.size(); ++i) {
      if (static_cast<std::size_t>(access.lanes[i]) * parts / kWarpLanes != part) continue;
      const std::uintptr_t first = access.addresses[i] / kBankBytes;
      for (std::uintptr_t w = first; w < first + parts; ++w) words[w % kBanks].insert(w);
    }
    std::size_t waves = 0;
    for (const auto& bank : words) waves = std::max(waves, bank.size());
    counts.shared_accesses += waves > 0 ? 1 : 0;
    counts.shared_waves += static_cast<std::int64_t>(waves);
  }
}

}  // namespace ptynet::cuda::twin
