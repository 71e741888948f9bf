#include "engine/training_queue.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/device_room.h"

namespace ptynet {

namespace {

// In the device's memory, or where that leaves no room for steps on `batch` of them, in memory of
// the host that the device reads.
Array within_reach(Context& context, const Array& frames, std::int64_t batch) {
  const Shape& s = frames.shape();
  Array out;
  if (fits_beside(context, step_reserve(batch, s[1], s[2]),
                  [&] { out = on_device(context, frames); })) {
    return out;
  }
  out = context.backend().staging(s, frames.dtype());
  std::memcpy(out.data(), frames.data(), frames.bytes());
  return out;
}

// Of frames one below the other.
Array frame_corners(const std::vector<std::int64_t>& indices, const Shape& frames) {
  const std::int64_t height = frames[1];
  if (frames[0] > std::numeric_limits<std::int32_t>::max() / height) {
    fail_input("training takes frames of fewer than 2^31 rows together, found ", frames[0], " of ",
               height);
  }
  std::vector<std::int32_t> corners;
  for (const std::int64_t index : indices) {
    corners.push_back(static_cast<std::int32_t>(index * height));
    corners.push_back(0);
  }
  return Array::copy_of(corners, {static_cast<std::int64_t>(indices.size()), 2});
}

Array in_one_column(const Array& frames) {
  const Shape& s = frames.shape();
  return frames.reshape({s[0] * s[1], s[2]});
}

// The host copy of some rows of an array on the device.
Array rows_of(Context& context, const Array& array, std::int64_t first, std::int64_t count) {
  const Array part = array.slice(first, count);
  Array host = Array::host(part.shape(), part.dtype());
  context.backend().copy(part, host);
  return host;
}

}  // namespace

TrainingQueue::TrainingQueue(Context& context, const TrainingSet& set, std::int64_t batch)
    : context_(context), places_(static_cast<std::int64_t>(set.indices.size())), batch_(batch) {
  const Shape& s = set.frames.shape();
  if (s.rank() != 3 || set.frames.dtype() != DType::kF32 || places_ < 1) {
    fail_input("a training set has frames f32[m, h, w] and at least one to train on, found ",
               describe(set.frames), " and ", places_);
  }
  corners_ = on_device(context, frame_corners(set.indices, s));
  if (!set.corners.empty()) {
    canvas_corners_ = on_device(context, set.corners);
    canvas_ = context.allocate({set.canvas[0], set.canvas[1], 2}, DType::kF32);
    sums_.object = context.allocate({places_}, DType::kF64);
  }
  sums_.intensity = context.allocate({places_, 4}, DType::kF64);
  make_queue();
  patterns_.frames = in_one_column(within_reach(context, set.frames, batch));
  if (patterns_.frames.device() == context.device()) return;
  coming_ = context.allocate({batch, s[1], s[2]}, DType::kF32);
  ahead_ = {queue_.order, queue_.rates, context.allocate({2}, DType::kI32)};
}

TrainingQueue::TrainingQueue(Context& context, const Patterns& patterns, std::int64_t batch)
    : context_(context), places_(patterns.frames.shape()[0]), batch_(batch) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(places_));
  std::iota(indices.begin(), indices.end(), 0);
  corners_ = on_device(context, frame_corners(indices, patterns.frames.shape()));
  patterns_ = {in_one_column(patterns.frames), in_one_column(patterns.amplitude),
               in_one_column(patterns.phase)};
  sums_.patch = context.allocate({places_, 2}, DType::kF64);
  make_queue();
}

void TrainingQueue::make_queue() {
  // What the last step fetches for the next lies beyond the epoch's end.
  queue_ = {context_.allocate({places_ + 2 * batch_}, DType::kI32),
            context_.allocate({places_}, DType::kF64), context_.allocate({2}, DType::kI32)};
}

