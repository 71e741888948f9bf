// Frames straight onto a canvas on the device, for acquisition servers: only the canvas comes back.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/planned_replay.h"
#include "engine/predictor.h"

namespace ptynet {

struct CanvasOptions {
  std::int64_t rows = 0;  // of the canvas, object px
  std::int64_t columns = 0;
  std::int64_t border = 0;  // px of each patch's edge left out
  Array weight;             // f32 [h, w], host, at most 1; empty: 1 everywhere
};

struct Canvas {
  Array object;    // c64 [rows, columns], 0 where nothing lies
  Array coverage;  // f32 [rows, columns], summed weight
  Array count;     // u32 [rows, columns], frames that lie over the pixel
};

// While the device works on one batch, the next one is on its way to it: the caller fills the room
// that frames() and corners() give and pushes it, batch after batch. The same patches give the same
// bytes in whatever order they come. push() allocates nothing. Used by one thread at a time.
class CanvasSession {
 public:
  // Throws as Predictor does, and Error (input) where a patch does not fit on the canvas.
  CanvasSession(const Architecture& architecture, const StateDict& state,
                const SessionOptions& options, const CanvasOptions& canvas);
  ~CanvasSession();
  CanvasSession(CanvasSession&&) noexcept;
  CanvasSession& operator=(CanvasSession&&) noexcept;

  // Room for the next batch, in memory that the device reads: frames [batch, h, w] of frame_type,
  // zero frequency in the centre, and f64 [batch, 2], the (row, column) px of the canvas where each
  // patch's first pixel falls. Waits until the device has read what was pushed there before, and is
  // the caller's until push().
  Array frames();
  Array corners();
  // Starts with the room's whole batch and returns. Throws Error (input) naming the frame whose
  // patch does not lie on the canvas; nothing is added then.
  void push();
  // The same for the last frames of a scan, 1 <= n <= batch: the others' are left out.
  void push(std::int64_t n);

  // Of all that was pushed; waits for it.
  Canvas canvas();
  // Removes all patches.
  void clear();

  // Seconds of each step between the frames' arrival and the canvas. Removes all patches, since
  // the last batch was added many times.
  std::vector<StepTime> profile();
  std::size_t arena_bytes() const;

  const SessionOptions& options() const { return predictor_->options(); }
  Context& context() { return predictor_->context(); }

 private:
  struct Slot;
  void check_corners(std::int64_t n);
  // Leaves the slot's frames from n on out.
  void drop(Slot& slot, std::int64_t n) const;
  void record(std::size_t slot);
  void start();
  void fill_zeros(std::int64_t first);  // the sums, from that pixel on

  std::unique_ptr<Predictor> predictor_;
  CanvasOptions canvas_;
  Array weight_;  // on the device, as all that follows
  // Sums (CanvasSums) of the canvas and of `height` more rows, where the patches of frames fall
  // that are left out.
  Array object_;
  Array coverage_;
  Array count_;
  std::array<std::unique_ptr<Slot>, 2> slots_;
  std::size_t next_ = 0;  // the slot that frames() gives
};

}  // namespace ptynet
