// A network made ready for one device, frame shape and batch: frames in, patches out.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/planned_replay.h"
#include "engine/predictor.h"

namespace ptynet {

// Weights are folded, reordered and placed once, and every intermediate has its place in one arena:
// run() allocates nothing. Used by one thread at a time; several sessions live side by side.
class Session {
 public:
  // Throws Error (input) when weights, architecture or frame size do not fit, or the device has not
  // the precision; Error (runtime) when the device cannot be used.
  Session(const Architecture& architecture, const StateDict& state, const SessionOptions& options);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  // frames host [n, h, w] of frame_type, zero frequency in the centre, 1 <= n <= batch;
  // amplitude and phase (rad) host f32 [n, h, w], written.
  void run(const Array& frames, Array& amplitude, Array& phase);

  // The same on the caller's memory: n frames from `frames`, n * h * w values to each output.
  void run(const void* frames, std::int64_t n, float* amplitude, float* phase);

  // Plans calls of n frames too, 1 <= n <= batch. A call of fewer frames than any plan of its own
  // takes as long as a full batch.
  void prepare(std::int64_t n);
  // Seconds of each step of one run over a full batch.
  std::vector<StepTime> profile();

  const SessionOptions& options() const { return predictor_->options(); }
  Context& context() { return predictor_->context(); }
  const std::vector<std::string>& unused_tensors() const {
    return predictor_->network().unused_tensors();
  }
  std::size_t arena_bytes() const;

 private:
  struct Plan;
  // The plan of n frames, or the full batch's.
  Plan& plan_for(std::int64_t n);

  std::unique_ptr<Predictor> predictor_;
  std::map<std::int64_t, std::unique_ptr<Plan>> plans_;  // by number of frames
};

}  // namespace ptynet
