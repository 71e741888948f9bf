#include <cmath>
#include <complex>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/evaluate.h"
#include "io/npy.h"
#include "io/png.h"
#include "io/result.h"
#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/support.h"

namespace {

using Catch::Matchers::Contains;
using ptynet::Array;
using ptynet::DType;
using ptynet::EvaluateRequest;
using ptynet::tests::TemporaryFolder;

Array draw(std::int64_t rows, std::int64_t columns, const char* name, double low, double high) {
  Array out = Array::host({rows, columns}, DType::kF32);
  const ptynet::CounterRandom random(1, name);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<float>()[i] =
        static_cast<float>(low + (high - low) * random.uniform(static_cast<std::uint64_t>(i)));
  }
  return out;
}

// The truth's rectangle from (row, column), as a reconstruction that covers all of it.
ptynet::io::Result cut(const Array& amplitude, const Array& phase, std::int64_t row,
                       std::int64_t column, std::int64_t rows, std::int64_t columns) {
  ptynet::io::Result result;
  result.object = Array::host({rows, columns}, DType::kC64);
  result.coverage = Array::zeros({rows, columns}, DType::kF32);
  result.count = Array::zeros({rows, columns}, DType::kU32);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::int64_t from = (row + r) * amplitude.shape()[1] + column + c;
      result.object.data<std::complex<float>>()[r * columns + c] =
          std::polar(amplitude.data<float>()[from], phase.data<float>()[from]);
      result.count.data<std::uint32_t>()[r * columns + c] = 1;
    }
  }
  result.origin_px = {static_cast<double>(row), static_cast<double>(column)};
  return result;
}

// A truth on disk, and a result that is a part of it.
struct Fixture {
  TemporaryFolder folder;
  Array amplitude = draw(60, 70, "amplitude", 0.2, 1);
  Array phase = draw(60, 70, "phase", -1, 1);
  ptynet::io::Result result = cut(amplitude, phase, 10, 20, 40, 30);
  EvaluateRequest request{
      folder / "result.h5", {folder / "a.npy", ""}, {folder / "p.npy", ""}, {}, 0};

  Fixture() {
    ptynet::io::write_npy(folder / "a.npy", amplitude);
    ptynet::io::write_npy(folder / "p.npy", phase);
  }
  ptynet::Evaluation evaluate() {
    ptynet::io::ResultWriter(request.result).finish(result);
    return ptynet::evaluate(request);
  }
  std::complex<float>& at(std::int64_t r, std::int64_t c) {
    return result.object.data<std::complex<float>>()[r * 30 + c];
  }
  std::uint32_t& count(std::int64_t r, std::int64_t c) {
    return result.count.data<std::uint32_t>()[r * 30 + c];
  }
};

nlohmann::json parsed(const ptynet::Evaluation& evaluation,
                      std::optional<ptynet::Convention> convention = {}) {
  return nlohmann::json::parse(ptynet::to_json(evaluation, convention));
}

void check_region(const ptynet::Region& found, const std::array<std::int64_t, 4>& expected) {
  CHECK(std::array{found.first_row, found.end_row, found.first_column, found.end_column} ==
        expected);
}

}  // namespace

TEST_CASE("evaluate: a perfect part of the truth is placed by its origin", "[evaluate]") {
  Fixture fixture;
  const auto found = fixture.evaluate();
  check_region(found.region, {10, 50, 20, 50});
  CHECK(found.uncovered_pixels == 0);
  CHECK(found.physical.phase_rms_rad < 1e-6);
  CHECK(found.physical.amplitude_rms < 1e-6);
  CHECK(found.amplitude_standard.psnr_db > 120);
  CHECK(found.phase_paper.ssim == Approx(1).epsilon(1e-3));
  CHECK(std::isnan(found.half_bit.frequency));

  fixture.request.truth_offset_px = {1, 0};
  CHECK(fixture.evaluate().physical.phase_rms_rad > 0.3);
  fixture.result.origin_px = {9, 23};
  fixture.request.truth_offset_px = {1, -3};
  CHECK(fixture.evaluate().physical.phase_rms_rad < 1e-6);
}

