// The probe follows the frame: far fields of the resampled probe against cropped and binned ones.
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include "engine/preprocess.h"
#include "kernels/cpu/fft.h"
#include "tests/catch.h"

namespace {

using namespace ptynet;
using Complex = std::complex<double>;

// Reproducible numbers in [-1, 1).
double noise(std::int64_t k) {
  const double x = std::sin(static_cast<double>(k) * 12.9898) * 43758.5453;
  return 2 * (x - std::floor(x)) - 1;
}

// abs(fftshift(fft2(probe * object)))^2 of one mode, as in DESIGN: unnormalised.
std::vector<double> far_field(const Array& probe, const std::vector<Complex>& object) {
  const std::int64_t height = probe.shape()[1];
  const std::int64_t width = probe.shape()[2];
  std::vector<Complex> wave(static_cast<std::size_t>(height * width));
  for (std::size_t k = 0; k < wave.size(); ++k) {
    wave[k] = Complex(probe.data<std::complex<float>>()[k]) * object[k];
  }
  const Fft2<double> fft(height, width, FftDirection::kForward);
  fft.run(wave.data(), wave.data());
  std::vector<double> out(wave.size());
  for (std::int64_t k = 0; k < height * width; ++k) {
    const std::int64_t row = (k / width + height / 2) % height;
    const std::int64_t column = (k % width + width / 2) % width;
    out[static_cast<std::size_t>(row * width + column)] =
        std::norm(wave[static_cast<std::size_t>(k)]);
  }
  return out;
}

std::vector<double> prepared(const std::vector<double>& intensity, const FrameRecipe& recipe) {
  Array frame = Array::host({1, recipe.stored.height, recipe.stored.width}, DType::kF32);
  for (std::size_t k = 0; k < intensity.size(); ++k) {
    frame.data<float>()[k] = static_cast<float>(intensity[k]);
  }
  const Array out = FramePlan(recipe, {}, {}).apply(frame);
  return {out.data<float>(), out.data<float>() + out.elements()};
}

// |a - b| / |b| in the Euclidean norm.
double difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double distance = 0, size = 0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    distance += (a[k] - b[k]) * (a[k] - b[k]);
    size += b[k] * b[k];
  }
  return std::sqrt(distance / size);
}

// Nonzero for |y|, |x| <= reach about the centre.
Array compact_probe(std::int64_t height, std::int64_t width, std::int64_t reach) {
  Array out = Array::zeros({1, height, width}, DType::kC64);
  for (std::int64_t y = -reach; y <= reach; ++y) {
    for (std::int64_t x = -reach; x <= reach; ++x) {
      const std::int64_t k = (y + height / 2) * width + x + width / 2;
      out.data<std::complex<float>>()[k] = {static_cast<float>(noise(7 * y + 131 * x)),
                                            static_cast<float>(noise(11 * y - 57 * x + 5))};
    }
  }
  return out;
}

std::vector<Complex> ones(std::int64_t pixels) {
  return std::vector<Complex>(static_cast<std::size_t>(pixels), 1.0);
}

}  // namespace

TEST_CASE("a phase that grows to the right moves light to the right") {
  Array wave = Array::zeros({1, 4, 4}, DType::kC64);
  wave.data<std::complex<float>>()[2 * 4 + 2] = {1, 0};
  wave.data<std::complex<float>>()[2 * 4 + 3] = {0, 1};
  const std::vector<double> frame = far_field(wave, ones(16));
  for (std::size_t k = 0; k < 16; ++k) {
    CHECK(frame[k] == Approx(std::array<double, 4>{2, 0, 2, 4}[k % 4]).margin(1e-12));
  }
}

TEST_CASE("cropping the detector crops the probe's far field, counts unchanged") {
  // Without an object that holds for any probe, odd extents and oblong frames too.
  for (const auto& [height, width, crop] :
       {std::array<std::int64_t, 3>{32, 32, 16}, {32, 48, 20}, {30, 33, 15}, {31, 31, 16}}) {
    INFO(height << " x " << width << " to " << crop);
    const Array probe = compact_probe(height, width, 14);
    const FrameRecipe recipe{{height, width}, {}, {height / 2, width / 2}, false, crop, 1, {}};
    const std::vector<double> measured = prepared(far_field(probe, ones(height * width)), recipe);
    const std::vector<double> predicted =
        far_field(crop_probe(probe, {crop, crop}), ones(crop * crop));
    CHECK(difference(predicted, measured) < 1e-6);  // float32 rounding of probe and frame
  }
}

TEST_CASE("the cropped probe meets the object on the larger object pixel") {
  // N = 64 to M = 32: object pixel x' is the old pixel 2 x'. Probe and object hold frequencies up
  // to 6 and 8, so their product ends at 14 < M / 2 and the crop loses nothing.
  const std::int64_t n = 64;
  const std::int64_t m = 32;
  const auto wave = [](std::int64_t y, std::int64_t x, int reach, double phase) {
    Complex sum = 0;
    for (int u = -reach; u <= reach; u += 3) {
      for (int v = -reach; v <= reach; v += 5) {
        const double turns = static_cast<double>(u * y + v * x) / 64;
        sum += noise(u * 17 + v) * std::polar(1.0, 2 * std::numbers::pi * turns + phase * u);
      }
    }
    return sum;
  };
  Array probe = Array::host({1, n, n}, DType::kC64);
  std::vector<Complex> object;
  std::vector<Complex> coarse;
  for (std::int64_t k = 0; k < n * n; ++k) {
    probe.data<std::complex<float>>()[k] = std::complex<float>(wave(k / n, k % n, 6, 0.3));
    object.push_back(wave(k / n, k % n, 8, 1.1));
  }
  for (std::int64_t k = 0; k < m * m; ++k) coarse.push_back(wave(k / m * 2, k % m * 2, 8, 1.1));
  const FrameRecipe recipe{{n, n}, {}, {n / 2, n / 2}, false, m, 1, {}};
  const std::vector<double> measured = prepared(far_field(probe, object), recipe);
  CHECK(difference(far_field(crop_probe(probe, {m, m}), coarse), measured) < 1e-6);
}

