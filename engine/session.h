// A network made ready for one device, frame shape and batch: frames in, patches out.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/planned_replay.h"
#include "layers/network.h"

namespace ptynet {

enum class Precision : std::uint8_t { kFp32, kBf16 };  // bf16: operands; sums stay f32

struct SessionOptions {
  ContextOptions context;
  Precision precision = Precision::kFp32;
  std::int64_t height = 128;            // rows of a frame, px
  std::int64_t width = 128;             // columns of a frame, px
  std::int64_t batch = 1;               // frames of one call at most
  DType frame_type = DType::kF32;       // u8, u16, u32, i32 or f32 counts
  Array mask;                           // u8 [h, w], 1 is good; or empty
  std::optional<InputRule> input_rule;  // instead of the architecture's own
};

// Weights are folded, reordered and placed once, and every intermediate has its place in one arena:
// run() allocates nothing. Used by one thread at a time; several sessions live side by side.
class Session {
 public:
  // Throws Error (input) when weights, architecture or frame size do not fit, Error (runtime) when
  // the device cannot be used.
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

  const SessionOptions& options() const { return options_; }
  Context& context() { return *context_; }
  const std::vector<std::string>& unused_tensors() const { return network_->unused_tensors(); }
  std::size_t arena_bytes() const;

 private:
  struct Plan;
  // The plan of n frames, or the full batch's.
  Plan& plan_for(std::int64_t n);

  SessionOptions options_;
  InputRule rule_;
  std::unique_ptr<Context> context_;
  std::unique_ptr<Network> network_;
  Array mask_;
  std::map<std::int64_t, std::unique_ptr<Plan>> plans_;  // by number of frames
};

}  // namespace ptynet
