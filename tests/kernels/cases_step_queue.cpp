#include "tests/kernels/cases.h"

namespace ptynet::tests {

namespace {

// Three frames and one step are done.
StepQueue queue() {
  return {Array::copy_of<std::int32_t>({4, 2, 0, 1, 3, 1, 4}, {7}),
          Array::copy_of<double>({0.5, 0.25, 0.125}, {3}),
          Array::copy_of<std::int32_t>({3, 1}, {2})};
}

}  // namespace

void add_step_queue_cases(OperationCases& cases) {
  struct Windows {
    const char* name;
    Shape canvas;
    std::vector<std::int32_t> corners;
    Shape y;
  };
  const Windows all[] = {
      {"frames", {30, 5}, {0, 0, 6, 0, 12, 0, 18, 0, 24, 0}, {2, 6, 5}},
      {"of pairs", {40, 33, 2}, {9, 3, 0, 0, 31, 1, 12, 20, 39, 32}, {4, 1, 1, 2}},
      {"large", {50, 61, 2}, {0, 0, 17, 28, 3, 5, 9, 1, 8, 27}, {4, 33, 33, 2}}};
  for (const Windows& v : all) {
    cases.push_back({text("take_windows ", v.name), [v](Backend& backend) {
                       Array y = Array::host(v.y, DType::kF32);
                       backend.take_windows(queue(), random_array("canvas", v.canvas),
                                            Array::copy_of(v.corners, {5, 2}), y);
                       return std::vector<Output>{{y}};
                     }});
  }
  cases.push_back({"take_rate", [](Backend& backend) {
                     Array rate = Array::zeros({1}, DType::kF64);
                     backend.take_rate(queue(), 3, rate);
                     return std::vector<Output>{{rate}};
                   }});
  for (const Shape& shape : {Shape{2, 4}, Shape{3}}) {
    cases.push_back({text("put_rows ", to_string(shape)), [shape](Backend& backend) {
                       const std::int64_t columns = shape.rank() > 1 ? shape[1] : 1;
                       Array x = Array::host(shape, DType::kF64);
                       for (std::int64_t i = 0; i < x.elements(); ++i) {
                         x.data<double>()[i] = 1.5 + static_cast<double>(i);
                       }
                       Array rows = Array::zeros({7, columns}, DType::kF64);
                       backend.put_rows(queue(), x, rows);
                       return std::vector<Output>{{rows}};
                     }});
  }
  cases.push_back({"advance", [](Backend& backend) {
                     StepQueue q = queue();
                     backend.advance(q, 4);
                     backend.advance(q, 2);
                     const auto* done = q.cursor.data<std::int32_t>();
                     return std::vector<Output>{
                         {Array::copy_of<double>({double(done[0]), double(done[1])}, {2})}};
                   }});
}

}  // namespace ptynet::tests
