// What objects are drawn from: patterns of values in [0, 1].
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/random.h"

namespace ptynet {

// Values in [0, 1], f32 [rows, columns], with the feature sizes of ObjectRanges.
struct PatternCanvas {
  std::int64_t rows;
  std::int64_t columns;
  double feature_low_px;
  double feature_high_px;
  float* values;
};

// Each fills the whole canvas from the stream's numbers alone.
void draw_dead_leaves(const CounterRandom& random, PatternCanvas& canvas);
void draw_siemens(const CounterRandom& random, PatternCanvas& canvas);
void draw_cells(const CounterRandom& random, PatternCanvas& canvas);
void draw_text(const CounterRandom& random, PatternCanvas& canvas);

}  // namespace ptynet
