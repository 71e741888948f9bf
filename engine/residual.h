// How well an object explains the measured frames: R factors, and what trivial predictions reach.
#pragma once

#include <vector>

#include "kernels/context.h"

namespace ptynet {

// sum |sqrt I - sqrt I_predicted| and sum sqrt I over the good pixels of a frame, or of a scan.
struct RSums {
  double difference = 0;
  double total = 0;
  // Their ratio; NaN without counts.
  double r() const;
  RSums& operator+=(const RSums& other) {
    difference += other.difference;
    total += other.total;
    return *this;
  }
};

// R factors of objects under a probe. Used by one thread at a time.
class ResidualMeter {
 public:
  ResidualMeter(Context& context, const Array& probe);  // c64 [modes, h, w]

  // object c64 [n, h, w] under each frame; frames f32 [n, h, w] counts, bad pixels negative.
  std::vector<RSums> measure(const Array& object, const Array& frames);

 private:
  Context& context_;
  Array probe_;
};

// What no reconstruction should fall behind: the mean frame as the prediction of every frame, and,
// with a probe, a flat object at its best scale. Frames pass twice: add() each, then measure()
// each. Memory does not grow with the number of frames, and the sums do not depend on the number of
// threads. The best scale is that of at most 512 frames spread evenly over the scan.
class Baselines {
 public:
  // For `frames` frames of h x w in all; probe c64 [modes, h, w], or empty.
  Baselines(Context& context, const Shape& frames, const Array& probe);

  void add(const Array& frames);  // f32 [n, h, w]
  void measure(const Array& frames);

  double mean_counts() const;  // photons of a frame, after the first pass
  bool has_flat() const { return !flat_.empty(); }
  RSums flat() const { return flat_sums_; }
  RSums mean() const { return mean_sums_; }
  // Of the frames measured so far, those whose good pixels have none.
  std::int64_t frames_without_counts() const { return frames_without_counts_; }

 private:
  void add_to_histogram(const float* frame);
  void close();  // after the first pass: the mean frame and the best scale

  Context& context_;
  // f32 [h, w], the root of the far field of the bare probe; after close() at its best scale
  Array flat_;
  std::vector<float> flat_log2_;  // of it, where above 0
  std::int64_t every_ = 1;        // frame of which the best scale is found
  std::int64_t added_ = 0;
  std::vector<double> sum_;
  std::vector<std::int64_t> count_;
  // Weight sqrt(flat) of the pixels by the logarithm of sqrt(I) / sqrt(flat)
  std::vector<double> histogram_;
  Array mean_;       // f32 [h, w]
  Array mean_root_;  // f32 [h, w], after close()
  std::int64_t frames_without_counts_ = 0;
  bool closed_ = false;
  RSums flat_sums_;
  RSums mean_sums_;
};

}  // namespace ptynet
