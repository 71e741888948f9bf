// The growing canvas that patches are put together on.
#pragma once

#include <cstdint>
#include <vector>

#include "io/scan.h"
#include "kernels/context.h"

namespace ptynet {

enum class StitchMode : std::uint8_t { kMean, kProbe };  // weight 1, or the probe's intensity
enum class Subpixel : std::uint8_t { kNone, kBilinear };  // corners rounded, or spread

struct StitcherOptions {
  StitchMode mode = StitchMode::kMean;
  Subpixel subpixel = Subpixel::kNone;
  std::int64_t border = 0;                               // px of each patch's edge left out
  bool phase_align = false;                              // remove each patch's constant phase
  std::int64_t max_canvas = std::int64_t{1} << 28;       // pixels
};

// How a patch agrees with what already lies where it falls: from C = sum w conj(canvas) patch,
// over the sum of w |canvas| |patch|.
struct Overlap {
  double weight = 0;        // that sum; 0 where nothing overlaps
  double offset_rad = 0;    // arg C: the constant phase between the two
  double coherence = 0;     // |C| in [0, 1]; the phases' circular spread is sqrt(-2 ln |C|)
};

// Accumulators are scaled 64-bit integers (docs/numerics.md), so the same patches give the same
// bytes in whatever order they arrive; with phase_align the order matters, since each patch is
// turned to fit what came before. Used by one thread at a time.
class Stitcher {
 public:
  // h x w of the patches; `probe` c64 [modes, h, w], needed for StitchMode::kProbe.
  Stitcher(Context& context, std::int64_t h, std::int64_t w, const Array& probe,
           const StitcherOptions& options);

  // amplitude, phase f32 [n, h, w]; positions of the first pixels, object px. Returns each patch's
  // agreement with the canvas before it. Throws Error (input) when the canvas would exceed
  // max_canvas, before anything is added.
  std::vector<Overlap> add(const Array& amplitude, const Array& phase,
                           const std::vector<io::Position>& positions);

  // Makes room for all these corners at once. Throws as add() does.
  void reserve(const std::vector<io::Position>& positions);

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  // (row, column) px of the canvas's first pixel, in the scan's coordinates.
  std::array<std::int64_t, 2> origin() const { return origin_; }

  Array object() const;    // c64 [rows, columns], 0 where nothing lies
  Array coverage() const;  // f32 [rows, columns], summed weight (greatest weight of a patch is 1)
  Array count() const;     // u32 [rows, columns], frames
  // The object under a patch with its first pixel nearest to `position`, c64 [h, w].
  Array cut(const io::Position& position) const;

 private:
  Overlap overlap(const std::complex<float>* patch, const io::Position& corner) const;
  void grow(std::int64_t row0, std::int64_t column0, std::int64_t row1, std::int64_t column1);

  Context& context_;
  StitcherOptions options_;
  std::int64_t h_;
  std::int64_t w_;
  Array weight_;  // f32 [h, w]
  std::array<std::int64_t, 2> origin_{0, 0};
  std::int64_t rows_ = 0;
  std::int64_t columns_ = 0;
  std::vector<std::int64_t> object_;
  std::vector<std::int64_t> coverage_;
  std::vector<std::uint32_t> count_;
};

}  // namespace ptynet
