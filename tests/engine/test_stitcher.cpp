#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <numeric>

#include "engine/stitcher.h"
#include "kernels/random.h"
#include "tests/catch.h"

using namespace ptynet;
using Catch::Contains;

namespace {

// A smooth object that patches can be cut from at any place.
std::complex<double> object_at(double row, double column) {
  const double amplitude = 0.7 + 0.2 * std::sin(row / 7) * std::cos(column / 9);
  return std::polar(amplitude, 0.5 * std::cos(row / 11) + 0.3 * std::sin(column / 5));
}

struct Cut {
  Array amplitude;
  Array phase;
};

Cut cut(const std::vector<io::Position>& positions, std::int64_t side, double turn = 0) {
  const auto n = static_cast<std::int64_t>(positions.size());
  Cut out{Array::host({n, side, side}, DType::kF32), Array::host({n, side, side}, DType::kF32)};
  for (std::int64_t i = 0; i < out.amplitude.elements(); ++i) {
    const auto k = static_cast<std::size_t>(i / (side * side));
    const double r = positions[k].row + static_cast<double>(i / side % side);
    const double c = positions[k].column + static_cast<double>(i % side);
    const std::complex<double> v = object_at(r, c) * std::polar(1.0, turn * static_cast<double>(k));
    out.amplitude.data<float>()[i] = static_cast<float>(std::abs(v));
    out.phase.data<float>()[i] = static_cast<float>(std::arg(v));
  }
  return out;
}

std::vector<io::Position> grid(double step, double jitter) {
  const CounterRandom random(1, "grid");
  std::vector<io::Position> positions;
  for (std::uint64_t i = 0; i < 16; ++i) {
    positions.push_back({step * static_cast<double>(i / 4) - 20 + jitter * random.uniform(2 * i),
                         step * static_cast<double>(i % 4) + jitter * random.uniform(2 * i + 1)});
  }
  return positions;
}

Array probe(std::int64_t side) {
  Array out = Array::host({1, side, side}, DType::kC64);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    const double r = static_cast<double>(i / side) - static_cast<double>(side) / 2;
    const double c = static_cast<double>(i % side) - static_cast<double>(side) / 2;
    const double bell = std::exp(-(r * r + c * c) / (0.1 * static_cast<double>(side * side)));
    out.data<std::complex<float>>()[i] = {0, static_cast<float>(3 * bell)};
  }
  return out;
}

// Largest |stitched - object| where at least `frames` frames lie.
double worst_error(const Stitcher& stitcher, std::uint32_t frames = 1) {
  const Array object = stitcher.object();
  const Array count = stitcher.count();
  double worst = 0;
  for (std::int64_t i = 0; i < object.elements(); ++i) {
    if (count.data<std::uint32_t>()[i] < frames) continue;
    const auto r = static_cast<double>(stitcher.origin()[0] + i / stitcher.columns());
    const auto c = static_cast<double>(stitcher.origin()[1] + i % stitcher.columns());
    const std::complex<double> found(object.data<std::complex<float>>()[i]);
    worst = std::max(worst, std::abs(found - object_at(r, c)));
  }
  return worst;
}

}  // namespace

TEST_CASE("perfect patches on whole positions give the object back") {
  Context context;
  const auto positions = grid(12, 0);
  const Cut patches = cut(positions, 32);
  for (const StitchMode mode : {StitchMode::kMean, StitchMode::kProbe}) {
    Stitcher stitcher(context, 32, 32, probe(32), {mode});
    stitcher.add(patches.amplitude, patches.phase, positions);
    CHECK(stitcher.origin() == std::array<std::int64_t, 2>{-20, 0});
    CHECK(stitcher.rows() == 68);
    // Weights fall to 0.007 at the corners: 2^-40 of rounding over that, and f32 patches.
    CHECK(worst_error(stitcher) < 1e-6);
  }
}

