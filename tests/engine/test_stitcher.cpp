#include "engine/stitcher.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <complex>
#include <numeric>

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
  const Array piece = stitcher.cut(positions[6]);
  const auto v = std::complex<double>(piece.data<std::complex<float>>()[5 * 32 + 9]);
  CHECK(std::abs(v - object_at(positions[6].row + 5, positions[6].column + 9)) < 1e-6);
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
  CHECK_THROWS_WITH(Stitcher(context, 32, 32, {}, {StitchMode::kProbe}), Contains("--probe"));
  options.border = 16;
  CHECK_THROWS_WITH(Stitcher(context, 32, 32, {}, options), Contains("border"));
}
