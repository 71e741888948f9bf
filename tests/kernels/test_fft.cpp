#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <numbers>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cpu/fft.h"
#include "kernels/error.h"
#include "tests/catch.h"

namespace {

using ptynet::Fft2;
using ptynet::FftDirection;

template <typename Real>
using Image = std::vector<std::complex<Real>>;

// Values in [-1, 1) from a counter (SplitMix64), so that a failure repeats.
double noise(std::uint64_t counter) {
  std::uint64_t z = counter * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-52 - 1;
}

template <typename Real>
Image<Real> random_image(std::int64_t rows, std::int64_t columns) {
  Image<Real> image(static_cast<std::size_t>(rows * columns));
  std::uint64_t counter = static_cast<std::uint64_t>(rows * 7919 + columns);
  for (auto& value : image) {
    value = {static_cast<Real>(noise(2 * counter)), static_cast<Real>(noise(2 * counter + 1))};
    ++counter;
  }
  return image;
}

// The definition, in double: rows first, then columns, each a plain sum.
Image<double> naive_forward(const Image<double>& in, std::int64_t rows, std::int64_t columns) {
  const auto twiddle = [](std::int64_t product, std::int64_t n) {
    const double angle =
        -2 * std::numbers::pi * static_cast<double>(product % n) / static_cast<double>(n);
    return std::complex<double>(std::cos(angle), std::sin(angle));
  };
  const auto at = [columns](std::int64_t r, std::int64_t c) {
    return static_cast<std::size_t>(r * columns + c);
  };
  Image<double> half(in.size()), out(in.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < columns; ++k) {
      for (std::int64_t c = 0; c < columns; ++c)
        half[at(r, k)] += in[at(r, c)] * twiddle(c * k, columns);
    }
  }
  for (std::int64_t k = 0; k < rows; ++k) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto factor = twiddle(r * k, rows);
      for (std::int64_t c = 0; c < columns; ++c) out[at(k, c)] += half[at(r, c)] * factor;
    }
  }
  return out;
}

template <typename Real, typename Other>
double relative_error(const Image<Real>& found, const Image<Other>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    difference += std::norm(std::complex<double>(found[i]) - std::complex<double>(expected[i]));
    norm += std::norm(std::complex<double>(expected[i]));
  }
  return std::sqrt(difference / norm);
}

// A radix-p stage sums p terms whose twiddles carry up to a few rounding errors of an angle of
// 2 pi; the RMS error of the whole grows with the sum of the prime factors at worst.
template <typename Real>
double tolerance(std::int64_t rows, std::int64_t columns) {
  double factors = 0;
  for (std::int64_t n : {rows, columns}) {
    for (std::int64_t p = 2; n > 1; ++p) {
      for (; n % p == 0; n /= p) factors += std::sqrt(static_cast<double>(p));
    }
  }
  return 2 * (1 + factors) * static_cast<double>(std::numeric_limits<Real>::epsilon());
}

const std::vector<std::pair<std::int64_t, std::int64_t>> kSizes = {
    {1, 1},   {1, 16},  {7, 1},   {2, 3},   {8, 8},    {15, 9},
    {17, 31}, {64, 64}, {60, 45}, {49, 26}, {96, 127}, {192, 128}};

}  // namespace

TEMPLATE_TEST_CASE("fft2 is the discrete Fourier transform", "[fft]", float, double) {
  for (const auto& [rows, columns] : kSizes) {
    const auto in = random_image<TestType>(rows, columns);
    const auto expected = naive_forward(Image<double>(in.begin(), in.end()), rows, columns);
    const Fft2<TestType> forward(rows, columns, FftDirection::kForward);
    const Fft2<TestType> inverse(rows, columns, FftDirection::kInverse);
    INFO(rows << " x " << columns << ", " << sizeof(TestType) << " byte reals");

    Image<TestType> out(in.size());
    const auto kept = in;
    forward.run(in.data(), out.data());
    CHECK(relative_error(out, expected) <= tolerance<TestType>(rows, columns));
    CHECK(in == kept);

    auto in_place = in;
    forward.run(in_place.data(), in_place.data());
    CHECK(relative_error(in_place, expected) <= tolerance<TestType>(rows, columns));

    inverse.run(out.data(), out.data());
    CHECK(relative_error(out, in) <= 2 * tolerance<TestType>(rows, columns));
  }
}

