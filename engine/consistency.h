// What all frames together say of the object under each of them.
#pragma once

#include <vector>

#include "engine/stitcher.h"
#include "engine/trainer.h"

namespace ptynet {

// The canvas that the consistency term holds every patch against: the probe-weighted mean of all
// patches at the scan's positions (rounded to pixels), renewed now and then, without a gradient.
// The constant phase of the whole object is free: the canvas has the patches' own mean phase, which
// a gradient towards it leaves as it is.
class SharedCanvas {
 public:
  // probe c64 [modes, h, w]; one position for each frame that renew() will use.
  SharedCanvas(Context& context, const Array& probe, std::vector<io::Position> positions,
               std::int64_t max_canvas);

  // The canvas of the patches that the trainer's weights of now predict for those of `frames`
  // f32 [n, h, w] with these indices, one for each position. A few frames at a time are copied.
  void renew(Trainer& trainer, const Array& frames, const std::vector<std::int64_t>& indices);
  // What a trainer's set has of it: where the positions' patches begin, and rows and columns.
  Array corners() const { return empty_.corners(positions_); }
  Shape shape() const { return {empty_.rows(), empty_.columns()}; }

  const Array& object() const { return object_; }  // c64 [rows, columns]; empty before renew()
  void restore(const Array& object);               // Throws Error (input) for another shape.

 private:
  std::vector<io::Position> positions_;
  Stitcher empty_;  // with room for all patches; stays so
  Array object_;
};

}  // namespace ptynet
