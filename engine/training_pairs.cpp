#include "engine/training_pairs.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numeric>
#include <span>

#include "engine/device_room.h"
#include "io/result.h"
#include "io/sha256.h"
#include "kernels/random.h"

namespace ptynet {

namespace {

// The window's first pixel within the object, or nothing when it is not known everywhere in it.
std::optional<std::int64_t> corner_in(const io::Result& object, const io::Position& position,
                                      std::int64_t height, std::int64_t width) {
  const Shape& shape = object.object.shape();
  const double row = std::round(position.row - object.origin_px[0]);
  const double column = std::round(position.column - object.origin_px[1]);
  if (!(row >= 0 && row <= static_cast<double>(shape[0] - height) && column >= 0 &&
        column <= static_cast<double>(shape[1] - width))) {
    return std::nullopt;
  }
  const std::int64_t corner =
      static_cast<std::int64_t>(row) * shape[1] + static_cast<std::int64_t>(column);
  for (std::int64_t r = 0; r < height; ++r) {
    const std::int64_t first = corner + r * shape[1];
    const auto* count = object.count.data<std::uint32_t>() + first;
    const auto* value = object.object.data<std::complex<float>>() + first;
    for (std::int64_t c = 0; c < width; ++c) {
      if (count[c] == 0 || !std::isfinite(std::norm(value[c]))) return std::nullopt;
    }
  }
  return corner;
}

std::vector<std::int64_t> corners_in(const io::Result& object, const Scan& scan,
                                     const KnownScan& known) {
  std::vector<std::int64_t> out;
  for (const io::Position& p : scan.positions_px()) {
    const auto corner = corner_in(object, p, scan.height(), scan.width());
    if (!corner) {
      fail_input(known.truth, ": expected the object of ", known.scan, ", known wherever frames ",
                 "lie, found none at frame ", out.size(), " (row ", p.row, ", column ", p.column,
                 "): give the truths in the order of the scans");
    }
    out.push_back(*corner);
  }
  return out;
}

// A window of [rows, columns] values, row by row.
void copy_window(const Array& from, std::int64_t corner, std::int64_t height, std::int64_t width,
                 float* to) {
  for (std::int64_t r = 0; r < height; ++r) {
    std::copy_n(from.data<float>() + corner + r * from.shape()[1], width, to + r * width);
  }
}

}  // namespace

TrainingPairs::TrainingPairs(const std::vector<KnownScan>& scans, std::int64_t limit_bytes) {
  for (const KnownScan& known : scans) {
    parts_.push_back(open(known));
    for (std::int64_t k = 0; k < parts_.back().scan.count(); ++k) {
      places_.push_back({parts_.size() - 1, k});
    }
  }
  const double bytes = 4.0 * static_cast<double>(count()) * static_cast<double>(height()) *
                       static_cast<double>(width());
  if (bytes > static_cast<double>(limit_bytes)) {
    fail_input("the ", count(), " frames of ", height(), "x", width(), " px of all scans take ",
               bytes / 1e9, " GB in memory, over the limit of ",
               static_cast<double>(limit_bytes) / 1e9,
               " GB (half of what this machine has): give fewer scans");
  }
}

TrainingPairs::Part TrainingPairs::open(const KnownScan& known) const {
  ScanOptions options;
  options.path = known.scan;
  Part part{Scan::open(options), {}, {}, {}, {}};
  const Scan& scan = part.scan;
  scan.expect_far_field("leave it out of --scans");
  if (!scan.has_positions()) {
    fail_input(known.scan, ": expected positions, which say what of ", known.truth,
               " a frame shows, found none");
  }
  if (!parts_.empty() && (scan.height() != height() || scan.width() != width())) {
    fail_input(known.scan, ": expected frames of ", height(), "x", width(),
               " px like the scans before, found ", scan.height(), "x", scan.width());
  }
  const io::Result object = io::read_result(known.truth);
  part.corners = corners_in(object, scan, known);
  part.amplitude = object.amplitude();
  part.phase = object.phase_rad();
  return part;
}

void TrainingPairs::read(const Progress& progress) {
  constexpr auto kLookedAt = std::numeric_limits<std::int64_t>::max();  // by the constructor
  for (Part& part : parts_) part.frames = read_frames(part.scan, kLookedAt, progress);
}

std::string TrainingPairs::sha256() const {
  std::string all;
  for (const Part& part : parts_) {
    all += io::sha256_of(part.frames) + io::sha256_of(part.amplitude) + io::sha256_of(part.phase) +
           io::sha256(std::as_bytes(std::span(part.corners)));
  }
  return io::sha256_of(all);
}

Patterns TrainingPairs::batch(const std::vector<std::int64_t>& indices) const {
  const Shape shape{static_cast<std::int64_t>(indices.size()), height(), width()};
  Patterns out;
  for (Array* array : {&out.frames, &out.amplitude, &out.phase}) {
    *array = Array::host(shape, DType::kF32);
  }
  const std::int64_t pixels = height() * width();
  std::int64_t at = 0;
  for (const std::int64_t index : indices) {
    const Place& place = places_.at(static_cast<std::size_t>(index));
    const Part& part = parts_[place.part];
    const std::int64_t corner = part.corners[static_cast<std::size_t>(place.frame)];
    std::copy_n(part.frames.data<float>() + place.frame * pixels, pixels,
                out.frames.data<float>() + at);
    copy_window(part.amplitude, corner, height(), width(), out.amplitude.data<float>() + at);
    copy_window(part.phase, corner, height(), width(), out.phase.data<float>() + at);
    at += pixels;
  }
  return out;
}

ShuffledPairs::ShuffledPairs(Context& context, std::shared_ptr<const TrainingPairs> pairs,
                             std::int64_t count, std::uint64_t seed, std::int64_t batch)
    : context_(context),
      pairs_(std::move(pairs)),
      count_(static_cast<std::uint64_t>(count)),
      seed_(CounterRandom(seed, "training pairs").bits(0)) {
  if (context.device().kind != DeviceKind::kCpu) put_on_device(batch);
}

void ShuffledPairs::put_on_device(std::int64_t batch) {
  const auto count = static_cast<std::int64_t>(count_);
  const std::int64_t height = pairs_->height();
  const std::int64_t width = pairs_->width();
  Patterns all;
  const bool fits = fits_beside(context_, step_reserve(batch, height, width),
                                [&] { all = room_for_patterns(context_, count, height, width); });
  if (!fits || count > std::numeric_limits<std::int32_t>::max() / height) return;
  std::vector<std::int32_t> corners;
  for (std::int64_t first = 0; first < count; first += kPatternsTogether) {
    const std::int64_t n = std::min(kPatternsTogether, count - first);
    Order indices(static_cast<std::size_t>(n));
    std::iota(indices.begin(), indices.end(), first);
    Patterns part = patterns_within(all, first, n);
    copy_patterns(context_, pairs_->batch(indices), part);
    for (const std::int64_t index : indices) {
      corners.insert(corners.end(), {static_cast<std::int32_t>(index * height), 0});
    }
  }
  corners_ = on_device(context_, Array::copy_of(corners, {count, 2}));
  const Shape column{count * height, width};
  resident_ = {all.frames.reshape(column), all.amplitude.reshape(column),
               all.phase.reshape(column)};
  wanted_.cursor = on_device(context_, Array::zeros({2}, DType::kI32));
}

const ShuffledPairs::Order& ShuffledPairs::order_of(std::uint64_t pass) {
  if (order_.empty() || pass != pass_) {
    order_.resize(count_);
    std::iota(order_.begin(), order_.end(), 0);
    order_ = shuffled(std::move(order_), seed_, static_cast<std::int64_t>(pass));
    pass_ = pass;
  }
  return order_;
}

void ShuffledPairs::make(std::uint64_t first, Patterns& to) {
  const auto count = static_cast<std::uint64_t>(to.frames.shape()[0]);
  Order indices;
  for (std::uint64_t i = first; i < first + count; ++i) {
    indices.push_back(order_of(i / count_)[i % count_]);
  }
  if (resident_.frames.empty()) return copy_patterns(context_, pairs_->batch(indices), to);
  Backend& backend = context_.backend();
  const auto n = static_cast<std::int64_t>(count);
  wanted_.order = on_device(
      context_, Array::copy_of(std::vector<std::int32_t>(indices.begin(), indices.end()), {n}));
  backend.take_windows(wanted_, resident_.frames, corners_, to.frames);
  backend.take_windows(wanted_, resident_.amplitude, corners_, to.amplitude);
  backend.take_windows(wanted_, resident_.phase, corners_, to.phase);
}

}  // namespace ptynet
