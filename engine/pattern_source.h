// Training patterns: diffraction and the patch that it comes from, made on the fly or beforehand.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/objects.h"
#include "engine/probes.h"
#include "engine/simulate.h"
#include "engine/trainer.h"

namespace ptynet {

// What patterns are made of.
struct PatternRecipe {
  ObjectKind objects = ObjectKind::kDeadLeaves;
  std::string images;  // folder of pictures, in the place of `objects`; empty: none
  ObjectRanges ranges;
  Array probe;  // c64 [modes, h, w], in counts
  ProbeJitter jitter;
  Noise noise = Noise::kNone;
  // Expected counts of a frame without a sample, drawn for every pattern between these two, evenly
  // in the logarithm; empty: the probe's own.
  std::optional<std::array<double, 2>> photons;
  std::uint64_t seed = 1;
};

// An endless series of patterns, each a pure function of its number.
class PatternSeries {
 public:
  virtual ~PatternSeries() = default;
  // Patterns [first, first + count). May be called by several threads at once.
  virtual TrainingBatch batch(std::uint64_t first, std::int64_t count) const = 0;
};

// The series that a recipe names.
class PatternMaker final : public PatternSeries {
 public:
  // `series` sets apart what must not meet: "training", "held-out".
  // Throws Error (input) when the recipe cannot be followed.
  PatternMaker(const PatternRecipe& recipe, const std::string& series);

  // frame f32 [h, w] counts, zero frequency in the centre; amplitude, phase (rad) f32 [h, w]. May
  // be called by several threads at once.
  void make(std::uint64_t index, float* frame, float* amplitude, float* phase) const;

  TrainingBatch batch(std::uint64_t first, std::int64_t count) const override;

  std::int64_t height() const { return height_; }
  std::int64_t width() const { return width_; }
  // Of the pictures that windows are cut from; empty without.
  std::string images_sha256() const { return images_ ? images_->sha256() : ""; }

 private:
  Array probe_of(std::uint64_t index) const;

  PatternRecipe recipe_;
  std::uint64_t seed_;
  std::int64_t height_;
  std::int64_t width_;
  double probe_photons_;
  FrameSimulator simulator_;
  std::optional<VariableProbe> variable_probe_;
  std::optional<ImageLibrary> images_;
};

// Cuts the series into epochs, and epochs into batches, of which the last may be smaller.
struct EpochPlan {
  std::int64_t patterns = 4096;  // of an epoch
  std::int64_t batch = 16;

  std::int64_t batches() const { return (patterns + batch - 1) / batch; }
  std::uint64_t first(std::int64_t number) const;  // pattern of the run's batch `number`
  std::int64_t size(std::int64_t number) const;
};

struct PatternThreads {
  int count = 1;
  // Threads that wait begin again when no more than `low` batches are ready, and stop when `high`
  // are. On the CPU low = 0: patterns are then made while the network waits, on all cores at once,
  // instead of beside it, where they would hold up every loop of all threads.
  std::size_t low = 0;
  std::size_t high = 8;
};

// The run's batches in order, made by threads of its own. What comes does not depend on them.
class PatternSource {
 public:
  // Begins with batch `first_batch` of the run. Throws Error (runtime) when no thread can be
  // started.
  PatternSource(std::shared_ptr<const PatternSeries> series, const EpochPlan& plan,
                const PatternThreads& threads, std::int64_t first_batch = 0);
  ~PatternSource();
  PatternSource(const PatternSource&) = delete;
  PatternSource& operator=(const PatternSource&) = delete;

  // Rethrows what making it threw.
  TrainingBatch next();

 private:
  void work();

  std::shared_ptr<const PatternSeries> series_;
  EpochPlan plan_;
  PatternThreads threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t wanted_;   // the batch that next() gives
  std::int64_t claimed_;  // the first batch that no thread has begun
  bool filling_ = true;
  bool stop_ = false;
  std::map<std::int64_t, TrainingBatch> ready_;
  std::exception_ptr failure_;
  std::vector<std::thread> workers_;  // last: they use all of the above
};

}  // namespace ptynet