TEST_CASE("positions between pixels: spreading is nearer to the truth than rounding") {
  Context context;
  const auto positions = grid(12, 1);
  const Cut patches = cut(positions, 32);
  Stitcher rounded(context, 32, 32, {}, {StitchMode::kMean, Subpixel::kNone});
  Stitcher spread(context, 32, 32, {}, {StitchMode::kMean, Subpixel::kBilinear});
  rounded.add(patches.amplitude, patches.phase, positions);
  spread.add(patches.amplitude, patches.phase, positions);
  // At its rim a spread patch has one neighbour only, so the rims of the canvas are left aside;
  // within, the mean place of what lands on a pixel is that pixel.
  CHECK(worst_error(spread, 4) < 0.5 * worst_error(rounded, 4));
}

TEST_CASE("any order, any batch, a canvas that grows: the same bytes") {
  Context context;
  const auto positions = grid(12, 1);
  const Cut patches = cut(positions, 32);
  const StitcherOptions options{StitchMode::kProbe, Subpixel::kBilinear, 2};
  Stitcher at_once(context, 32, 32, probe(32), options);
  at_once.add(patches.amplitude, patches.phase, positions);
  Stitcher one_by_one(context, 32, 32, probe(32), options);
  for (const std::size_t i : {7, 0, 15, 3, 11, 2, 9, 14, 1, 5, 4, 13, 8, 6, 12, 10}) {
    const auto k = static_cast<std::int64_t>(i);
    one_by_one.add(patches.amplitude.slice(k, 1), patches.phase.slice(k, 1), {positions[i]});
  }
  REQUIRE(one_by_one.origin() == at_once.origin());
  const Array a = at_once.object();
  const Array b = one_by_one.object();
  REQUIRE(a.shape() == b.shape());
  CHECK(std::memcmp(a.data(), b.data(), a.bytes()) == 0);
  CHECK(std::memcmp(at_once.coverage().data(), one_by_one.coverage().data(),
                    at_once.coverage().bytes()) == 0);
}

TEST_CASE("fractions are those of the position, wherever the canvas begins") {
  Context context;
  // A patch a hair beyond half a unit of 2^-39 px below its row gives the row after it 1 unit or
  // none, as its fraction is rounded; a far origin takes the digits that decide.
  std::vector<io::Position> positions{{-3000, -3000}};
  for (int k = 0; k < 12; ++k) {
    positions.push_back({(k + 0.5) * 0x1p-39 + 0x1p-70, 40.0 * k});
    positions.push_back({100 + 0.1 * k, 40.0 * k + (k + 0.5) * 0x1p-39});
  }
  const Cut patches = cut(positions, 32);
  const StitcherOptions options{StitchMode::kMean, Subpixel::kBilinear};
  const auto stitched = [&](const std::vector<std::size_t>& order) {
    Stitcher stitcher(context, 32, 32, {}, options);
    for (const std::size_t i : order) {
      const auto k = static_cast<std::int64_t>(i);
      stitcher.add(patches.amplitude.slice(k, 1), patches.phase.slice(k, 1), {positions[i]});
    }
    return std::pair{stitcher.object(), stitcher.coverage()};
  };
  std::vector<std::size_t> order(positions.size());
  std::iota(order.begin(), order.end(), 0);
  const auto far_origin_first = stitched(order);
  std::reverse(order.begin(), order.end());
  const auto far_origin_last = stitched(order);
  REQUIRE(far_origin_first.first.shape() == far_origin_last.first.shape());
  CHECK(std::memcmp(far_origin_first.first.data(), far_origin_last.first.data(),
                    far_origin_first.first.bytes()) == 0);
  CHECK(std::memcmp(far_origin_first.second.data(), far_origin_last.second.data(),
                    far_origin_first.second.bytes()) == 0);
}

