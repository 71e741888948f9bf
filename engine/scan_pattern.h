// Where a simulated scan's frames lie.
#pragma once

#include <cstdint>
#include <vector>

#include "io/scan.h"

namespace ptynet {

// Raster: rows of steps. Fermat: r = c sqrt(n), angle n times the golden angle, as many frames per
// area as the raster (c = step / sqrt(pi); Huang et al., Opt. Express 22, 12634, 2014). Concentric:
// circles one step apart, points about one step apart on each.
enum class ScanPattern : std::uint8_t { kRaster, kFermat, kConcentric };

// A field of first pixels: rows 0 to height, columns 0 to width, both included.
struct ScanField {
  std::int64_t height = 0;  // object rows - frame rows
  std::int64_t width = 0;
};

// Step of an overlap: (1 - overlap) * extent, px, where extent is the probe's diameter or the
// frame's side. Throws Error (input) unless 0 <= overlap < 1 and the step is one pixel or more.
double step_of_overlap(double overlap, double extent_px);

// (row, column) of each frame's first pixel in whole px, in the order of scanning, about the middle
// of the field and all within it. Each is off its place by up to jitter_px in row and column
// (uniform, counter-based), then rounded; the pattern keeps that far from the field's edges. The
// step is exact, so a rim of less than a step may stay bare.
// Throws Error (input) for a step under one pixel, jitter_px below 0, or over 2^22 frames.
std::vector<io::Position> make_positions(ScanPattern pattern, const ScanField& field,
                                         double step_px, double jitter_px, std::uint64_t seed);

}  // namespace ptynet
