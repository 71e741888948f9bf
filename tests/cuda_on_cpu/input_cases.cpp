#include "kernels/backend.h"
#include "kernels/cuda/input_rule.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/detector_scan.h"
#include "tests/cuda_on_cpu/elements.h"

namespace ptynet::cuda::tests {

namespace {

// stored h, w; first row, column; h, w; periodic. In the middle, zero frequency in the corner, over
// an edge, odd ones, a single row.
constexpr FrameWindow kWindows[] = {
    FrameWindow::whole(32, 32),       {48, 64, 8, 16, 32, 32, false},
    {32, 32, -16, -16, 32, 32, true}, {40, 24, -8, -8, 24, 16, true},
    {16, 32, -4, -8, 32, 48, false},  {19, 23, 3, 5, 11, 13, false},
    {17, 21, -8, -10, 17, 21, true},  {9, 8, -2, -3, 13, 12, false},
    {1, 40, 0, 0, 1, 40, false},      {7, 1, 0, 0, 7, 1, false},
    FrameWindow::whole(64, 132),      FrameWindow::whole(1, 1),
};
constexpr InputRule kRules[] = {
    {InputQuantity::kAmplitude, InputScale::kFrameMax, 1e-6F, 1, 0},
    {InputQuantity::kIntensity, InputScale::kFrameMax, 1.5F, 1, 0},
    {InputQuantity::kAmplitude, InputScale::kScanMax, 1e-6F, 2.5F, 3000},
    {InputQuantity::kIntensity, InputScale::kNone, 1e-6F, 1, 0},
};
constexpr DType kTypes[] = {DType::kU8, DType::kU16, DType::kU32, DType::kI32, DType::kF32};
constexpr Precision kArrayTypes[] = {Precision::kF32, Precision::kBf16, Precision::kF16};

struct Variant {
  ScanOptions scan;
  InputRule rule;
  Precision precision;
};

Outcome run_variant(const Variant& v) {
  const Scan scan = make_scan(v.scan);
  const FrameWindow& window = v.scan.window;
  const std::int64_t pixels = std::int64_t{window.h} * window.w;
  std::vector<double> expected;
  const auto backend = make_reference_backend();
  Array y = Array::host({v.scan.n, window.h, window.w, 1}, DType::kF64);
  const Array mask = scan.good.slice(0, 1).reshape({window.h, window.w});
  backend->input_rule(scan.seen, mask, v.rule, y);
  expected.assign(y.data<double>(), y.data<double>() + y.elements());
  const Placed out =
      unwritten(static_cast<std::size_t>(v.scan.n * pixels) * element_bytes(v.precision),
                v.scan.aligned ? 0 : element_bytes(v.precision));
  input_rule(scan.frames, v.rule, v.precision, out.data(), nullptr);
  // Root, quotient and two products round once each; fp16 has 2^-24 steps below 2^-14.
  const double step = v.precision == Precision::kF16 ? 0x1p-24 : 0;
  return compare(expected, floats_of(out, v.precision),
                 {step, 1.01 * array_rounding(v.precision) + 0x1p-22});
}

void add_case(const Variant& v, std::vector<Case>& cases) {
  cases.push_back(
      {"input_rule", std::string(name_of(v.precision)),
       text(describe(v.scan), v.rule.quantity == InputQuantity::kAmplitude ? " root" : "",
            " scale ", static_cast<int>(v.rule.scale)),
       [v] { return run_variant(v); }});
}

}  // namespace

std::vector<Case> input_cases() {
  std::vector<Case> cases;
  std::size_t i = 0;
  for (const FrameWindow& window : kWindows) {
    for (const DType type : kTypes) {
      for (const Precision precision : kArrayTypes) {
        const int n = i % 4 == 1 ? 5 : 1;
        const InputRule& rule = kRules[(i + i / 4) % std::size(kRules)];
        add_case({{window, type, n, i / 3 % 2 == 0, i % 7 != 2}, rule, precision}, cases);
        ++i;
      }
    }
  }
  // 48 KiB, beside what the kernel has of its own.
  const FrameWindow edge = FrameWindow::whole(96, 128);
  add_case({{edge, DType::kF32, 1, false, true}, kRules[0], Precision::kF32}, cases);
  // More than a block holds: the rest is read twice.
  const FrameWindow large = FrameWindow::whole(256, 244);
  add_case({{large, DType::kF32, 1, true, true}, kRules[0], Precision::kF32}, cases);
  return cases;
}

}  // namespace ptynet::cuda::tests