TEST_CASE("a canvas that grows patch by patch is moved a few times only") {
  Context context;
  Stitcher stitcher(context, 8, 8, {}, {});
  const Cut patch = cut({{0, 0}}, 8);
  std::int64_t moves = 0;
  for (int i = 0; i < 400; ++i) {
    const std::int64_t before = stitcher.allocated_pixels();
    // Outwards on all four sides in turn.
    const double d = 4.0 * i * (i % 2 == 0 ? 1 : -1);
    stitcher.add(patch.amplitude, patch.phase,
                 {i % 4 < 2 ? io::Position{d, 0} : io::Position{0, d}});
    if (stitcher.allocated_pixels() != before) ++moves;
  }
  CHECK(moves < 40);
  CHECK(stitcher.allocated_pixels() < 6 * stitcher.rows() * stitcher.columns());
  // The canvas itself is tight: from -4 * 399 to 4 * 398 + 8, a side's last step being 2 before.
  CHECK(stitcher.origin() == std::array<std::int64_t, 2>{-4 * 397, -4 * 399});
  CHECK(stitcher.rows() == 4 * 397 + 4 * 396 + 8);
  CHECK(stitcher.columns() == 4 * 399 + 4 * 398 + 8);
}

TEST_CASE("a margin never takes a canvas over its limit") {
  Context context;
  StitcherOptions options;
  options.max_canvas = 32 * 100;
  Stitcher stitcher(context, 32, 32, {}, options);
  const Cut patch = cut({{0, 0}}, 32);
  for (const double column : {0.0, 20.0, 40.0, 68.0}) {
    stitcher.add(patch.amplitude, patch.phase, {{0, column}});
    CHECK(stitcher.allocated_pixels() <= options.max_canvas);
  }
  CHECK(stitcher.columns() == 100);
}

TEST_CASE("values that are not finite are left out of the object and counted") {
  Context context;
  const std::vector<io::Position> positions{{0, 0}, {0, 8}, {0, 64}};
  const Cut patches = cut(positions, 32);
  for (const Subpixel subpixel : {Subpixel::kNone, Subpixel::kBilinear}) {
    Cut holed{patches.amplitude.clone(), patches.phase.clone()};
    holed.amplitude.data<float>()[5 * 32 + 20] = std::nanf("");    // frame 1 covers it too
    holed.phase.data<float>()[(2 * 32 + 7) * 32 + 9] = HUGE_VALF;  // nothing else does
    Stitcher stitcher(context, 32, 32, {}, {StitchMode::kMean, subpixel});
    const auto overlaps = stitcher.add(holed.amplitude, holed.phase, positions);
    CHECK(stitcher.patches_with_gaps() == 2);
    CHECK(overlaps[1].coherence == Approx(1).margin(1e-6));
    CHECK(stitcher.coverage().data<float>()[5 * stitcher.columns() + 20] == 1);
    CHECK(stitcher.coverage().data<float>()[7 * stitcher.columns() + 64 + 9] == 0);
    CHECK(stitcher.object().data<std::complex<float>>()[7 * stitcher.columns() + 64 + 9] == 0.0F);
    // The hole apart, the object is the truth.
    Array object = stitcher.object();
    const auto whole = [&](std::int64_t r, std::int64_t c) {
      return std::complex<double>(object.data<std::complex<float>>()[r * stitcher.columns() + c]);
    };
    CHECK(std::abs(whole(5, 20) - object_at(5, 20)) < 1e-6);
    CHECK(std::abs(whole(7, 64 + 10) - object_at(7, 74)) < 1e-6);
  }
}

TEST_CASE("overlaps do not depend on the number of threads") {
  Context context;
  const auto positions = grid(12, 1);
  const Cut patches = cut(positions, 32, 0.2);
  const auto run = [&](int threads) {
    set_threads_of_caller(threads);
    Stitcher stitcher(context, 32, 32, {}, {});
    return stitcher.add(patches.amplitude, patches.phase, positions);
  };
  const auto alone = run(1);
  const auto together = run(3);
  set_threads_of_caller(2);
  for (std::size_t i = 0; i < alone.size(); ++i) {
    CHECK(alone[i].weight == together[i].weight);
    CHECK(alone[i].offset_rad == together[i].offset_rad);
    CHECK(alone[i].coherence == together[i].coherence);
  }
}

