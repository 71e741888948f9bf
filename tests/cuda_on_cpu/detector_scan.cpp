#include "tests/cuda_on_cpu/detector_scan.h"

#include <limits>

#include "kernels/cuda/launching.h"
#include "kernels/random.h"

namespace ptynet::cuda::tests {

namespace {

template <typename T>
constexpr T kMost = static_cast<T>(sizeof(T) == 1 ? 250 : 4096);

// Of n frames. The last pixel of each is the largest: who forgets the end of a frame, fails.
template <typename T>
std::vector<T> random_counts(std::int64_t n, std::int64_t pixels) {
  const std::int64_t count = n * pixels;
  const CounterRandom random(3, "counts");
  std::vector<T> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double u = random.uniform(i);
    out[i] = static_cast<T>(static_cast<std::int64_t>(u * u * kMost<T>));
    if (i % 41 == 5) out[i] = std::numeric_limits<T>::max();
    if constexpr (std::is_signed_v<T>) {
      if (i % 43 == 7) out[i] = T{-3};
    }
    if constexpr (std::is_floating_point_v<T>) {
      if (i % 41 == 5) out[i] = std::numeric_limits<T>::infinity();
      if (i % 47 == 9) out[i] = std::numeric_limits<T>::quiet_NaN();
    }
  }
  for (std::size_t i = 1; i <= static_cast<std::size_t>(n); ++i) {
    out[i * static_cast<std::size_t>(pixels) - 1] = kMost<T>;
  }
  return out;
}

std::vector<std::uint8_t> random_mask(std::int64_t count) {
  const CounterRandom random(5, "mask");
  std::vector<std::uint8_t> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = random.uniform(i) < 0.1 ? 0 : 1;
  out.front() = 0;  // who takes index 0 for none, fails
  return out;
}

// Index of a pixel of the window in the stored frame, or -1.
std::int64_t stored_index(const FrameWindow& window, int row, int column) {
  const auto along = [&](int i, int first, int extent) {
    const int at = first + i;
    if (window.periodic) return (at % extent + extent) % extent;
    return at >= 0 && at < extent ? at : -1;
  };
  const int r = along(row, window.first_row, window.stored_h);
  const int c = along(column, window.first_column, window.stored_w);
  return r < 0 || c < 0 ? -1 : std::int64_t{r} * window.stored_w + c;
}

// The pixel after the window's last row is as large as any: whose maximum takes it in, fails. (A
// periodic window goes round to its own pixels.)
template <typename T>
void set_pixel_after(const FrameWindow& window, std::vector<T>& counts) {
  const std::int64_t at = stored_index(window, window.h, 0);
  const std::int64_t stored = std::int64_t{window.stored_h} * window.stored_w;
  if (at < 0 || window.periodic) return;
  for (auto i = static_cast<std::size_t>(at); i < counts.size();
       i += static_cast<std::size_t>(stored)) {
    counts[i] = kMost<T>;
  }
}

template <typename T>
Scan make_typed(const ScanOptions& options) {
  const FrameWindow& window = options.window;
  const std::int64_t stored = std::int64_t{window.stored_h} * window.stored_w;
  std::vector<T> counts = random_counts<T>(options.n, stored);
  set_pixel_after(window, counts);
  const std::vector<std::uint8_t> mask = random_mask(stored);
  std::vector<T> seen;
  std::vector<std::uint8_t> good;
  for (int n = 0; n < options.n; ++n) {
    for (int row = 0; row < window.h; ++row) {
      for (int column = 0; column < window.w; ++column) {
        const std::int64_t at = stored_index(window, row, column);
        const auto place = static_cast<std::size_t>(at);
        seen.push_back(at < 0 ? T{0} : counts[static_cast<std::size_t>(n * stored) + place]);
        good.push_back(at >= 0 && (!options.masked || mask[place] != 0) ? 1 : 0);
      }
    }
  }
  const std::size_t offset = options.aligned ? 0 : 4;
  const Shape shape{options.n, window.h, window.w};
  Scan out{placed(counts, offset),
           placed(mask),
           {},
           Array::copy_of(seen, shape),
           Array::copy_of(good, shape)};
  out.frames = {out.counts.data(), options.type,
                options.masked ? static_cast<const std::uint8_t*>(out.mask.data()) : nullptr,
                window, options.n};
  return out;
}

}  // namespace

Scan make_scan(const ScanOptions& options) {
  Scan out{placed(nullptr, 0), placed(nullptr, 0), {}, {}, {}};
  with_count_type(options.type, [&](auto count) { out = make_typed<decltype(count)>(options); });
  return out;
}

std::string describe(const ScanOptions& options) {
  const FrameWindow& w = options.window;
  return text(ptynet::name_of(options.type), " n", options.n, " ", w.stored_h, "x", w.stored_w,
              " from ", w.first_row, ",", w.first_column, " ", w.h, "x", w.w,
              w.periodic ? " periodic" : "", options.masked ? " masked" : "",
              options.aligned ? "" : " unaligned");
}

}  // namespace ptynet::cuda::tests