TEST_CASE("evaluate: scores are those of engine/metrics on the judged region", "[evaluate]") {
  Fixture fixture;
  for (std::int64_t i = 0; i < fixture.result.object.elements(); ++i) {
    const auto step = static_cast<float>(i % 17) / 40;
    fixture.at(0, i) *= std::polar(1 + step, step + 0.5f);
  }
  fixture.request.border_px = 7;
  const auto found = fixture.evaluate();
  check_region(found.region, {17, 43, 27, 43});
  ptynet::ComplexImage result{26, 16, {}}, truth{26, 16, {}};
  ptynet::RealImage phase{26, 16, {}}, true_phase{26, 16, {}};
  for (std::int64_t r = 7; r < 33; ++r) {
    for (std::int64_t c = 7; c < 23; ++c) {
      result.pixels.emplace_back(fixture.at(r, c));
      const std::int64_t from = (r + 10) * 70 + c + 20;
      truth.pixels.push_back(std::polar(static_cast<double>(fixture.amplitude.data<float>()[from]),
                                        static_cast<double>(fixture.phase.data<float>()[from])));
      phase.pixels.push_back(std::arg(result.pixels.back()));
      true_phase.pixels.push_back(std::arg(truth.pixels.back()));
    }
  }
  const auto physical = ptynet::physical_scores(result, truth);
  CHECK(found.physical.phase_rms_rad == Approx(physical.phase_rms_rad).epsilon(1e-12));
  CHECK(found.physical.amplitude_rms == Approx(physical.amplitude_rms).epsilon(1e-12));
  const auto paper = ptynet::paper_scores(phase, true_phase);
  CHECK(found.phase_paper.psnr_db == Approx(paper.psnr_db).epsilon(1e-12));
  const auto standard = ptynet::standard_scores(phase, true_phase);
  CHECK(found.phase_standard.ssim == Approx(standard.ssim).epsilon(1e-12));
}

TEST_CASE("evaluate: pixels without a frame are not judged", "[evaluate]") {
  Fixture fixture;
  for (std::int64_t r = 15; r < 20; ++r) {
    for (std::int64_t c = 10; c < 14; ++c) {
      fixture.at(r, c) = {100, -100};
      fixture.count(r, c) = 0;
    }
  }
  // The last three rows were never reached: they are no part of the rectangle.
  for (std::int64_t r = 37; r < 40; ++r) {
    for (std::int64_t c = 0; c < 30; ++c) fixture.count(r, c) = 0;
  }
  const auto found = fixture.evaluate();
  check_region(found.region, {10, 47, 20, 50});
  CHECK(found.uncovered_pixels == 20);
  CHECK(found.physical.phase_rms_rad < 1e-6);
  fixture.count(16, 11) = 1;
  CHECK(fixture.evaluate().physical.amplitude_rms > 0.1);
}

TEST_CASE("evaluate: a constant phase changes neither RMS nor correlation", "[evaluate]") {
  Fixture fixture;
  for (std::int64_t i = 0; i < fixture.result.object.elements(); ++i) {
    fixture.at(0, i) *= std::polar(1.0f, 2.0f);
  }
  fixture.result.pixel_size_m = {5e-9, 5e-9};
  const auto found = fixture.evaluate();
  CHECK(found.physical.phase_rms_rad < 1e-6);
  for (const double value : found.ring_correlation.correlation) CHECK(value > 0.999999);
}

