#include <complex>

#include "kernels/backend.h"
#include "kernels/cuda/far_field.h"
#include "kernels/cuda/launching.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/detector_scan.h"

namespace ptynet::cuda::tests {

namespace {

enum class Kernel : std::uint8_t { kIntensity, kFarFieldResidual, kIntensityResidual };
constexpr const char* kNames[] = {"far_field_intensity", "far_field_residual",
                                  "intensity_residual"};
constexpr FrameWindow kWindows[] = {
    FrameWindow::whole(16, 16),      {32, 32, -8, -10, 16, 20, true}, {11, 13, 1, 2, 9, 11, false},
    FrameWindow::whole(1, 24),       {17, 1, 0, 0, 17, 1, false},     FrameWindow::whole(50, 44),
    {12, 16, -2, -4, 16, 24, false}, FrameWindow::whole(6, 22),
};
constexpr DType kTypes[] = {DType::kU8, DType::kU16, DType::kU32, DType::kI32, DType::kF32};

struct Variant {
  Kernel kernel;
  ScanOptions scan;
  int modes;
  bool keeps_intensity;
};

std::vector<double> doubles(const Array& y) {
  return {y.data<double>(), y.data<double>() + y.elements()};
}

Array as_c64(const std::vector<float>& pairs, const Shape& shape) {
  Array out = Array::host(shape, DType::kC64);
  std::memcpy(out.data(), pairs.data(), out.bytes());
  return out;
}

struct Prediction {
  Array far;                      // c64 [n * modes, h, w]
  std::vector<double> intensity;  // [n, h, w]
};

// Of random objects and a probe that make counts of the scan's size.
Prediction predict(const Variant& v) {
  const auto& [stored_h, stored_w, first_row, first_column, h, w, periodic] = v.scan.window;
  const int n = v.scan.n;
  const auto pixels = static_cast<std::size_t>(h) * static_cast<std::size_t>(w);
  const auto in_frame = static_cast<std::int64_t>(2 * pixels);
  const std::vector<float> object = random_values("object", n * in_frame, -1, 1);
  const std::vector<float> probe = random_values("probe", v.modes * in_frame, -4, 4);
  using Complex = std::complex<float>;
  std::vector<Complex> waves;
  const auto at = [](const std::vector<float>& pairs, std::size_t i) {
    return Complex(pairs[2 * i], pairs[2 * i + 1]);
  };
  for (std::size_t frame = 0; frame < static_cast<std::size_t>(n); ++frame) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(v.modes) * pixels; ++i) {
      waves.push_back(at(probe, i) * at(object, frame * pixels + i % pixels));
    }
  }
  const auto backend = make_reference_backend();
  Prediction out{Array::host({n * v.modes, h, w}, DType::kC64), {}};
  backend->fft2(Array::copy_of(waves, out.far.shape()), FftDirection::kForward, out.far);
  Array intensity = Array::host({n, h, w}, DType::kF64);
  backend->far_field_intensity(as_c64(object, {n, h, w}), as_c64(probe, {v.modes, h, w}),
                               intensity);
  out.intensity = doubles(intensity);
  return out;
}

// Good counts as f32, -1 where bad.
Array measured_counts(const Scan& scan) {
  Array out = Array::host(scan.seen.shape(), DType::kF32);
  with_count_type(scan.seen.dtype(), [&](auto count) {
    using T = decltype(count);
    for (std::int64_t i = 0; i < out.elements(); ++i) {
      const T v = scan.seen.data<T>()[i];
      const bool good = is_count(v) && scan.good.data<std::uint8_t>()[i] != 0;
      out.data<float>()[i] = good ? static_cast<float>(v) : -1.0F;
    }
  });
  return out;
}

std::vector<double> reference_sums(const std::vector<double>& intensity, const Scan& scan) {
  Array sums = Array::host({scan.seen.shape()[0], 2}, DType::kF64);
  make_reference_backend()->r_factor_sums(Array::copy_of(intensity, scan.seen.shape()),
                                          measured_counts(scan), sums);
  return doubles(sums);
}

Outcome run_variant(const Variant& v) {
  const Scan scan = make_scan(v.scan);
  const Prediction prediction = predict(v);
  const FrameWindow& window = v.scan.window;
  const std::size_t pixels = prediction.intensity.size();
  const Placed far = placed(prediction.far.data(), prediction.far.bytes());
  const std::vector<float> rounded(prediction.intensity.begin(), prediction.intensity.end());
  const bool given = v.kernel == Kernel::kIntensityResidual;
  const Placed intensity = given ? placed(rounded) : unwritten(pixels * sizeof(float));
  const auto n = static_cast<std::size_t>(v.scan.n);
  const auto parts_count = static_cast<std::size_t>(residual_parts(window.h, window.w));
  const Placed parts = unwritten(n * parts_count * 2 * sizeof(double));
  const Placed sums = unwritten(n * 2 * sizeof(double));
  const ResidualSums residual{static_cast<double*>(sums.data()),
                              static_cast<double*>(parts.data())};
  const FarFieldShape shape{v.scan.n, v.modes, window.h, window.w};
  auto* to = v.keeps_intensity ? static_cast<float*>(intensity.data()) : nullptr;
  const auto* from = static_cast<const float*>(far.data());
  if (v.kernel == Kernel::kIntensity) {
    far_field_intensity(shape, from, to, nullptr);
  } else if (v.kernel == Kernel::kFarFieldResidual) {
    far_field_residual(shape, from, scan.frames, to, residual, nullptr);
  } else {
    intensity_residual(to, scan.frames, residual, nullptr);
  }
  Outcome out;
  // The far field is rounded once: to 2^-24 of the largest of its row and column sums.
  const double largest = *std::max_element(rounded.begin(), rounded.end());
  if (v.keeps_intensity) {
    out = compare(prediction.intensity, values_of<float>(intensity), {largest * 0x1p-22, 0x1p-21});
  }
  if (v.kernel == Kernel::kIntensity) return out;
  const std::vector<double> expected = reference_sums(prediction.intensity, scan);
  const double total = *std::max_element(expected.begin(), expected.end());
  return worse(out, compare(expected, values_of<double>(sums), {total * 0x1p-22, 0x1p-22}));
}

void add_case(const Variant& v, std::vector<Case>& cases) {
  cases.push_back({kNames[static_cast<std::size_t>(v.kernel)], "",
                   text(describe(v.scan), " m", v.modes, v.keeps_intensity ? "" : " sums only"),
                   [v] { return run_variant(v); }});
}

}  // namespace

std::vector<Case> far_field_cases() {
  std::vector<Case> cases;
  int i = 0;
  for (const FrameWindow& window : kWindows) {
    for (const DType type : kTypes) {
      const ScanOptions scan{window, type, i % 3 == 1 ? 5 : 1, i % 2 == 0, i % 7 != 2};
      add_case({Kernel::kFarFieldResidual, scan, 1 + i % 3, i % 4 != 3}, cases);
      add_case({Kernel::kIntensityResidual, scan, 1, true}, cases);
      ++i;
    }
    const ScanOptions scan{window, DType::kF32, i % 2 == 1 ? 5 : 1, false, true};
    add_case({Kernel::kIntensity, scan, 1 + i % 4, true}, cases);
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
