#include "engine/canvas_session.h"

#include <algorithm>
#include <complex>
#include <cstring>

#include "engine/choice_cache.h"
#include "engine/stitcher.h"

namespace ptynet {

// Two take turns: while one is on its way to the device, the other is computed.
struct CanvasSession::Slot {
  Array host_frames, frames;    // [batch, h, w]
  Array host_corners, corners;  // f64 [batch, 2]
  // Brings this slot to the device and computes the other.
  std::unique_ptr<PlannedReplay> replay;
  std::unique_ptr<Event> done;  // with the last of these
};

namespace {

constexpr std::int64_t kMostPixels = std::int64_t{1} << 31;  // of a canvas

void check_canvas(const CanvasOptions& canvas, const SessionOptions& frames) {
  if (canvas.rows < frames.height || canvas.columns < frames.width ||
      canvas.rows > kMostPixels / canvas.columns) {
    fail_input("a canvas has room for a patch of ", frames.height, "x", frames.width,
               " and up to 2^31 pixels, found ", canvas.rows, "x", canvas.columns);
  }
  if (canvas.border < 0 || 2 * canvas.border >= std::min(frames.height, frames.width)) {
    fail_input("the border of a patch of ", frames.height, "x", frames.width,
               " is from 0 to less than half of it, found ", canvas.border);
  }
  const Array& weight = canvas.weight;
  if (!weight.empty() &&
      (weight.shape() != Shape{frames.height, frames.width} || weight.dtype() != DType::kF32)) {
    fail_input("expected a weight f32[", frames.height, ", ", frames.width, "], found ",
               describe(weight));
  }
}

Array ones(const Shape& shape) {
  Array out = Array::host(shape, DType::kF32);
  std::fill_n(out.data<float>(), out.elements(), 1.0F);
  return out;
}

Array to_host(Context& context, const Array& array) {
  Array out = Array::host(array.shape(), array.dtype());
  context.backend().copy(array, out);
  context.backend().synchronize();
  return out;
}

}  // namespace

CanvasSession::CanvasSession(const Architecture& architecture, const StateDict& state,
                             const SessionOptions& options, const CanvasOptions& canvas)
    : predictor_(std::make_unique<Predictor>(architecture, state, options)), canvas_(canvas) {
  check_canvas(canvas, options);
  const Shape patch{options.height, options.width};
  weight_ = on_device(context(), canvas.weight.empty() ? ones(patch) : canvas.weight.clone());
  const std::int64_t pixels = (canvas.rows + options.height) * canvas.columns;
  // 64-bit integers, in arrays of elements of their size.
  object_ = context().allocate({pixels, 2}, DType::kF64);
  coverage_ = context().allocate({pixels}, DType::kF64);
  count_ = context().allocate({pixels}, DType::kU32);
  clear();
  Backend& backend = context().backend();
  const Shape frames{options.batch, options.height, options.width};
  for (auto& slot : slots_) {
    slot = std::make_unique<Slot>();
    slot->host_frames = backend.staging(frames, options.frame_type);
    std::memset(slot->host_frames.data(), 0, slot->host_frames.bytes());
    slot->host_corners = backend.staging({options.batch, 2}, DType::kF64);
    drop(*slot, 0);
    slot->frames = context().allocate(frames, options.frame_type);
    slot->corners = context().allocate({options.batch, 2}, DType::kF64);
    backend.copy(slot->host_frames, slot->frames);
    backend.copy(slot->host_corners, slot->corners);
    slot->done = backend.event();
  }
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) record(slot);
  clear();  // of what a recording may have done to warm up
  save_choices(choice_file(), backend);
}

CanvasSession::~CanvasSession() = default;
CanvasSession::CanvasSession(CanvasSession&&) noexcept = default;
// What the other session was goes with it, its replays before what they lean on.
CanvasSession& CanvasSession::operator=(CanvasSession&& other) noexcept {
  std::swap(predictor_, other.predictor_);
  std::swap(canvas_, other.canvas_);
  std::swap(weight_, other.weight_);
  std::swap(object_, other.object_);
  std::swap(coverage_, other.coverage_);
  std::swap(count_, other.count_);
  std::swap(slots_, other.slots_);
  std::swap(next_, other.next_);
  return *this;
}

