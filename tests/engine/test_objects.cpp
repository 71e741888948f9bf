#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numbers>
#include <set>
#include <thread>
#include <vector>

#include "engine/objects.h"
#include "io/png.h"
#include "tests/support.h"

using namespace ptynet;
using Catch::Contains;
using ptynet::tests::TemporaryFolder;

namespace {

constexpr ObjectKind kKinds[] = {ObjectKind::kDeadLeaves, ObjectKind::kSiemens, ObjectKind::kCells,
                                 ObjectKind::kText};

bool same(const Array& a, const Array& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

std::vector<float> values_of(const Array& a) {
  return {a.data<float>(), a.data<float>() + a.elements()};
}

double correlation(const Array& a, const Array& b) {
  const auto n = static_cast<double>(a.elements());
  double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
  for (std::int64_t k = 0; k < a.elements(); ++k) {
    const double x = a.data<float>()[k];
    const double y = b.data<float>()[k];
    sa += x, sb += y, saa += x * x, sbb += y * y, sab += x * y;
  }
  return (sab / n - sa * sb / n / n) /
         std::sqrt((saa / n - sa * sa / n / n) * (sbb / n - sb * sb / n / n));
}

// Area that two discs of radius r share whose middles are d apart.
double lens(double r, double d) {
  if (d >= 2 * r) return 0;
  return 2 * r * r * std::acos(d / (2 * r)) - d / 2 * std::sqrt(4 * r * r - d * d);
}

// Pixel (r, c) is 5 r + 2 c + offset.
Array ramp(std::int64_t rows, std::int64_t columns, int offset) {
  Array out = Array::host({rows, columns}, DType::kU8);
  for (std::int64_t k = 0; k < out.elements(); ++k) {
    out.data<std::uint8_t>()[k] =
        static_cast<std::uint8_t>(k / columns * 5 + k % columns * 2 + offset);
  }
  return out;
}

}  // namespace

TEST_CASE("the same arguments give the same object, on any thread and in any order") {
  for (const ObjectKind kind : kKinds) {
    std::vector<ObjectImage> made(8);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&made, kind, t] {
        for (const std::size_t k : {7 - t, t})
          made[k] = make_object(object_series(kind, {}, 3), 61, 47, k % 4);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t k = 0; k < 4; ++k) {
      CHECK(same(made[k].amplitude, made[k + 4].amplitude));
      CHECK(same(made[k].phase, made[k + 4].phase));
    }
    CHECK_FALSE(same(made[0].amplitude, made[1].amplitude));
    CHECK_FALSE(
        same(made[0].amplitude,
             make_object(object_series(kind, {}, 4), 61, 47, 0).amplitude));  // another seed
  }
}

TEST_CASE("values fill their ranges, and the phase follows the amplitude when shared") {
  ObjectRanges ranges;
  ranges.amplitude_low = 0.5;
  ranges.amplitude_high = 0.75;
  ranges.phase_low_rad = -1;
  ranges.phase_high_rad = 2;
  ranges.feature_high_px = 20;
  for (const ObjectKind kind : kKinds) {
    const ObjectImage free = make_object(object_series(kind, ranges, 1), 200, 160, 2);
    const auto amplitude = values_of(free.amplitude);
    const auto phase = values_of(free.phase);
    const auto [low, high] = std::minmax_element(amplitude.begin(), amplitude.end());
    CHECK(*low >= 0.5F);
    CHECK(*high <= 0.75F);
    CHECK(*high - *low > 0.3 * 0.25);
    const auto [early, late] = std::minmax_element(phase.begin(), phase.end());
    CHECK(*early >= -1);
    CHECK(*late <= 2);
    CHECK(*late - *early > 0.3 * 3);
    ObjectRanges together = ranges;
    together.shared = true;
    const ObjectImage shared = make_object(object_series(kind, together, 1), 200, 160, 2);
    CHECK(same(shared.amplitude, free.amplitude));
    for (std::int64_t k = 0; k < 32000; k += 77) {
      const double share = (double{shared.amplitude.data<float>()[k]} - 0.5) / 0.25;
      CHECK(double{shared.phase.data<float>()[k]} == Approx(3 * share - 1).margin(1e-5));
    }
  }
}

