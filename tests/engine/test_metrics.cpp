#include <cmath>
#include <complex>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/metrics.h"
#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/catch.h"

namespace {

using ptynet::ComplexImage;
using ptynet::RealImage;
using ptynet::RingCriterion;

nlohmann::json golden() {
  const auto folder = std::filesystem::path(__FILE__).parent_path().parent_path() / "golden";
  std::ifstream file(folder / "metrics.json");
  REQUIRE(file.good());
  return nlohmann::json::parse(file);
}

RealImage draw(std::int64_t rows, std::int64_t columns, std::uint64_t seed, const char* name) {
  RealImage image{rows, columns, {}};
  const ptynet::CounterRandom random(seed, name);
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    image.pixels.push_back(random.uniform(static_cast<std::uint64_t>(i)));
  }
  return image;
}

RealImage affine(RealImage image, double scale, double offset) {
  for (double& value : image.pixels) value = scale * value + offset;
  return image;
}

RealImage sum(RealImage a, const RealImage& b) {
  for (std::size_t i = 0; i < a.pixels.size(); ++i) a.pixels[i] += b.pixels[i];
  return a;
}

ComplexImage polar(const RealImage& amplitude, const RealImage& phase_rad) {
  ComplexImage out{amplitude.rows, amplitude.columns, {}};
  for (std::size_t i = 0; i < amplitude.pixels.size(); ++i) {
    const double angle = phase_rad.pixels[i];
    out.pixels.push_back(amplitude.pixels[i] *
                         std::complex<double>(std::cos(angle), std::sin(angle)));
  }
  return out;
}

// The images of tests/golden/make_metrics.py.
struct Pair {
  RealImage result_amplitude, result_phase, truth_amplitude, truth_phase;
  ComplexImage result() const { return polar(result_amplitude, result_phase); }
  ComplexImage truth() const { return polar(truth_amplitude, truth_phase); }
};
Pair images(std::int64_t rows, std::int64_t columns, std::uint64_t seed, double noise) {
  Pair pair;
  const auto image = [&](const char* name) { return draw(rows, columns, seed, name); };
  pair.truth_amplitude = affine(image("amplitude"), 0.5, 0.25);
  pair.truth_phase = affine(affine(image("phase"), 1, -0.5), 3, 0);
  pair.result_amplitude = sum(pair.truth_amplitude, affine(image("amplitude noise"), noise, 0));
  pair.result_phase =
      sum(pair.truth_phase, affine(affine(image("phase noise"), 1, -0.25), noise, 0));
  return pair;
}

Approx near(const nlohmann::json& expected) {
  return Approx(expected.get<double>()).epsilon(1e-12).margin(1e-13);
}

