// Internal: the frames that steps of training take from the device, an epoch at a time, and what
// they leave there, so that the host need not wait for each step.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/optimiser.h"
#include "engine/trainer.h"

namespace ptynet {

// Used by one thread at a time.
class TrainingQueue {
 public:
  // In steps of `batch` frames, and what is left in an epoch's last. Throws Error (input) when the
  // set does not fit itself.
  TrainingQueue(Context& context, const TrainingSet& set, std::int64_t batch);

  // c64 [rows, columns]; throws Error (input) for another shape.
  void set_canvas(const Array& object);
  // From batch `first_batch` on: `order` names places in the set, step after step, and `rates` the
  // learning rate of each step.
  void begin_epoch(const std::vector<std::int64_t>& order, const std::vector<double>& rates,
                   std::int64_t first_batch);
  // The frames of the epoch's step `number`.
  std::int64_t size_of(std::int64_t number) const;

  // In a recording. First of a step: the operands of its n frames, the canvas where there is one.
  void take(Array& frames, Array& canvas);
  void take_rate(double factor, Adam& adam) const;
  // Last of a step; object_sums is empty without a canvas.
  void leave(const Array& intensity_sums, const Array& object_sums);

  // What the steps [first, end) left, frame after frame, on the host; waits for them.
  struct Sums {
    Array intensity;  // f64 [frames, 4]
    Array object;     // f64 [frames], or empty
  };
  Sums sums_of(std::int64_t first, std::int64_t end) const;

 private:
  void fetch();

  Context& context_;
  std::int64_t places_;
  std::int64_t batch_;
  // On the device, or where it reads from itself.
  Array frames_;   // f32 [m h, w], one below the other
  Array corners_;  // i32 [places, 2], of each in `frames_`
  Array canvas_;   // f32 [rows, columns, 2]; empty without
  Array canvas_corners_;
  StepQueue queue_;
  // Where the frames are not on the device: those of the coming step, f32 [batch, h, w], and what
  // fetches them, of which nothing but the cursor is its own, a step ahead of the other.
  Array coming_;
  StepQueue ahead_;
  Array intensity_sums_;  // f64 [places, 4], in the epoch's order
  Array object_sums_;     // f64 [places]
};

}  // namespace ptynet