TEST_CASE("evaluate: noise limits the correlation, and the half period is in metres",
          "[evaluate]") {
  Fixture fixture;
  // Smooth result of a noisy truth: only low frequencies agree.
  for (std::int64_t r = 4; r < 36; ++r) {
    for (std::int64_t c = 4; c < 26; ++c) {
      std::complex<float> sum = 0;
      for (std::int64_t y = -2; y <= 2; ++y) {
        for (std::int64_t x = -2; x <= 2; ++x) {
          const std::int64_t from = (r + y + 10) * 70 + c + x + 20;
          sum +=
              std::polar(fixture.amplitude.data<float>()[from], fixture.phase.data<float>()[from]);
        }
      }
      fixture.at(r, c) = sum / 25.0f;
    }
  }
  fixture.request.border_px = 4;
  fixture.result.pixel_size_m = {5e-9, 5e-9};
  const auto found = fixture.evaluate();
  REQUIRE(found.fixed_05.frequency > 0.1);
  REQUIRE(found.fixed_05.frequency < 0.4);
  REQUIRE(found.fixed_05.half_period_m.has_value());
  CHECK(*found.fixed_05.half_period_m == Approx(5e-9 / (2 * found.fixed_05.frequency)));
  fixture.result.pixel_size_m = {5e-9, 6e-9};  // no single length per pixel
  CHECK_FALSE(fixture.evaluate().fixed_05.half_period_m.has_value());
}

TEST_CASE("evaluate: JSON and text", "[evaluate]") {
  Fixture fixture;
  fixture.at(3, 3) *= 0.5f;
  fixture.at(4, 3) *= std::polar(1.0f, 0.2f);
  const auto found = fixture.evaluate();
  const auto all = parsed(found);
  CHECK(all["region"] == nlohmann::json({10, 50, 20, 50}));
  CHECK(all["amplitude"]["paper"]["psnr"].is_number());
  CHECK(all["phase"]["standard"]["ssim"].is_number());
  CHECK(all["physical"]["phase_rms_rad"].is_number());
  CHECK(all["frc"]["frequency"].size() == 16);
  CHECK(all["frc"]["crossings"]["half_bit"]["frequency"].is_null());
  const auto paper = parsed(found, ptynet::parse_convention("paper"));
  CHECK_FALSE(paper.contains("physical"));
  CHECK_FALSE(paper["amplitude"].contains("standard"));
  CHECK(paper["amplitude"].contains("paper"));
  CHECK_THAT(ptynet::to_text(found, ptynet::Convention::kPhysical), Contains("phase RMS"));
  CHECK_THAT(ptynet::to_text(found, ptynet::Convention::kPhysical), !Contains("PSNR"));
  CHECK_THROWS_WITH(ptynet::parse_convention("Paper"), Contains("found 'Paper'"));

  ptynet::Evaluation same = found;
  same.amplitude_paper.psnr_db = std::numeric_limits<double>::infinity();
  CHECK(parsed(same)["amplitude"]["paper"]["psnr"] == "infinity");
}

TEST_CASE("evaluate: grey pictures as truth count 0 to 1", "[evaluate]") {
  Fixture fixture;
  Array picture = Array::host({60, 70}, DType::kU8);
  for (std::int64_t i = 0; i < picture.elements(); ++i) {
    picture.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 31);
    fixture.amplitude.data<float>()[i] =
        static_cast<float>(static_cast<std::uint8_t>(i * 31)) / 255;
  }
  ptynet::io::write_png(fixture.folder / "a.png", picture);
  fixture.request.truth_amplitude = {fixture.folder / "a.png", ""};
  fixture.result = cut(fixture.amplitude, fixture.phase, 10, 20, 40, 30);
  CHECK(fixture.evaluate().physical.amplitude_rms < 1e-6);
  CHECK(fixture.evaluate().amplitude_standard.mse < 1e-12);
  ptynet::io::write_png(fixture.folder / "a.png", Array::zeros({60, 70, 3}, DType::kU8));
  CHECK_THROWS_WITH(fixture.evaluate(), Contains("expected a grey picture"));
}

