// A network made ready on a device, and the operations from its frames to its patches.
#pragma once

#include <memory>
#include <optional>

#include "layers/network.h"

namespace ptynet {

struct SessionOptions {
  ContextOptions context;
  Precision precision = Precision::kF32;
  std::int64_t height = 128;            // rows of a frame, px
  std::int64_t width = 128;             // columns of a frame, px
  std::int64_t batch = 1;               // frames of one call at most
  DType frame_type = DType::kF32;       // u8, u16, u32, i32 or f32 counts
  Array mask;                           // u8 [h, w], 1 is good; or empty
  std::optional<InputRule> input_rule;  // instead of the architecture's own
};

// Throws Error (input) unless the context's device predicts in it, which a Predictor asks too.
void expect_precision(Context& context, Precision precision);

// One thread at a time.
class Predictor {
 public:
  // Throws Error (input) when weights, architecture or frame size do not fit, or the device has not
  // the precision; Error (runtime) when the device cannot be used.
  Predictor(const Architecture& architecture, const StateDict& state,
            const SessionOptions& options);

  // frames [n, h, w] on the device to amplitude and phase (rad) f32 [n, h, w] there: what a
  // recording is made of.
  void predict(const Array& frames, Array& amplitude, Array& phase);

  const SessionOptions& options() const { return options_; }
  Context& context() { return *context_; }
  const Network& network() const { return *network_; }

 private:
  SessionOptions options_;
  InputRule rule_;
  std::unique_ptr<Context> context_;
  std::unique_ptr<Network> network_;
  Array mask_;
};

}  // namespace ptynet