void check(const ptynet::ImageScores& found, const nlohmann::json& expected) {
  CHECK(found.psnr_db == near(expected["psnr"]));
  CHECK(found.ssim == near(expected["ssim"]));
  CHECK(found.mse == near(expected["mse"]));
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("metrics equal the NumPy reference", "[metrics][golden]") {
  const auto cases = golden()["cases"];
  REQUIRE(cases.size() == 4);
  for (const auto& expected : cases) {
    const Pair pair =
        images(expected["rows"], expected["columns"], expected["seed"], expected["noise"]);
    INFO(expected["rows"] << " x " << expected["columns"]);
    check(ptynet::paper_scores(pair.result_amplitude, pair.truth_amplitude),
          expected["amplitude"]["paper"]);
    check(ptynet::standard_scores(pair.result_amplitude, pair.truth_amplitude),
          expected["amplitude"]["standard"]);
    check(ptynet::paper_scores(pair.result_phase, pair.truth_phase), expected["phase"]["paper"]);
    check(ptynet::standard_scores(pair.result_phase, pair.truth_phase),
          expected["phase"]["standard"]);

    const auto physical = ptynet::physical_scores(pair.result(), pair.truth());
    CHECK(physical.phase_rms_rad == near(expected["physical"]["phase_rms_rad"]));
    CHECK(physical.amplitude_rms == near(expected["physical"]["amplitude_rms"]));

    const auto curve = ptynet::ring_correlation(pair.result(), pair.truth());
    REQUIRE(curve.frequency.size() == expected["frc"]["frequency"].size());
    for (std::size_t i = 0; i < curve.frequency.size(); ++i) {
      CHECK(curve.frequency[i] == near(expected["frc"]["frequency"][i]));
      CHECK(curve.correlation[i] == near(expected["frc"]["correlation"][i]));
    }
  }
}

TEST_CASE("physical scores ignore a constant phase and a scale, nothing else", "[metrics]") {
  const Pair pair = images(20, 24, 5, 0.3);
  const ComplexImage truth = pair.truth();
  ComplexImage turned = truth;
  for (auto& value : turned.pixels) value *= std::polar(3.0, 2.5);
  const auto scores = ptynet::physical_scores(turned, truth);
  CHECK(scores.phase_rms_rad < 1e-14);
  CHECK(scores.amplitude_rms < 1e-14);
  // Errors near +-pi wrap: a result of opposite sign on one pixel of 480 is off by pi there.
  turned.pixels[7] *= -1;
  CHECK(ptynet::physical_scores(turned, truth).phase_rms_rad ==
        Approx(std::acos(-1) / std::sqrt(480.0)).epsilon(1e-2));
}

TEST_CASE("metrics of identical images", "[metrics]") {
  const Pair pair = images(16, 16, 6, 0.3);
  const auto paper = ptynet::paper_scores(pair.truth_amplitude, pair.truth_amplitude);
  CHECK(paper.psnr_db == kInfinity);
  CHECK(paper.ssim == Approx(1).epsilon(1e-12));
  CHECK(paper.mse == 0);
  const auto curve = ptynet::ring_correlation(pair.truth(), pair.truth());
  for (const double value : curve.correlation) CHECK(value == Approx(1).epsilon(1e-12));
  CHECK(std::isnan(ptynet::ring_crossing(curve, RingCriterion::kFixed05)));
}

TEST_CASE("metrics that a formula leaves undefined are NaN", "[metrics]") {
  const RealImage flat{12, 12, std::vector<double>(144, 0.5)};
  const RealImage zero{12, 12, std::vector<double>(144, 0.0)};
  const RealImage noise = draw(12, 12, 7, "noise");
  CHECK(std::isnan(ptynet::paper_scores(flat, noise).psnr_db));
  CHECK(std::isnan(ptynet::paper_scores(noise, flat).ssim));
  CHECK(std::isfinite(ptynet::paper_scores(flat, noise).mse));
  CHECK(std::isnan(ptynet::paper_scores(zero, noise).mse));
  CHECK(std::isnan(ptynet::standard_scores(noise, flat).psnr_db));
  CHECK(std::isfinite(ptynet::standard_scores(flat, noise).psnr_db));

  const RealImage small = draw(10, 40, 8, "small");
  CHECK(std::isnan(ptynet::standard_scores(affine(small, 2, 0), small).ssim));
  CHECK(std::isfinite(ptynet::standard_scores(affine(small, 2, 0), small).psnr_db));

  const auto scores = ptynet::physical_scores(polar(zero, zero), polar(noise, noise));
  CHECK(std::isnan(scores.phase_rms_rad));
  CHECK(std::isnan(scores.amplitude_rms));
}

TEST_CASE("metrics refuse images that cannot be compared", "[metrics]") {
  const RealImage a = draw(12, 12, 9, "a");
  CHECK_THROWS_WITH(ptynet::standard_scores(a, draw(12, 13, 9, "a")),
                    "expected two images of the same shape, found 12 x 12 and 12 x 13");
  RealImage bad = a;
  bad.at(3, 4) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(
      ptynet::paper_scores(bad, a),
      "expected finite values, found NaN or infinity at row 3, column 4 of the result");
  CHECK_THROWS_AS(ptynet::ring_correlation(ComplexImage{}, ComplexImage{}), ptynet::Error);
  CHECK_THROWS_AS(ptynet::ssim(a, RealImage{12, 12, {1.0}}, 1, 1.5), ptynet::Error);
}

TEST_CASE("ring crossing lies on the line between the rings around it", "[metrics]") {
  const ptynet::RingCorrelation curve{{0, 0.1, 0.2, 0.3}, {1, 0.9, 0.7, 0.3}, {1, 8, 12, 16}};
  CHECK(ptynet::ring_crossing(curve, RingCriterion::kFixed05) == Approx(0.25));
  CHECK(std::isnan(ptynet::ring_crossing(curve, RingCriterion::kFixed0143)));
  // van Heel and Schatz, equation 17: (0.2071 + 1.9102 / sqrt(n)) / (1.2071 + 0.9102 / sqrt(n)).
  for (const std::int64_t n : {1, 8, 100, 10000}) {
    const double root = std::sqrt(static_cast<double>(n));
    CHECK(ptynet::ring_threshold(RingCriterion::kHalfBit, n) ==
          Approx((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)).epsilon(1e-4));
  }
}

TEST_CASE("matched: the best phase and scale, which leave the physical scores as they are",
          "[metrics]") {
  const Pair pair = images(40, 50, 7, 0.2);
  const ComplexImage truth = pair.truth();
  ComplexImage result = pair.result();
  const auto before = ptynet::physical_scores(result, truth);
  for (auto& pixel : result.pixels) pixel *= std::polar(3.0, 2.5);
  const ComplexImage found = ptynet::matched(result, truth);
  const auto after = ptynet::physical_scores(found, truth);
  CHECK(after.phase_rms_rad == Approx(before.phase_rms_rad).epsilon(1e-12));
  CHECK(after.amplitude_rms == Approx(before.amplitude_rms).epsilon(1e-12));
  // As it stands, with no constant left to choose.
  double phase_square = 0, amplitude_square = 0;
  for (std::size_t i = 0; i < found.pixels.size(); ++i) {
    phase_square += std::pow(std::arg(found.pixels[i] * std::conj(truth.pixels[i])), 2);
    amplitude_square += std::pow(std::abs(found.pixels[i]) - std::abs(truth.pixels[i]), 2);
  }
  const auto n = static_cast<double>(found.pixels.size());
  CHECK(std::sqrt(phase_square / n) == Approx(before.phase_rms_rad).epsilon(1e-9));
  CHECK(std::sqrt(amplitude_square / n) == Approx(before.amplitude_rms).epsilon(1e-9));

  const ComplexImage zero{40, 50, std::vector<std::complex<double>>(2000)};
  CHECK(ptynet::matched(zero, truth).pixels == zero.pixels);
}
