// Training patterns from files: frames of scans, and patches of the objects that they are of.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/pattern_series.h"
#include "engine/reconstruct.h"
#include "engine/scan.h"
#include "engine/training_frames.h"

namespace ptynet {

// A scan with positions, and the object that its patterns are to give back.
struct KnownScan {
  std::string scan;   // as Scan::open() takes it
  std::string truth;  // result file: the truth of a simulation, or a reconstruction of this scan
};

// Pairs of a frame and the patch at its position, rounded to whole pixels; one scan after the
// other, each in its own order. Held in memory.
class TrainingPairs {
 public:
  // Opens scans and objects; no frame is read yet. Throws Error (input) that names the file when
  // one cannot be read, is of the near field or has no positions, when frames have another extent
  // than those before, an object does not cover a frame, or the frames take over `limit_bytes`.
  explicit TrainingPairs(const std::vector<KnownScan>& scans,
                         std::int64_t limit_bytes = memory_for_frames());
  // The frames; once, before what follows. Throws Error (input) as read_frames() does.
  void read(const Progress& progress);

  std::int64_t count() const { return static_cast<std::int64_t>(places_.size()); }
  std::int64_t height() const { return parts_.front().scan.height(); }
  std::int64_t width() const { return parts_.front().scan.width(); }
  // The first scan's: c64 [modes, h, w], empty when it has none; and its object pixel.
  const Array& probe() const { return parts_.front().scan.probe(); }
  const std::optional<std::array<double, 2>>& object_pixel_m() const {
    return parts_.front().scan.object_pixel_m();
  }
  // Of frames, objects and places in them, 64 hexadecimal digits.
  std::string sha256() const;
  // The pairs with these indices, in that order.
  Patterns batch(const std::vector<std::int64_t>& indices) const;

 private:
  struct Part {
    Scan scan;
    Array amplitude;                    // of the object, f32 [rows, columns]
    Array phase;                        // rad
    std::vector<std::int64_t> corners;  // first pixel of each frame's patch, within the object
    Array frames;                       // f32 [n, h, w] counts, bad pixels negative
  };
  struct Place {
    std::size_t part;
    std::int64_t frame;
  };

  Part open(const KnownScan& known) const;

  std::vector<Part> parts_;
  std::vector<Place> places_;
};

// The first `count` pairs again and again, every time each of them once, in an order drawn anew.
class ShuffledPairs final : public PatternSeries {
 public:
  // On a GPU it puts all of them there, where that leaves room for steps on `batch` of them; else
  // each make() gathers them on the host. The context must outlive it.
  ShuffledPairs(Context& context, std::shared_ptr<const TrainingPairs> pairs, std::int64_t count,
                std::uint64_t seed, std::int64_t batch);
  void make(std::uint64_t first, Patterns& to) override;

 private:
  using Order = std::vector<std::int64_t>;
  const Order& order_of(std::uint64_t pass);
  void put_on_device(std::int64_t batch);

  Context& context_;
  std::shared_ptr<const TrainingPairs> pairs_;
  std::uint64_t count_;
  std::uint64_t seed_;
  // Of the pass that was asked for last: pairs come in order, and one is as long as a scan.
  std::uint64_t pass_ = 0;
  Order order_;
  // Where they are on the device: the pairs, one below the other, their corners, and which are
  // asked for.
  Patterns resident_;
  Array corners_;
  StepQueue wanted_;
};

}  // namespace ptynet
