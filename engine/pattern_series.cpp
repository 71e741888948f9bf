#include "engine/pattern_series.h"

#include <algorithm>

namespace ptynet {

Patterns room_for_patterns(Context& context, std::int64_t count, std::int64_t height,
                           std::int64_t width) {
  const auto room = [&] { return context.allocate({count, height, width}, DType::kF32); };
  return {room(), room(), room()};
}

Patterns patterns_within(const Patterns& all, std::int64_t first, std::int64_t count) {
  return {all.frames.slice(first, count), all.amplitude.slice(first, count),
          all.phase.slice(first, count)};
}

void copy_patterns(Context& context, const Patterns& from, Patterns& to) {
  context.backend().copy(from.frames, to.frames);
  context.backend().copy(from.amplitude, to.amplitude);
  context.backend().copy(from.phase, to.phase);
}

Patterns patterns_on_host(Context& context, PatternSeries& series, std::uint64_t first,
                          std::int64_t count, std::int64_t height, std::int64_t width) {
  const auto host = [&] { return Array::host({count, height, width}, DType::kF32); };
  Patterns out{host(), host(), host()};
  const Patterns room =
      room_for_patterns(context, std::min(count, kPatternsTogether), height, width);
  for (std::int64_t done = 0; done < count; done += kPatternsTogether) {
    const std::int64_t n = std::min(kPatternsTogether, count - done);
    Patterns made = patterns_within(room, 0, n);
    series.make(first + static_cast<std::uint64_t>(done), made);
    Patterns to = patterns_within(out, done, n);
    copy_patterns(context, made, to);
    context.backend().synchronize();
  }
  return out;
}

std::uint64_t EpochPlan::first(std::int64_t number) const {
  return static_cast<std::uint64_t>(number / batches() * patterns + number % batches() * batch);
}

std::int64_t EpochPlan::size(std::int64_t number) const {
  return std::min(batch, patterns - number % batches() * batch);
}

}  // namespace ptynet
