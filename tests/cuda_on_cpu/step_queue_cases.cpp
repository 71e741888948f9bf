#include <array>

#include "kernels/cuda/step_queue.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr Tolerance kExact{0, 0};
constexpr std::int32_t kFramesDone = 3;
constexpr std::int32_t kStepsDone = 2;
const std::vector<std::int32_t> kCursor{kFramesDone, kStepsDone};
const std::vector<std::int32_t> kOrder{4, 2, 0, 1, 3, 1, 4, 0};

template <typename T>
T* on(const Placed& memory) {
  return static_cast<T*>(memory.data());
}

struct Windows {
  int n, h, w, c;
  std::int64_t rows, columns;                 // of the canvas
  std::array<std::array<int, 2>, 5> corners;  // (row, column)
};

// Frames one below the other; pairs on a canvas; one pixel; more than a block of values per window.
const Windows kWindows[] = {
    {2, 6, 5, 1, 30, 5, {{{0, 0}, {6, 0}, {12, 0}, {18, 0}, {24, 0}}}},
    {5, 7, 9, 2, 20, 23, {{{0, 0}, {13, 14}, {5, 2}, {1, 13}, {12, 0}}}},
    {1, 1, 1, 2, 3, 4, {{{0, 0}, {2, 3}, {1, 1}, {0, 3}, {2, 0}}}},
    {3, 33, 65, 1, 40, 70, {{{0, 0}, {7, 5}, {3, 1}, {6, 4}, {2, 2}}}},
    {2, 16, 32, 2, 16, 32, {{{0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}}}},
};

Outcome run_windows(const Windows& v) {
  const std::vector<float> canvas = random_values("canvas", v.rows * v.columns * v.c, -1, 1);
  std::vector<std::int32_t> corners;
  for (const auto& corner : v.corners) corners.insert(corners.end(), corner.begin(), corner.end());
  std::vector<double> expected;
  for (int i = 0; i < v.n; ++i) {
    const std::int32_t window = kOrder[static_cast<std::size_t>(kFramesDone + i)];
    const auto& [row, column] = v.corners[static_cast<std::size_t>(window)];
    for (int r = 0; r < v.h; ++r) {
      for (int k = 0; k < v.w * v.c; ++k) {
        const std::int64_t at = ((row + r) * v.columns + column) * v.c + k;
        expected.push_back(double{canvas[static_cast<std::size_t>(at)]});
      }
    }
  }
  const Placed order = placed(kOrder);
  const Placed cursor = placed(kCursor);
  const Placed on_corners = placed(corners);
  const Placed on_canvas = placed(canvas);
  const Placed y = unwritten(expected.size() * sizeof(float), sizeof(float));
  take_windows({v.n, v.h, v.w, v.c, v.columns},
               {on<std::int32_t>(order), on<std::int32_t>(cursor), on<std::int32_t>(on_corners),
                on<float>(on_canvas)},
               on<float>(y), nullptr);
  return compare(expected, values_of<float>(y), kExact);
}

Outcome run_rate() {
  const Placed rates = placed(std::vector<double>{1, 0.5, 0.25, 0.125});
  const Placed cursor = placed(kCursor);
  const Placed rate = unwritten(sizeof(double));
  take_rate(on<double>(rates), on<std::int32_t>(cursor), 3, on<double>(rate), nullptr);
  return compare({0.75}, values_of<double>(rate), kExact);
}

// Rows beside those that are put stay as they were.
Outcome run_rows(int n, int columns) {
  std::vector<double> x;
  for (int i = 0; i < n * columns; ++i) x.push_back(0.5 + i);
  std::vector<double> rows(static_cast<std::size_t>((n + kFramesDone + 1) * columns), -1);
  std::vector<double> expected = rows;
  std::copy(x.begin(), x.end(), expected.begin() + kFramesDone * columns);
  const Placed on_x = placed(x);
  const Placed cursor = placed(kCursor);
  const Placed on_rows = placed(rows);
  put_rows(on<double>(on_x), n, columns, on<std::int32_t>(cursor), on<double>(on_rows), nullptr);
  return compare(expected, values_of<double>(on_rows), kExact);
}

// What lies behind the cursor stays as it was.
Outcome run_advance() {
  const Placed cursor = placed(std::vector<std::int32_t>{kFramesDone, kStepsDone, 7, 8});
  advance(on<std::int32_t>(cursor), 16, nullptr);
  advance(on<std::int32_t>(cursor), 5, nullptr);
  const std::vector<std::int32_t> found = values_of<std::int32_t>(cursor);
  return compare({kFramesDone + 21.0, kStepsDone + 2.0, 7, 8},
                 std::vector<double>(found.begin(), found.end()), kExact);
}

}  // namespace

std::vector<Case> step_queue_cases() {
  std::vector<Case> cases;
  for (const Windows& v : kWindows) {
    cases.push_back({"take_windows", "", text("n", v.n, " ", v.h, "x", v.w, "x", v.c),
                     [v] { return run_windows(v); }});
  }
  cases.push_back({"take_rate", "", "", run_rate});
  for (const auto& [n, columns] : {std::pair{2, 4}, std::pair{5, 1}, std::pair{65, 4}}) {
    cases.push_back({"put_rows", "", text(n, "x", columns),
                     [n = n, columns = columns] { return run_rows(n, columns); }});
  }
  cases.push_back({"advance", "", "", run_advance});
  return cases;
}

}  // namespace ptynet::cuda::tests