void CanvasSession::record(std::size_t slot) {
  Backend& backend = context().backend();
  Slot& coming = *slots_[slot];
  const Slot& there = *slots_[1 - slot];
  const auto work = [&] {
    backend.beside([&] {
      backend.copy(coming.host_frames, coming.frames);
      backend.copy(coming.host_corners, coming.corners);
    });
    const Shape& shape = there.frames.shape();
    Array amplitude = context().allocate(shape, DType::kF32);
    Array phase = context().allocate(shape, DType::kF32);
    predictor_->predict(there.frames, amplitude, phase);
    Array object = context().allocate(shape, DType::kC64);
    backend.compose_object(amplitude, phase, object);
    const CanvasSums sums{
        static_cast<std::int64_t*>(object_.data()), static_cast<std::int64_t*>(coverage_.data()),
        count_.data<std::uint32_t>(), canvas_.rows + options().height, canvas_.columns};
    backend.stitch(object, weight_, there.corners, canvas_.border, sums);
  };
  coming.replay = std::make_unique<PlannedReplay>(context(), work);
}

Array CanvasSession::frames() {
  slots_[next_]->done->wait();
  return slots_[next_]->host_frames;
}

Array CanvasSession::corners() {
  slots_[next_]->done->wait();
  return slots_[next_]->host_corners;
}

void CanvasSession::drop(Slot& slot, std::int64_t n) const {
  double* corner = slot.host_corners.data<double>() + 2 * n;
  for (; n < options().batch; ++n) {
    *corner++ = static_cast<double>(canvas_.rows);
    *corner++ = 0;
  }
}

void CanvasSession::check_corners(std::int64_t n) {
  const auto last_row = static_cast<double>(canvas_.rows - options().height);
  const auto last_column = static_cast<double>(canvas_.columns - options().width);
  const double* corner = slots_[next_]->host_corners.data<double>();
  for (std::int64_t i = 0; i < n; ++i, corner += 2) {
    if (corner[0] >= 0 && corner[0] <= last_row && corner[1] >= 0 && corner[1] <= last_column) {
      continue;
    }
    fail_input("frame ", i, " of the batch: its patch of ", options().height, "x", options().width,
               " at row ", corner[0], ", column ", corner[1], " does not lie on the canvas of ",
               canvas_.rows, "x", canvas_.columns);
  }
}

void CanvasSession::push() { push(options().batch); }

void CanvasSession::push(std::int64_t n) {
  if (n < 1 || n > options().batch) {
    fail_input("this session takes 1 to ", options().batch, " frames a call, found ", n);
  }
  slots_[next_]->done->wait();  // the device may still read what a caller kept from before
  check_corners(n);
  drop(*slots_[next_], n);
  start();
}

void CanvasSession::start() {
  Slot& slot = *slots_[next_];
  slot.replay->run();
  slot.done->renew();
  next_ = 1 - next_;
}

std::vector<StepTime> CanvasSession::profile() {
  std::vector<StepTime> steps = slots_[next_]->replay->profile();
  clear();
  return steps;
}

std::size_t CanvasSession::arena_bytes() const {
  std::size_t bytes = 0;
  for (const auto& slot : slots_) bytes += slot->replay->arena_bytes();
  return bytes;
}

Canvas CanvasSession::canvas() {
  slots_[next_]->done->wait();
  drop(*slots_[next_], 0);
  start();  // of nothing, which computes what was pushed last
  const Shape shape{canvas_.rows, canvas_.columns};
  const std::int64_t pixels = shape.elements();
  const Array object = to_host(context(), object_.slice(0, pixels));
  const Array coverage = to_host(context(), coverage_.slice(0, pixels));
  const Array count = to_host(context(), count_.slice(0, pixels));
  Canvas out;
  out.object = Array::host(shape, DType::kC64);
  out.coverage = Array::host(shape, DType::kF32);
  out.count = Array::host(shape, DType::kU32);
  const auto* weights = static_cast<const std::int64_t*>(coverage.data());
  object_of_sums(static_cast<const std::int64_t*>(object.data()), weights, pixels,
                 out.object.data<std::complex<float>>());
  coverage_of_sums(weights, pixels, out.coverage.data<float>());
  std::copy_n(count.data<std::uint32_t>(), pixels, out.count.data<std::uint32_t>());
  fill_zeros(canvas_.rows * canvas_.columns);  // or what is left out would one day overflow
  return out;
}

void CanvasSession::clear() {
  if (slots_[next_]) {
    slots_[next_]->done->wait();
    drop(*slots_[next_], 0);
    start();
  }
  fill_zeros(0);
}

void CanvasSession::fill_zeros(std::int64_t first) {
  for (const Array* sums : {&object_, &coverage_, &count_}) {
    Array part = sums->slice(first, sums->shape()[0] - first);
    context().backend().zero(part);
  }
  context().backend().synchronize();
}

}  // namespace ptynet