void TrainingQueue::set_canvas(const Array& object) {
  if (object.dtype() != DType::kC64 || object.bytes() != canvas_.bytes()) {
    fail_input("a training set with a canvas ", describe(canvas_), " expects it as c64, found ",
               describe(object));
  }
  context_.backend().copy(object, canvas_);
}

void TrainingQueue::begin_epoch(const std::vector<std::int64_t>& order,
                                const std::vector<double>& rates, std::int64_t first_batch) {
  const auto taken = static_cast<std::int64_t>(order.size());
  const auto steps = (taken + batch_ - 1) / batch_;
  const bool all = patterns_.amplitude.empty();  // of a scan; patterns may be fewer than their room
  if (taken < 1 || taken > places_ || (all && taken != places_) ||
      static_cast<std::int64_t>(rates.size()) != steps) {
    fail_input("an epoch of ", all ? "" : "up to ", places_, " frames has as many places and ",
               steps, " rates, found ", taken, " and ", rates.size());
  }
  taken_ = taken;
  const auto send = [&](const Array& host, Array to) { context_.backend().copy(host, to); };
  std::vector<std::int32_t> places(order.begin(), order.end());
  places.resize(static_cast<std::size_t>(queue_.order.elements()), 0);  // of some frame
  send(Array::copy_of(places, queue_.order.shape()), queue_.order);
  send(Array::copy_of(rates, {steps}), queue_.rates.slice(0, steps));
  const Array cursor = Array::copy_of<std::int32_t>(
      {static_cast<std::int32_t>(first_batch * batch_), static_cast<std::int32_t>(first_batch)},
      {2});
  send(cursor, queue_.cursor);
  if (coming_.empty()) return;
  send(cursor, ahead_.cursor);
  fetch();
}

// The next step's frames, while a step computes.
void TrainingQueue::fetch() {
  context_.backend().take_windows(ahead_, patterns_.frames, corners_, coming_);
  context_.backend().advance(ahead_, batch_);
}

std::int64_t TrainingQueue::size_of(std::int64_t number) const {
  return std::min(batch_, taken_ - number * batch_);
}

void TrainingQueue::take(Patterns& patterns, Array& canvas) {
  Backend& backend = context_.backend();
  const auto windows = [&](const Array& from, const Array& corners, Array& to) {
    if (!to.empty()) backend.take_windows(queue_, from, corners, to);
  };
  if (coming_.empty()) {
    windows(patterns_.frames, corners_, patterns.frames);
  } else {
    backend.copy(coming_.slice(0, patterns.frames.shape()[0]), patterns.frames);
    backend.beside([this] { fetch(); });
  }
  windows(patterns_.amplitude, corners_, patterns.amplitude);
  windows(patterns_.phase, corners_, patterns.phase);
  windows(canvas_, canvas_corners_, canvas);
}

void TrainingQueue::take_rate(double factor, Adam& adam) const {
  Array rate = adam.learning_rate();
  context_.backend().take_rate(queue_, factor, rate);
}

void TrainingQueue::leave(const StepSums& sums) {
  Backend& backend = context_.backend();
  std::int64_t frames = 0;
  const auto put = [&](const Array& from, Array& to) {
    if (from.empty()) return;
    backend.put_rows(queue_, from, to);
    frames = from.shape()[0];
  };
  put(sums.intensity, sums_.intensity);
  put(sums.object, sums_.object);
  put(sums.patch, sums_.patch);
  backend.advance(queue_, frames);
}

StepSums TrainingQueue::sums_of(std::int64_t first, std::int64_t end) const {
  const std::int64_t frames = std::min(end * batch_, taken_) - first * batch_;
  const auto rows = [&](const Array& all) {
    return all.empty() ? Array() : rows_of(context_, all, first * batch_, frames);
  };
  StepSums out{rows(sums_.intensity), rows(sums_.object), rows(sums_.patch)};
  context_.backend().synchronize();
  return out;
}

}  // namespace ptynet
