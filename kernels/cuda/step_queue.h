// What steps take from a queue and put back (StepQueue, kernels/backend.h). All pointers are on the
// device; what the cursor and the corners say is not checked.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

struct WindowShape {
  int n, h, w, c;        // y [n, h, w, c]
  std::int64_t columns;  // of the canvas
};

struct WindowSource {
  const std::int32_t* order;    // [frames]
  const std::int32_t* cursor;   // [2]: frames and steps that are done
  const std::int32_t* corners;  // [m, 2]
  const float* canvas;          // [rows, columns, c]
};

// y[i] = the window at corners[order[cursor[0] + i]], limited by reading it and writing y.
void take_windows(const WindowShape& shape, const WindowSource& from, float* y, Stream stream);
// rate[0] = factor * rates[cursor[1]].
void take_rate(const double* rates, const std::int32_t* cursor, double factor, double* rate,
               Stream stream);
// n rows of `columns` values to rows[cursor[0]] and on.
void put_rows(const double* x, int n, int columns, const std::int32_t* cursor, double* rows,
              Stream stream);
// cursor += {n, 1}.
void advance(std::int32_t* cursor, int n, Stream stream);

}  // namespace ptynet::cuda