TEST_CASE("a constant phase per patch is seen, and removed when asked") {
  Context context;
  const auto positions = grid(12, 0);
  const Cut patches = cut(positions, 32, 0.4);
  Stitcher plain(context, 32, 32, {}, {});
  const auto overlaps = plain.add(patches.amplitude, patches.phase, positions);
  CHECK(overlaps[0].weight == 0);
  CHECK(overlaps[1].offset_rad == Approx(0.4).margin(1e-4));
  CHECK(overlaps[1].coherence == Approx(1).margin(1e-6));
  CHECK(worst_error(plain) > 0.3);
  StitcherOptions aligning;
  aligning.phase_align = true;
  Stitcher aligned(context, 32, 32, {}, aligning);
  aligned.add(patches.amplitude, patches.phase, positions);
  CHECK(worst_error(aligned) < 1e-5);
}

TEST_CASE("a border is trimmed from every patch") {
  Context context;
  const std::vector<io::Position> one{{5, 7}};
  const Cut patches = cut(one, 32);
  StitcherOptions options;
  options.border = 4;
  Stitcher stitcher(context, 32, 32, {}, options);
  stitcher.add(patches.amplitude, patches.phase, one);
  const Array count = stitcher.count();
  const auto* values = count.data<std::uint32_t>();
  CHECK(std::accumulate(values, values + count.elements(), 0U) == 24 * 24);
  CHECK(values[3 * 32 + 16] == 0);
  CHECK(values[4 * 32 + 16] == 1);
  CHECK(stitcher.object().data<std::complex<float>>()[0] == std::complex<float>(0, 0));
}

TEST_CASE("a cut is the object under a frame") {
  Context context;
  const auto positions = grid(12, 0);
  const Cut patches = cut(positions, 32);
  Stitcher stitcher(context, 32, 32, {}, {});
  stitcher.add(patches.amplitude, patches.phase, positions);
  const Array pieces = stitcher.cut(stitcher.object(), {positions[6], {-30, -40}, {-30, -5}});
  const auto at = [&](std::int64_t piece, std::int64_t r, std::int64_t c) {
    return std::complex<double>(pieces.data<std::complex<float>>()[(piece * 32 + r) * 32 + c]);
  };
  CHECK(std::abs(at(0, 5, 9) - object_at(positions[6].row + 5, positions[6].column + 9)) < 1e-6);
  // Beyond the canvas, which begins at (-20, 0), there is nothing.
  CHECK(at(1, 31, 31) == 0.0);
  CHECK(at(2, 9, 31) == 0.0);
  CHECK(at(2, 10, 4) == 0.0);
  CHECK(std::abs(at(2, 10, 5) - object_at(-20, 0)) < 1e-6);
}

TEST_CASE("what cannot be stitched is refused, and nothing is added") {
  Context context;
  StitcherOptions options;
  options.max_canvas = 10000;
  Stitcher stitcher(context, 32, 32, {}, options);
  const Cut patch = cut({{0, 0}, {0, 500}}, 32);
  CHECK_THROWS_WITH(stitcher.add(patch.amplitude, patch.phase, {{0, 0}, {0, 500}}),
                    Contains("32 x 532") && Contains("--max-canvas"));
  CHECK(stitcher.rows() == 0);
  CHECK_THROWS_WITH(stitcher.reserve({{std::nan(""), 0}}), Contains("cannot be placed"));
  CHECK_THROWS_WITH(stitcher.reserve({{1e300, 0}}), Contains("cannot be placed"));
  CHECK_THROWS_WITH(stitcher.reserve({{0, -5e9}}), Contains("cannot be placed"));
  CHECK_THROWS_WITH(Stitcher(context, 32, 32, {}, {StitchMode::kProbe}), Contains("--probe"));
  options.border = 16;
  CHECK_THROWS_WITH(Stitcher(context, 32, 32, {}, options), Contains("border"));
}
