#include "engine/training_queue.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace ptynet {

namespace {

// In the device's memory, or where that is full, in memory of the host that the device reads.
Array within_reach(Context& context, const Array& host) {
  try {
    return on_device(context, host);
  } catch (const Error&) {
    Array out = context.backend().staging(host.shape(), host.dtype());
    std::memcpy(out.data(), host.data(), host.bytes());
    return out;
  }
}

Array frame_corners(const TrainingSet& set) {
  const std::int64_t height = set.frames.shape()[1];
  const std::int64_t count = set.frames.shape()[0];
  if (count > std::numeric_limits<std::int32_t>::max() / height) {
    fail_input("training takes frames of fewer than 2^31 rows together, found ", count, " of ",
               height);
  }
  std::vector<std::int32_t> corners;
  for (const std::int64_t index : set.indices) {
    corners.push_back(static_cast<std::int32_t>(index * height));
    corners.push_back(0);
  }
  return Array::copy_of(corners, {static_cast<std::int64_t>(set.indices.size()), 2});
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
  corners_ = on_device(context, frame_corners(set));
  if (!set.corners.empty()) {
    canvas_corners_ = on_device(context, set.corners);
    canvas_ = context.allocate({set.canvas[0], set.canvas[1], 2}, DType::kF32);
    object_sums_ = context.allocate({places_}, DType::kF64);
  }
  intensity_sums_ = context.allocate({places_, 4}, DType::kF64);
  // What the last step fetches for the next lies beyond the epoch's end.
  queue_ = {context.allocate({places_ + 2 * batch}, DType::kI32),
            context.allocate({places_}, DType::kF64), context.allocate({2}, DType::kI32)};
  frames_ = within_reach(context, set.frames).reshape({s[0] * s[1], s[2]});
  if (frames_.device() == context.device()) return;
  coming_ = context.allocate({batch, s[1], s[2]}, DType::kF32);
  ahead_ = {queue_.order, queue_.rates, context.allocate({2}, DType::kI32)};
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
  const auto steps = (places_ + batch_ - 1) / batch_;
  if (static_cast<std::int64_t>(order.size()) != places_ ||
      static_cast<std::int64_t>(rates.size()) != steps) {
    fail_input("an epoch of ", places_, " frames has as many places and ", steps, " rates, found ",
               order.size(), " and ", rates.size());
  }
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
  context_.backend().take_windows(ahead_, frames_, corners_, coming_);
  context_.backend().advance(ahead_, batch_);
}

std::int64_t TrainingQueue::size_of(std::int64_t number) const {
  return std::min(batch_, places_ - number * batch_);
}

void TrainingQueue::take(Array& frames, Array& canvas) {
  Backend& backend = context_.backend();
  if (coming_.empty()) {
    backend.take_windows(queue_, frames_, corners_, frames);
  } else {
    backend.copy(coming_.slice(0, frames.shape()[0]), frames);
    backend.beside([this] { fetch(); });
  }
  if (!canvas.empty()) backend.take_windows(queue_, canvas_, canvas_corners_, canvas);
}

void TrainingQueue::take_rate(double factor, Adam& adam) const {
  Array rate = adam.learning_rate();
  context_.backend().take_rate(queue_, factor, rate);
}

void TrainingQueue::leave(const Array& intensity_sums, const Array& object_sums) {
  Backend& backend = context_.backend();
  backend.put_rows(queue_, intensity_sums, intensity_sums_);
  if (!object_sums.empty()) backend.put_rows(queue_, object_sums, object_sums_);
  backend.advance(queue_, intensity_sums.shape()[0]);
}

TrainingQueue::Sums TrainingQueue::sums_of(std::int64_t first, std::int64_t end) const {
  const std::int64_t frames = std::min(end * batch_, places_) - first * batch_;
  Sums out{rows_of(context_, intensity_sums_, first * batch_, frames), {}};
  if (!object_sums_.empty()) out.object = rows_of(context_, object_sums_, first * batch_, frames);
  context_.backend().synchronize();
  return out;
}

}  // namespace ptynet
