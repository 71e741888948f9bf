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
// each. Memory does not grow with the number of frames.
class Baselines {
 public:
  Baselines(Context& context, std::int64_t h, std::int64_t w, const Array& probe);

  void add(const Array& frames);  // f32 [n, h, w]
  void measure(const Array& frames);

  double mean_counts() const;  // photons of a frame, after the first pass
  bool has_flat() const { return !flat_.empty(); }
  RSums flat() const { return flat_sums_; }
  RSums mean() const { return mean_sums_; }

 private:
  void close();  // after the first pass: the mean frame and the best scale

  Context& context_;
  Array flat_;  // f32 [h, w], the far field of the bare probe
  std::vector<double> sum_;
  std::vector<std::int64_t> count_;
  // Weight sqrt(flat) of the pixels by the logarithm of sqrt(I) / sqrt(flat)
  std::vector<double> histogram_;
  Array mean_;  // f32 [h, w]
  bool closed_ = false;
  RSums flat_sums_;
  RSums mean_sums_;
};

}  // namespace ptynet