TEST_CASE("amplitude and phase of dead leaves are independent") {
  double sum = 0;
  for (std::uint64_t k = 0; k < 30; ++k) {
    const ObjectImage object =
        make_object(object_series(ObjectKind::kDeadLeaves, {}, 5), 128, 128, k);
    sum += correlation(object.amplitude, object.phase) / 30;
  }
  CHECK(std::abs(sum) < 0.1);
}

// Two pixels d apart show the same leaf with the probability g / (2 - g), where g is the share of
// a leaf's area, on average, that it has in common with itself moved by d (Bordenave, Gousseau,
// Roueff, Adv. Appl. Prob. 38, 2006). Values being independent, that is their correlation.
TEST_CASE("dead leaves are correlated as a power law of radii says") {
  ObjectRanges ranges;
  ranges.feature_low_px = 6;
  ranges.feature_high_px = 40;
  constexpr std::int64_t kSide = 512;
  for (const std::int64_t d : {4, 8, 16, 32}) {
    double pairs = 0, both = 0, all = 0, square = 0;
    for (std::uint64_t k = 0; k < 12; ++k) {
      const Array image =
          make_object(object_series(ObjectKind::kDeadLeaves, ranges, 9), kSide, kSide, k).amplitude;
      const float* v = image.data<float>();
      for (std::int64_t r = 0; r < kSide; ++r) {
        for (std::int64_t c = 0; c + d < kSide; ++c) {
          const double a = (double{v[r * kSide + c]} - 0.65) / 0.35;
          const double b = (double{v[r * kSide + c + d]} - 0.65) / 0.35;
          ++pairs, both += a * b, all += a, square += a * a;
        }
      }
    }
    const double mean = all / pairs;
    const double found = (both / pairs - mean * mean) / (square / pairs - mean * mean);
    double common = 0, area = 0;
    for (double r = 6; r < 40; r += 0.01) {
      common += lens(r, static_cast<double>(d)) / (r * r * r);
      area += std::numbers::pi / r;
    }
    const double g = common / area;
    // A quarter of the leaves are ellipses, a quarter rectangles of the same area.
    CHECK(found == Approx(g / (2 - g)).margin(0.03));
  }
}

TEST_CASE("stars and characters have two levels, stars alternate around their middle") {
  ObjectRanges ranges;
  for (const ObjectKind kind : {ObjectKind::kSiemens, ObjectKind::kText}) {
    for (std::uint64_t k = 0; k < 5; ++k) {
      const auto values =
          values_of(make_object(object_series(kind, ranges, 2), 150, 180, k).amplitude);
      CHECK(std::set<float>(values.begin(), values.end()).size() == 2);
    }
  }
  // Opposite pixels on the star's level take turns: marks are about half of a ring.
  const Array star =
      make_object(object_series(ObjectKind::kSiemens, ranges, 2), 400, 400, 0).amplitude;
  const float ground = star.data<float>()[0];
  const auto marks = std::count_if(star.data<float>(), star.data<float>() + star.elements(),
                                   [ground](float v) { return v != ground; });
  // Of the disc of 0.4 to 0.5 of the side, less the rings and the middle, half
  CHECK(static_cast<double>(marks) > 0.3 * std::numbers::pi * 160 * 160);
  CHECK(static_cast<double>(marks) < 0.5 * std::numbers::pi * 200 * 200);
}

TEST_CASE("ranges and extents that make no object are refused") {
  const auto with = [](auto change) {
    ObjectRanges ranges;
    change(ranges);
    return [ranges] { make_object(object_series(ObjectKind::kText, ranges, 1), 8, 8, 1); };
  };
  CHECK_THROWS_WITH(with([](ObjectRanges& r) { r.amplitude_low = -0.1; })(),
                    Contains("amplitudes"));
  CHECK_THROWS_WITH(with([](ObjectRanges& r) { r.amplitude_high = 0.2; })(),
                    Contains("amplitudes"));
  CHECK_THROWS_WITH(with([](ObjectRanges& r) { r.phase_high_rad = 3.2; })(), Contains("phases"));
  CHECK_THROWS_WITH(with([](ObjectRanges& r) { r.phase_low_rad = std::nan(""); })(),
                    Contains("phases"));
  CHECK_THROWS_WITH(with([](ObjectRanges& r) { r.feature_low_px = 0; })(), Contains("features"));
  CHECK_THROWS_WITH(make_object(object_series(ObjectKind::kCells, {}, 1), 0, 8, 1),
                    Contains("0x8"));
}

