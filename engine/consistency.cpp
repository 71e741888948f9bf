#include "engine/consistency.h"

#include <algorithm>

#include "engine/training_frames.h"

namespace ptynet {

namespace {

constexpr std::int64_t kFramesAtOnce = 64;

}  // namespace

SharedCanvas::SharedCanvas(Context& context, const Array& probe,
                           std::vector<io::Position> positions, std::int64_t max_canvas)
    : positions_(std::move(positions)),
      empty_(context, probe.shape()[1], probe.shape()[2], probe,
             {.mode = StitchMode::kProbe, .max_canvas = max_canvas}) {
  empty_.reserve(positions_);
}

void SharedCanvas::renew(Trainer& trainer, const Array& frames,
                         const std::vector<std::int64_t>& indices) {
  Stitcher stitcher = empty_;
  const auto count = static_cast<std::int64_t>(indices.size());
  for (std::int64_t first = 0; first < count; first += kFramesAtOnce) {
    const std::int64_t n = std::min(kFramesAtOnce, count - first);
    const auto index = indices.begin() + first;
    const Array part = gather(frames, {index, index + n});
    Array amplitude = Array::host(part.shape(), DType::kF32);
    Array phase = Array::host(part.shape(), DType::kF32);
    trainer.predict(part, amplitude, phase);
    const auto position = positions_.begin() + first;
    stitcher.add(amplitude, phase, {position, position + n});
  }
  object_ = stitcher.object();
}

void SharedCanvas::restore(const Array& object) {
  if (object.dtype() != DType::kC64 || object.shape() != shape()) {
    fail_input("expected the canvas c64", to_string(shape()), ", found ", describe(object));
  }
  object_ = object;
}

}  // namespace ptynet
