// The growing canvas that patches are put together on.
#pragma once

#include <array>
#include <complex>
#include <cstdint>
#include <vector>

#include "io/scan.h"
#include "kernels/context.h"

namespace ptynet {

enum class StitchMode : std::uint8_t { kMean, kProbe };   // weight 1, or the probe's intensity
enum class Subpixel : std::uint8_t { kNone, kBilinear };  // corners rounded, or spread

struct StitcherOptions {
  StitchMode mode = StitchMode::kMean;
  Subpixel subpixel = Subpixel::kNone;
  std::int64_t border = 0;                          // px of each patch's edge left out
  bool phase_align = false;                         // remove each patch's constant phase
  std::int64_t max_canvas = std::int64_t{1} << 28;  // pixels
};

// How a patch agrees with what already lies where it falls: from C = sum w conj(canvas) patch,
// over the sum of w |canvas| |patch|.
struct Overlap {
  double weight = 0;      // that sum; 0 where nothing overlaps
  double offset_rad = 0;  // arg C: the constant phase between the two
  double coherence = 0;   // |C| in [0, 1]; the phases' circular spread is sqrt(-2 ln |C|)
};

// What a canvas shows, from its sums (CanvasSums) of some pixels in a row.
void object_of_sums(const std::int64_t* object, const std::int64_t* coverage, std::int64_t pixels,
                    std::complex<float>* out);
void coverage_of_sums(const std::int64_t* coverage, std::int64_t pixels, float* out);

// Accumulators are scaled 64-bit integers (docs/numerics.md), so the same patches give the same
// bytes in whatever order they arrive; with phase_align the order matters, since each patch is
// turned to fit what came before. Positions are taken to 2^-20 px, so that they less the canvas's
// origin are exact wherever it begins. Values of a patch that are not finite are left out. Used by
// one thread at a time.
class Stitcher {
 public:
  // h x w of the patches; `probe` c64 [modes, h, w], needed for StitchMode::kProbe.
  Stitcher(Context& context, std::int64_t h, std::int64_t w, const Array& probe,
           const StitcherOptions& options);

  // object c64 [n, h, w] on the context's device, positions of the first pixels in object px.
  // Returns each patch's agreement with the canvas before it. The patches are changed: values that
  // are not finite become 0, and phase_align turns them. Throws Error (input) when the canvas would
  // exceed max_canvas, before anything is added.
  std::vector<Overlap> add(Array& object, const std::vector<io::Position>& positions);
  // The same for amplitude and phase (rad), f32 [n, h, w].
  std::vector<Overlap> add(const Array& amplitude, const Array& phase,
                           const std::vector<io::Position>& positions);

  // Makes room for all these corners at once, and no more. Throws as add() does. Without it the
  // canvas grows by half of itself, so that each pixel is copied a few times at most.
  void reserve(const std::vector<io::Position>& positions);

  std::int64_t rows() const { return canvas_.rows; }
  std::int64_t columns() const { return canvas_.columns; }
  // (row, column) px of the canvas's first pixel, in the scan's coordinates.
  std::array<std::int64_t, 2> origin() const { return {canvas_.row, canvas_.column}; }

  Array object() const;    // c64 [rows, columns], 0 where nothing lies
  Array coverage() const;  // f32 [rows, columns], summed weight (greatest weight of a patch is 1)
  Array count() const;     // u32 [rows, columns], frames that lie over the pixel
  // Of `object`, as object() gave it: what lies under the patches with their first pixels nearest
  // to `positions`, c64 [n, h, w], 0 beyond the canvas.
  Array cut(const Array& object, const std::vector<io::Position>& positions) const;
  // Where on the canvas the patches of these positions begin, rounded to whole pixels: (row,
  // column), i32 [n, 2].
  Array corners(const std::vector<io::Position>& positions) const;

  // Patches so far with values that were not finite.
  std::int64_t patches_with_gaps() const { return patches_with_gaps_; }
  // Of the canvas and the margin it has grown ahead.
  std::int64_t allocated_pixels() const { return store_.rows * store_.columns; }

 private:
  // Pixels [row, row + rows) x [column, column + columns) of the scan.
  struct Rectangle {
    std::int64_t row = 0, column = 0, rows = 0, columns = 0;
    bool holds(const Rectangle& other) const;
  };

  Array weight_of(Array& patch);
  Overlap overlap(const Array& patch, const Array& weight, const io::Position& corner) const;
  void grow(Rectangle wanted);
  Rectangle with_margin(const Rectangle& wanted) const;
  void move_to(const Rectangle& store);
  // Index in the sums of a row's first pixel.
  std::size_t index_of_row(std::int64_t row) const;

  Context& context_;
  StitcherOptions options_;
  std::int64_t h_;
  std::int64_t w_;
  Array weight_;      // f32 [h, w]
  Rectangle canvas_;  // the tight one around all patches
  Rectangle store_;   // of the sums below: it holds the canvas, with the margin it grew ahead
  std::int64_t patches_with_gaps_ = 0;
  std::vector<std::int64_t> object_;
  std::vector<std::int64_t> coverage_;
  std::vector<std::uint32_t> count_;
};

}  // namespace ptynet