TEMPLATE_TEST_CASE("fft2 keeps the energy (Parseval)", "[fft]", float, double) {
  for (const auto& [rows, columns] : kSizes) {
    const auto in = random_image<TestType>(rows, columns);
    Image<TestType> out(in.size());
    Fft2<TestType>(rows, columns, FftDirection::kForward).run(in.data(), out.data());
    double before = 0, after = 0;
    for (const auto& value : in) before += std::norm(std::complex<double>(value));
    for (const auto& value : out) after += std::norm(std::complex<double>(value));
    INFO(rows << " x " << columns);
    CHECK(std::abs(after / (before * static_cast<double>(rows * columns)) - 1) <=
          2 * tolerance<TestType>(rows, columns));
  }
}

TEMPLATE_TEST_CASE("fft2: sign and normalisation on a test vector", "[fft]", float, double) {
  // A pixel at row 0, column 1 of 1 x 4 gives exp(-i 2 pi k / 4): 1, -i, -1, i.
  const Image<TestType> in = {0, 1, 0, 0};
  Image<TestType> out(4);
  Fft2<TestType>(1, 4, FftDirection::kForward).run(in.data(), out.data());
  CHECK(std::abs(out[1] - std::complex<TestType>(0, -1)) < TestType(1e-6));
  CHECK(std::abs(out[3] - std::complex<TestType>(0, 1)) < TestType(1e-6));
  Fft2<TestType>(1, 4, FftDirection::kInverse).run(in.data(), out.data());
  CHECK(std::abs(out[1] - std::complex<TestType>(0, TestType(0.25))) < TestType(1e-6));
}

TEMPLATE_TEST_CASE("fft2: one plan serves several threads with the same bytes", "[fft]", float,
                   double) {
  // 55 = 5 * 11 takes the path for odd factors, which needs scratch of its own.
  const std::int64_t rows = 55, columns = 64;
  const auto in = random_image<TestType>(rows, columns);
  const Fft2<TestType> forward(rows, columns, FftDirection::kForward);
  Image<TestType> expected(in.size());
  Fft2<TestType>(rows, columns, FftDirection::kForward).run(in.data(), expected.data());

  std::vector<int> wrong(8, 0);
  std::vector<std::thread> threads;
  for (auto& count : wrong) {
    threads.emplace_back([&] {
      // An odd element offset: the bytes may not depend on the alignment either.
      Image<TestType> buffer(in.size() + 1);
      for (int repeat = 0; repeat < 50; ++repeat) {
        auto* out = buffer.data() + repeat % 2;
        forward.run(in.data(), out);
        if (!std::equal(expected.begin(), expected.end(), out)) ++count;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(8, 0));
}

TEST_CASE("fftshift puts index 0 at N / 2, ifftshift puts it back", "[fft]") {
  const std::vector<int> odd = {0, 1, 2, 3, 4};
  std::vector<int> out(5), back(5);
  ptynet::fftshift(odd.data(), out.data(), 1, 5);
  CHECK(out == std::vector<int>{3, 4, 0, 1, 2});
  ptynet::ifftshift(out.data(), back.data(), 1, 5);
  CHECK(back == odd);

  const std::vector<int> even = {0, 1, 2, 3, 4, 5, 6, 7};  // 4 rows, 2 columns
  std::vector<int> shifted(8), returned(8);
  ptynet::fftshift(even.data(), shifted.data(), 4, 2);
  CHECK(shifted == std::vector<int>{5, 4, 7, 6, 1, 0, 3, 2});
  ptynet::ifftshift(shifted.data(), returned.data(), 4, 2);
  CHECK(returned == even);
}

TEST_CASE("fft2 refuses sizes it cannot plan", "[fft]") {
  CHECK_THROWS_AS(Fft2<float>(0, 8, FftDirection::kForward), ptynet::Error);
  CHECK_THROWS_AS(Fft2<float>(8, -1, FftDirection::kForward), ptynet::Error);
  CHECK_THROWS_AS(Fft2<double>(8, std::int64_t{1} << 40, FftDirection::kForward), ptynet::Error);
}
