// Internal: the frames that steps of training take from the device, an epoch at a time, and what
// they leave there, so that the host need not wait for each step.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/optimiser.h"
#include "engine/trainer.h"

namespace ptynet {

// What a step leaves of each of its frames, f64; empty is what its objective has not.
struct StepSums {
  Array intensity;  // [n, 4]
  Array object;     // [n]
  Array patch;      // [n, 2]
};

// Used by one thread at a time.
class TrainingQueue {
 public:
  // In steps of `batch` frames, and what is left in an epoch's last. Throws Error (input) when the
  // set does not fit itself.
  TrainingQueue(Context& context, const TrainingSet& set, std::int64_t batch);
  // Of known patches, which share the memory of `patterns`, on the device.
  TrainingQueue(Context& context, const Patterns& patterns, std::int64_t batch);

  // c64 [rows, columns]; throws Error (input) for another shape.
  void set_canvas(const Array& object);
  // From batch `first_batch` on: `order` names places in the set, step after step, and `rates` the
  // learning rate of each step.
  void begin_epoch(const std::vector<std::int64_t>& order, const std::vector<double>& rates,
                   std::int64_t first_batch);
  // The frames of the epoch's step `number`.
  std::int64_t size_of(std::int64_t number) const;

  // In a recording. First of a step: the operands of its n frames, the canvas and the patches where
  // there are any.
  void take(Patterns& patterns, Array& canvas);
  void take_rate(double factor, Adam& adam) const;
  // Last of a step.
  void leave(const StepSums& sums);

  // What the steps [first, end) left, frame after frame, on the host; waits for them.
  StepSums sums_of(std::int64_t first, std::int64_t end) const;

 private:
  void make_queue();
  void fetch();

  Context& context_;
  std::int64_t places_;
  std::int64_t batch_;
  std::int64_t taken_ = 0;  // places of an epoch
  // On the device, or where it reads from itself: f32 [m h, w], one below the other.
  Patterns patterns_;
  Array corners_;  // i32 [places, 2], of each in them
  Array canvas_;   // f32 [rows, columns, 2]; empty without
  Array canvas_corners_;
  StepQueue queue_;
  // Where the frames are not on the device: those of the coming step, f32 [batch, h, w], and what
  // fetches them, of which nothing but the cursor is its own, a step ahead of the other.
  Array coming_;
  StepQueue ahead_;
  StepSums sums_;  // of all places, in the epoch's order
};

}  // namespace ptynet
