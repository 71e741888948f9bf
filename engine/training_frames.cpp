#include "engine/training_frames.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/frame_prefetch.h"
#include "kernels/math.h"
#include "kernels/random.h"

namespace ptynet {

namespace {

constexpr std::int64_t kFramesOfOneRead = 32;

void expect_counts(const Array& frames, const io::ScanFile& file) {
  bool good = false;
  const auto* values = frames.data<float>();
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    if (values[i] > 0 && is_count(values[i])) return;
    good = good || is_count(values[i]);
  }
  if (good) fail_input(file.path.string(), ": no frame has any counts, so there is nothing to fit");
  fail_input(file.path.string(), ": no frame has a good pixel (masked, negative or not a number):",
             " check --mask and --dark");
}

}  // namespace

std::int64_t memory_for_frames() {
  const auto pages = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES));
  const auto page_bytes = static_cast<std::int64_t>(sysconf(_SC_PAGESIZE));
  return pages / 2 * page_bytes;
}

Array read_frames(Scan& scan, std::int64_t limit_bytes, const Progress& progress) {
  const double bytes = 4.0 * static_cast<double>(scan.count()) *
                       static_cast<double>(scan.height()) * static_cast<double>(scan.width());
  if (bytes > static_cast<double>(limit_bytes)) {
    fail_input(scan.count(), " frames of ", scan.height(), "x", scan.width(), " px take ",
               bytes / 1e9, " GB in memory, over the limit of ",
               static_cast<double>(limit_bytes) / 1e9,
               " GB (half of what this machine has): choose fewer with --frames, or use --crop or ",
               "--bin");
  }
  Array frames = Array::host({scan.count(), scan.height(), scan.width()}, DType::kF32);
  FramePrefetch source(scan, kFramesOfOneRead);
  while (const auto batch = source.next()) {
    Array to = frames.slice(batch->first, batch->frames.shape()[0]);
    if (!to.empty()) std::memcpy(to.data(), batch->frames.data(), to.bytes());
    if (progress) progress("reading", batch->first + to.shape()[0], scan.count());
  }
  expect_counts(frames, scan.file());
  return frames;
}

Array gather(const Array& frames, const std::vector<std::int64_t>& indices) {
  const Shape& s = frames.shape();
  Array out = Array::host({static_cast<std::int64_t>(indices.size()), s[1], s[2]}, DType::kF32);
  const std::int64_t pixels = s[1] * s[2];
  float* to = out.data<float>();
  for (const std::int64_t i : indices) {
    to = std::copy_n(frames.data<float>() + i * pixels, pixels, to);
  }
  return out;
}

double mean_count(const Array& frames) {
  double sum = 0;
  std::int64_t good = 0;
  const auto* values = frames.data<float>();
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    if (!is_count(values[i])) continue;
    sum += double{values[i]};
    ++good;
  }
  return sum / static_cast<double>(std::max<std::int64_t>(good, 1));
}

std::vector<double> counts_of_frames(const Array& frames) {
  const std::int64_t pixels = frames.shape()[1] * frames.shape()[2];
  std::vector<double> out;
  for (std::int64_t i = 0; i < frames.shape()[0]; ++i) {
    const float* frame = frames.data<float>() + i * pixels;
    double sum = 0;
    for (std::int64_t p = 0; p < pixels; ++p) sum += is_count(frame[p]) ? double{frame[p]} : 0.0;
    out.push_back(sum);
  }
  return out;
}

FrameSplit split_frames(std::int64_t n, double fraction) {
  // A tiny fraction has no whole number for its inverse; that of nothing is over any n.
  const double wanted = fraction > 0 ? std::round(1 / fraction) : static_cast<double>(n) + 1;
  const auto every = static_cast<std::int64_t>(std::min(wanted, static_cast<double>(n) + 1));
  FrameSplit out;
  for (std::int64_t i = 0; i < n; ++i) {
    (i % every == every - 1 ? out.held_out : out.training).push_back(i);
  }
  if (fraction > 0 && out.held_out.empty()) {
    fail_input("--validate ", fraction, " holds out every ", wanted, "th frame, which of ", n,
               " frames is none");
  }
  return out;
}

std::vector<std::int64_t> shuffled(std::vector<std::int64_t> indices, std::uint64_t seed,
                                   std::int64_t epoch) {
  const CounterRandom random(seed, text("epoch ", epoch));
  for (std::size_t i = indices.size(); i > 1; --i) {
    const double u = random.uniform(i);
    const auto other = std::min(i - 1, static_cast<std::size_t>(u * static_cast<double>(i)));
    std::swap(indices[i - 1], indices[other]);
  }
  return indices;
}

}  // namespace ptynet
