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

namespace {

// A fixture's result and, beside it, one that has other errors and covers other pixels.
struct Two : Fixture {
  Two() {
    at(3, 3) *= 0.5f;
    auto second = cut(amplitude, phase, 14, 22, 42, 30);
    for (std::int64_t i = 0; i < second.object.elements(); ++i) {
      second.object.data<std::complex<float>>()[i] *= i % 2 == 0 ? 0.8f : 0.7f;
    }
    second.process.residual_stitched = 0.2;
    second.process.residual_flat = 0.3;
    second.process.residual_mean = 0.4;
    ptynet::io::ResultWriter(folder / "tuned.h5").finish(second);
    request.beside = {folder / "tuned.h5"};
  }
  std::vector<ptynet::Evaluation> evaluate_both() {
    ptynet::io::ResultWriter(request.result).finish(result);
    return ptynet::evaluate_all(request);
  }
};

}  // namespace

TEST_CASE("evaluate: several results are judged on what all of them cover", "[evaluate]") {
  Two two;
  auto found = two.evaluate_both();
  REQUIRE(found.size() == 2);
  CHECK(found[0].result == two.request.result);
  CHECK(found[1].result == two.folder / "tuned.h5");
  for (const auto& one : found) check_region(one.region, {14, 50, 22, 50});
  CHECK(found[0].physical.amplitude_rms < 1e-6);  // (13, 23), where it is wrong, is left out
  CHECK(found[1].physical.amplitude_rms > 0.01);
  CHECK_FALSE(found[0].r_factor.has_value());
  REQUIRE(found[1].r_factor.has_value());
  CHECK(found[1].r_factor->stitched == 0.2);

  // Alone, each has a region of its own.
  two.request.beside.clear();
  CHECK(two.evaluate().physical.amplitude_rms > 1e-3);
  two.request.result = two.folder / "tuned.h5";
  const auto alone = ptynet::evaluate(two.request);
  check_region(alone.region, {14, 56, 22, 52});
}

TEST_CASE("evaluate: each line of the text, and an array in JSON, holds every result",
          "[evaluate]") {
  Two two;
  auto found = two.evaluate_both();
  found[0].physical = {0.31, 0.125};
  found[1].physical = {0.18, 0.0625};
  const auto physical = ptynet::Convention::kPhysical;
  CHECK_THAT(ptynet::to_text(found, physical),
             Contains("phase RMS 0.31 -> 0.18 rad, amplitude RMS 0.125 -> 0.0625\n"));
  found[0].r_factor = {0.5, 0.3, 0.4};
  CHECK_THAT(ptynet::to_text(found, physical),
             Contains(", R of the scan 0.5 -> 0.2 (flat object 0.3, mean frame 0.4)\n"));
  CHECK_THAT(ptynet::to_text(found[0], physical), !Contains("->"));

  const auto both = nlohmann::json::parse(ptynet::to_json(found, physical));
  REQUIRE(both.size() == 2);
  CHECK(both[1]["result"] == (two.folder / "tuned.h5").string());
  CHECK(both[1]["r_factor"] ==
        nlohmann::json({{"stitched", 0.2}, {"flat_object", 0.3}, {"mean_frame", 0.4}}));
  found.pop_back();
  CHECK(nlohmann::json::parse(ptynet::to_json(found))["physical"]["phase_rms_rad"] == 0.31);
}

TEST_CASE("evaluate: the picture has a column for each result and for the truth", "[evaluate]") {
  Two two;
  two.request.png = two.folder / "new" / "pictures";
  // A scale and a constant phase are no difference, which the picture must not show.
  two.request.beside.clear();
  for (std::int64_t i = 0; i < two.result.object.elements(); ++i) {
    two.at(0, i) *= std::polar(0.5f, 2.0f);
  }
  two.at(3, 3) *= 2.0f;  // undoes what the fixture did
  two.count(8, 9) = 0;
  static_cast<void>(two.evaluate_both());
  const Array picture = ptynet::io::read_png(two.request.png / "comparison.png");
  REQUIRE(picture.shape().rank() == 3);
  // A map of 40 x 30 px, enlarged 13 times; font pixels of 2: a margin of 18, a title of 26, a gap
  // of 12 between maps; a bar with its numbers, and the scale that is not there, below.
  const std::int64_t pitch = 30 * 13 + 12, row_height = 18 + 26 + 40 * 13 + 18;
  REQUIRE(picture.shape()[0] == 2 * row_height);
  const auto pixel = [&](std::int64_t map_row, std::int64_t map, std::int64_t r, std::int64_t c) {
    const std::int64_t row = map_row * row_height + 18 + 26 + r * 13 + 6;
    const std::int64_t column = 18 + map * pitch + c * 13 + 6;
    const auto* at = picture.data<std::uint8_t>() + (row * picture.shape()[1] + column) * 3;
    return std::array<int, 3>{at[0], at[1], at[2]};
  };
  for (const std::int64_t row : {0, 1}) {
    INFO((row == 0 ? "amplitude" : "phase"));
    CHECK(pixel(row, 0, 8, 9) == std::array{222, 226, 233});  // not covered
    CHECK(pixel(row, 1, 8, 9) != std::array{222, 226, 233});
    int differences = 0, shades = 0;
    for (std::int64_t r = 10; r < 40; ++r) {
      for (std::int64_t c = 0; c < 30; ++c) {
        const auto result = pixel(row, 0, r, c), truth = pixel(row, 1, r, c);
        for (std::size_t k = 0; k < 3; ++k) differences += std::abs(result[k] - truth[k]) > 1;
        shades += truth != pixel(row, 1, 10, 0);
      }
    }
    CHECK(differences == 0);
    CHECK(shades > 800);
  }
}

TEST_CASE("evaluate: a picture that cannot be written leaves nothing", "[evaluate]") {
  Two two;
  two.request.png = "/proc/none";
  CHECK_THROWS_WITH(two.evaluate_both(), Contains("/proc/none"));
  // Truths that the picture would replace.
  ptynet::io::write_png(two.folder / "comparison.png", Array::zeros({60, 70}, DType::kU8));
  two.request.truth_phase = {two.folder / "comparison.png", ""};
  two.request.png = two.folder.path();
  CHECK_THROWS_WITH(two.evaluate_both(), Contains("which it would replace"));
  CHECK(ptynet::io::read_png(two.folder / "comparison.png").shape().rank() == 2);
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

  Fixture apart;
  const auto other = cut(apart.amplitude, apart.phase, 0, 50, 10, 20);
  ptynet::io::ResultWriter(apart.folder / "other.h5").finish(other);
  apart.request.beside = {apart.folder / "other.h5"};
  CHECK_THROWS_WITH(apart.evaluate(),
                    Contains("other.h5: expected a part of the object in common"));
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