TEST_CASE("binning the detector crops the probe, counts added up") {
  for (const auto& [n, bin] :
       {std::array<std::int64_t, 2>{64, 2}, {64, 4}, {48, 3}, {45, 3}, {50, 2}}) {
    INFO(n << " binned by " << bin);
    const std::int64_t m = n / bin;
    const std::int64_t reach = 2;
    const Array probe = compact_probe(n, n, reach);
    std::vector<Complex> object, kept;
    for (std::int64_t k = 0; k < n * n; ++k) object.push_back(std::polar(1.0, noise(k)));
    for (std::int64_t k = 0; k < m * m; ++k) {
      const std::int64_t row = k / m - m / 2 + n / 2;
      const std::int64_t column = k % m - m / 2 + n / 2;
      kept.push_back(object[static_cast<std::size_t>(row * n + column)]);
    }
    const std::vector<double> predicted = far_field(bin_probe(probe, bin), kept);

    // Exact: bin^2 times the far field half way between the first and the last pixel of each bin,
    // the transform summed out at that fractional frequency.
    const std::int64_t first = m / 2 * bin - n / 2;  // of bin m/2, frequency of its first pixel
    std::vector<double> middle;
    for (std::int64_t k = 0; k < m * m; ++k) {
      const auto frequency = [&](std::int64_t index) {
        return static_cast<double>((index - m / 2) * bin + first) +
               static_cast<double>(bin - 1) / 2;
      };
      Complex sum = 0;
      for (std::int64_t y = -reach; y <= reach; ++y) {
        for (std::int64_t x = -reach; x <= reach; ++x) {
          const auto at = static_cast<std::size_t>((y + n / 2) * n + x + n / 2);
          const double turns = (frequency(k / m) * static_cast<double>(y) +
                                frequency(k % m) * static_cast<double>(x)) /
                               static_cast<double>(n);
          sum += Complex(probe.data<std::complex<float>>()[at]) * object[at] *
                 std::polar(1.0, -2 * std::numbers::pi * turns);
        }
      }
      middle.push_back(static_cast<double>(bin * bin) * std::norm(sum));
    }
    CHECK(difference(predicted, middle) < 1e-6);

    // The sum over a bin against bin^2 times its middle: a frame's transform ends at twice the
    // reach, u, where the sum is D = sin(pi bin u / n) / sin(pi u / n) instead of bin, per axis.
    const double u = std::numbers::pi * 2 * static_cast<double>(reach) / static_cast<double>(n);
    const double ratio =
        std::sin(static_cast<double>(bin) * u) / std::sin(u) / static_cast<double>(bin);
    const FrameRecipe recipe{{n, n}, {}, {n / 2, n / 2}, false, 0, bin, {}};
    const std::vector<double> measured = prepared(far_field(probe, object), recipe);
    CHECK(difference(measured, predicted) < 1 - ratio * ratio);
    // The bound means something: another phase ramp, that of no ramp at all, is outside of it.
    Array level = bin_probe(probe, bin);
    for (std::int64_t k = 0; k < m * m; ++k) {
      const std::int64_t row = k / m - m / 2 + n / 2;
      const std::int64_t column = k % m - m / 2 + n / 2;
      level.data<std::complex<float>>()[k] =
          probe.data<std::complex<float>>()[row * n + column] * static_cast<float>(bin);
    }
    const bool centred = first + (bin - 1) / 2 == 0 && bin % 2 == 1;
    if (!centred) CHECK(difference(far_field(level, kept), measured) > 1 - ratio * ratio);
  }
}

TEST_CASE("a probe of the orthonormal transform gives the same frame") {
  const Array probe = compact_probe(12, 20, 5);
  std::vector<double> ortho = far_field(probe, ones(12 * 20));
  for (double& value : ortho) value /= 12 * 20;  // |F / sqrt(12 * 20)|^2
  CHECK(difference(far_field(from_ortho_probe(probe), ones(12 * 20)), ortho) < 1e-6);
}

TEST_CASE("modes are resampled one by one") {
  Array probe = Array::host({2, 16, 16}, DType::kC64);
  const Array a = compact_probe(16, 16, 3);
  const Array b = compact_probe(16, 16, 6);
  std::copy_n(a.data<std::complex<float>>(), 256, probe.data<std::complex<float>>());
  std::copy_n(b.data<std::complex<float>>(), 256, probe.data<std::complex<float>>() + 256);
  const auto values = [](const Array& array) {
    const auto* from = array.data<std::complex<float>>();
    return std::vector<std::complex<float>>(from, from + array.elements());
  };
  const Array crop = crop_probe(probe, {8, 8});
  CHECK(values(crop.slice(0, 1)) == values(crop_probe(a, {8, 8})));
  CHECK(values(crop.slice(1, 1)) == values(crop_probe(b, {8, 8})));
  const Array bin = bin_probe(probe, 2);
  CHECK(values(bin.slice(0, 1)) == values(bin_probe(a, 2)));
  CHECK(values(bin.slice(1, 1)) == values(bin_probe(b, 2)));
}