TEST_CASE("two pictures become an object") {
  const TemporaryFolder folder;
  Array first = ramp(5, 6, 0);
  first.data<std::uint8_t>()[1] = 255;
  first.data<std::uint8_t>()[2] = 51;
  io::write_png(folder / "a.png", first);
  io::write_png(folder / "p.png", ramp(5, 6, 3));
  const ObjectImage object = object_from_images(folder / "a.png", folder / "p.png", {});
  CHECK(object.amplitude.shape() == Shape({5, 6}));
  CHECK(double{object.amplitude.data<float>()[0]} == Approx(0.3));
  CHECK(double{object.amplitude.data<float>()[1]} == Approx(1.0));
  CHECK(double{object.amplitude.data<float>()[2]} == Approx(0.3 + 0.7 * 0.2));
  CHECK(double{object.phase.data<float>()[0]} == Approx(-0.6 + 1.2 * 3 / 255));
  const Array complex = complex_object(object);
  const auto z = complex.data<std::complex<float>>()[2];
  CHECK(double{std::abs(z)} == Approx(0.44));
  CHECK(double{std::arg(z)} == Approx(double{object.phase.data<float>()[2]}));

  io::write_png(folder / "small.png", ramp(4, 6, 0));
  CHECK_THROWS_WITH(object_from_images(folder / "a.png", folder / "small.png", {}),
                    Contains("one size") && Contains("4x6"));
  CHECK_THROWS_WITH(object_from_images(folder / "a.png", folder / "missing.png", {}),
                    Contains("missing.png"));
}

TEST_CASE("windows of a folder of pictures come from it, in all eight orientations") {
  const TemporaryFolder folder;
  io::write_png(folder / "one.png", ramp(24, 32, 0));
  io::write_png(folder / "two.png", ramp(40, 24, 1));
  std::ofstream(folder / "notes.txt") << "not a picture";
  const ImageLibrary library(folder.path(), 20, 16);
  CHECK(library.size() == 2);
  ObjectRanges ranges{0, 1, 0, 1, false, 8, 90};
  std::set<std::pair<int, int>> steps;  // down and to the right, in grey levels
  bool different = false;
  for (std::uint64_t k = 0; k < 200; ++k) {
    const ObjectImage window = make_object(library.series(ranges, 1), 20, 16, k);
    REQUIRE(window.amplitude.shape() == Shape({20, 16}));
    const float* v = window.amplitude.data<float>();
    const auto grey = [v](std::int64_t at) { return static_cast<int>(std::lround(v[at] * 255)); };
    const std::pair step{grey(16) - grey(0), grey(1) - grey(0)};
    steps.insert(step);
    for (std::int64_t r = 0; r < 20; ++r) {
      for (std::int64_t c = 0; c < 16; ++c) {
        // A straight cut of the ramp, turned: as linear as the ramp
        REQUIRE(grey(r * 16 + c) ==
                grey(0) + static_cast<int>(r) * step.first + static_cast<int>(c) * step.second);
      }
    }
    different = different || !same(window.amplitude, window.phase);
    CHECK(same(window.amplitude, make_object(library.series(ranges, 1), 20, 16, k).amplitude));
  }
  CHECK(steps.size() == 8);
  CHECK(different);
  ranges.shared = true;
  const ObjectImage shared = make_object(library.series(ranges, 1), 20, 16, 5);
  CHECK(same(shared.amplitude, shared.phase));

  CHECK_THROWS_WITH(ImageLibrary(folder.path(), 25, 8), Contains("one.png") && Contains("25"));
  std::filesystem::create_directory(folder / "empty");
  CHECK_THROWS_WITH(ImageLibrary(folder / "empty", 8, 8), Contains("found none"));
  CHECK_THROWS_WITH(ImageLibrary(folder / "nowhere", 8, 8), Contains("nowhere"));
}
