// How fast a network runs, or learns, on this machine, and how near that is to what the machine can
// do.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/session.h"

namespace ptynet {

// Weights for timing alone: reproducible, and of a size that keeps values in range (gain 0.6 for
// ptynet-b, whose residual sums grow with its depth).
StateDict bench_state(const Architecture& architecture);

// What a call is: frames in host memory to patches there; frames in memory that the device reads to
// a canvas on it, while the next ones are on their way (CanvasSession); frames on the device to
// patches there.
enum class BenchPath : std::uint8_t { kPatches, kCanvas, kDevice };

struct BenchOptions {
  SessionOptions session;  // its batch is the number of frames of every call
  BenchPath path = BenchPath::kPatches;
  double seconds = 3;   // measured at least, and 20 calls at least, after a warm-up
  bool layers = false;  // time each step too
  bool peak = true;     // measure what the machine can do too
  // Calls are steps of fine-tuning (forward, l1 loss through the diffraction, gradients, Adam)
  // instead of reconstructions; in fp32.
  bool finetune = false;
};

struct LayerTime {
  std::string step;              // as the backend calls it
  std::string layer;             // whose convolution it is ("a", or "a + b"); empty where none is
  double seconds = 0;            // median
  std::optional<double> gflops;  // GFLOP/s; of convolutions and their weight gradients
  double share = 0;              // of the sum over all steps, in [0, 1]
};

struct BenchReport {
  double open_s = 0;  // of making a session or trainer, and of its first call
  std::int64_t calls = 0;
  int threads = 0;
  // Of a call, nearest rank, seconds. On the way to a canvas calls return before they are done:
  // their mean is what a batch takes.
  double p50_s = 0, p90_s = 0, p99_s = 0, p999_s = 0;
  double frames_per_second = 0;  // over all measured calls
  // Multiplications and additions of the convolutions, 1e9; of a step of fine-tuning three times
  // those of the forward pass, though the first layer needs no gradient by the frames.
  double gflop_per_frame = 0;
  double gflops = 0;  // GFLOP/s at the median latency
  // What measured_peak_gflops() found after the calls, and gflops over that.
  std::optional<double> peak_gflops;
  std::optional<double> peak_share;
  double peak_memory_mb = 0;  // of the process when the calls were done, 1e6 bytes
  double held_mb = 0;         // of the pool then, on a GPU all but the context, 1e6 bytes
  double arena_mb = 0;        // intermediates of a call, 1e6 bytes
  std::vector<LayerTime> layers;
  // The ways to compute each convolution, or pair of them, and their times, where the device has
  // several.
  ConvChoices choices;
};

// Throws Error as Session does.
BenchReport bench(const Architecture& architecture, const StateDict& state,
                  const BenchOptions& options);

// GFLOP/s at the median time of the best of several dense 3x3 convolutions (64, 128 and 256
// channels at 64x64, 32x32 and 32x32 pixels; one frame, and `batch` frames). TF32 is the context's
// choice (ContextOptions).
double measured_peak_gflops(Context& context, Precision precision, std::int64_t batch);

}  // namespace ptynet
