// Training patterns: diffraction and the patch that it comes from.
#pragma once

#include <cstdint>

#include "engine/trainer.h"

namespace ptynet {

// An endless series of patterns, each a function of its number.
class PatternSeries {
 public:
  virtual ~PatternSeries() = default;
  // Patterns first, first + 1, ..., as many as `to` has room for, in memory of the device that
  // trains. On a GPU it only asks for them and returns.
  virtual void make(std::uint64_t first, Patterns& to) = 0;
};

// As many as are made or moved at a time, to keep all of a device busy.
inline constexpr std::int64_t kPatternsTogether = 64;

// Room for patterns on the device.
Patterns room_for_patterns(Context& context, std::int64_t count, std::int64_t height,
                           std::int64_t width);
// `count` of them from place `first` on, sharing their memory.
Patterns patterns_within(const Patterns& all, std::int64_t first, std::int64_t count);
void copy_patterns(Context& context, const Patterns& from, Patterns& to);
// Patterns [first, first + count) on the host, waited for.
Patterns patterns_on_host(Context& context, PatternSeries& series, std::uint64_t first,
                          std::int64_t count, std::int64_t height, std::int64_t width);

// Cuts a series into epochs, and epochs into batches, of which the last may be smaller.
struct EpochPlan {
  std::int64_t patterns = 4096;  // of an epoch
  std::int64_t batch = 16;

  std::int64_t batches() const { return (patterns + batch - 1) / batch; }
  std::uint64_t first(std::int64_t number) const;  // pattern of the run's batch `number`
  std::int64_t size(std::int64_t number) const;
};

}  // namespace ptynet
