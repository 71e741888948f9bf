#include "kernels/cuda/launching.h"
#include "kernels/cuda/step_queue.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWindowValues = 4;  // per thread

// A block: kThreads * kWindowValues values of one window, in turns, so that lanes read neighbours.
PTYNET_KERNEL(kThreads)
take_windows_kernel(WindowShape s, WindowSource from, float* y) {
  const int image = block().x;
  const int row_values = s.w * s.c;
  const int values = s.h * row_values;
  const std::int32_t window = load_readonly(from.order + load_readonly(from.cursor) + image);
  const std::int32_t row = load_readonly(from.corners + 2 * std::int64_t{window});
  const std::int32_t column = load_readonly(from.corners + 2 * std::int64_t{window} + 1);
  const float* corner = from.canvas + (row * s.columns + column) * s.c;
  float* to = y + std::int64_t{image} * values;
  PTYNET_UNROLL
  for (int k = 0; k < kWindowValues; ++k) {
    const int i = (block().y * kWindowValues + k) * kThreads + thread();
    if (i >= values) return;
    const float* at = corner + i / row_values * s.columns * s.c + i % row_values;
    store(to + i, load_readonly(at));
  }
}

PTYNET_KERNEL(kWarpLanes)
take_rate_kernel(const double* rates, const std::int32_t* cursor, double factor, double* rate) {
  if (thread() != 0) return;
  store(rate, factor * load_readonly(rates + load_readonly(cursor + 1)));
}

PTYNET_KERNEL(kThreads)
put_rows_kernel(const double* x, int count, int columns, const std::int32_t* cursor, double* rows) {
  const int i = block().x * kThreads + thread();
  if (i >= count) return;
  store(rows + std::int64_t{load_readonly(cursor)} * columns + i, load_readonly(x + i));
}

PTYNET_KERNEL(kWarpLanes)
advance_kernel(std::int32_t* cursor, int n) {
  if (thread() < 2) store(cursor + thread(), load(cursor + thread()) + (thread() == 0 ? n : 1));
}

}  // namespace

void take_windows(const WindowShape& shape, const WindowSource& from, float* y, Stream stream) {
  const int values = shape.h * shape.w * shape.c;
  const int blocks = blocks_for("take_windows", values, kThreads * kWindowValues);
  launch("take_windows", take_windows_kernel, {grid_of("take_windows", shape.n, blocks), kThreads},
         stream, shape, from, y);
}

void take_rate(const double* rates, const std::int32_t* cursor, double factor, double* rate,
               Stream stream) {
  launch("take_rate", take_rate_kernel, {{1}, kWarpLanes}, stream, rates, cursor, factor, rate);
}

void put_rows(const double* x, int n, int columns, const std::int32_t* cursor, double* rows,
              Stream stream) {
  const int blocks = blocks_for("put_rows", std::int64_t{n} * columns, kThreads);
  launch("put_rows", put_rows_kernel, {{blocks}, kThreads}, stream, x, n * columns, columns, cursor,
         rows);
}

void advance(std::int32_t* cursor, int n, Stream stream) {
  launch("advance", advance_kernel, {{1}, kWarpLanes}, stream, cursor, n);
}

}  // namespace ptynet::cuda