TEST_CASE("evaluate: what cannot be judged is refused on one line", "[evaluate]") {
  Fixture fixture;
  fixture.request.truth_offset_px = {100, 0};
  CHECK_THROWS_WITH(fixture.evaluate(), Contains("does not overlap the truth of 60 x 70 px"));
  fixture.request.truth_offset_px = {std::numeric_limits<std::int64_t>::max(), 0};
  CHECK_THROWS_AS(fixture.evaluate(), ptynet::Error);
  fixture.request.truth_offset_px = {};
  for (const std::int64_t border :
       {std::int64_t{-1}, std::int64_t{15}, std::numeric_limits<std::int64_t>::max()}) {
    fixture.request.border_px = border;
    CHECK_THROWS_WITH(fixture.evaluate(), Contains("expected a border of 0 to 14 px"));
  }
  fixture.request.border_px = 14;
  CHECK_NOTHROW(fixture.evaluate());
  fixture.request.border_px = 0;

  ptynet::io::write_npy(fixture.folder / "p.npy", draw(60, 71, "phase", -1, 1));
  CHECK_THROWS_WITH(
      fixture.evaluate(),
      Contains("expected amplitude and phase of the truth in one shape, found 60 x 70"));
  ptynet::io::write_npy(fixture.folder / "p.npy", Array::zeros({2, 60, 70}, DType::kF32));
  CHECK_THROWS_WITH(fixture.evaluate(), Contains("expected a truth of shape [rows, columns]"));
  ptynet::io::write_npy(fixture.folder / "p.npy", fixture.phase);
  std::fill_n(fixture.result.count.data<std::uint32_t>(), fixture.result.count.elements(), 0u);
  CHECK_THROWS_WITH(fixture.evaluate(), Contains("no pixel is covered"));
}

TEST_CASE("evaluate: the published scan with perfect patches scores as the reference says",
          "[evaluate][reference]") {
  PTYNET_NEED_REFERENCE();
  const auto reference = *ptynet::tests::reference_folder();
  const auto data = reference / "data" / "ptynet-scan-0overlap";
  std::ifstream file(reference / "expected.json");
  const auto expected =
      nlohmann::json::parse(file)["ptynet-scan-0overlap, perfect patches"]["nominal_grid"];

  // Every patch of the truth at its true corner, put on the nominal raster of step 128.
  const Array amplitude = ptynet::io::read_npy(data / "amplitude.npy", DType::kF32);
  const Array phase = ptynet::io::read_npy(data / "phase.npy", DType::kF32);
  const Array corners = ptynet::io::read_npy(data / "positions.npy", DType::kF64);
  auto result = cut(amplitude, phase, 0, 0, 640, 640);
  for (std::int64_t k = 0; k < 25; ++k) {
    const auto row = static_cast<std::int64_t>(corners.data<double>()[2 * k]);
    const auto column = static_cast<std::int64_t>(corners.data<double>()[2 * k + 1]);
    const auto patch = cut(amplitude, phase, row, column, 128, 128);
    for (std::int64_t r = 0; r < 128; ++r) {
      std::copy_n(
          patch.object.data<std::complex<float>>() + r * 128, 128,
          result.object.data<std::complex<float>>() + (k / 5 * 128 + r) * 640 + k % 5 * 128);
    }
  }
  const TemporaryFolder folder;
  ptynet::io::ResultWriter(folder / "r.h5").finish(result);
  const auto found = parsed(ptynet::evaluate(
      {folder / "r.h5", {data / "amplitude.npy", ""}, {data / "phase.npy", ""}, {3, 3}, 0}));
  CHECK(found["region"] == expected["region"]);
  CHECK(found["physical"]["phase_rms_rad"].get<double>() ==
        Approx(expected["phase_rms_rad"].get<double>()).epsilon(1e-6));
  CHECK(found["physical"]["amplitude_rms"].get<double>() ==
        Approx(expected["amplitude_rms"].get<double>()).epsilon(1e-6));
  for (const char* map : {"amplitude", "phase"}) {
    for (const char* convention : {"paper", "standard"}) {
      for (const char* score : {"psnr", "ssim", "mse"}) {
        INFO(map << ' ' << convention << ' ' << score);
        // Rounding up to 0..255 turns differences of single precision into whole steps.
        const double epsilon = convention[0] == 'p' ? 1e-4 : 1e-6;
        CHECK(found[map][convention][score].get<double>() ==
              Approx(expected[map][convention][score].get<double>()).epsilon(epsilon));
      }
    }
  }
}
