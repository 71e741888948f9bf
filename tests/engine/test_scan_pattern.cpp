#include <cmath>
#include <set>

#include "engine/scan_pattern.h"
#include "kernels/error.h"
#include "tests/catch.h"

using namespace ptynet;
using Catch::Contains;

namespace {

double distance(const io::Position& a, const io::Position& b) {
  return std::hypot(a.row - b.row, a.column - b.column);
}

}  // namespace

TEST_CASE("overlap is 1 - step / extent, and the raster has that step") {
  CHECK(step_of_overlap(0.75, 128) == 32);
  CHECK(step_of_overlap(0, 72.5) == 72.5);
  for (const double wrong : {1.0, 1.5, -0.1, std::nan("")}) {
    CHECK_THROWS_WITH(step_of_overlap(wrong, 128), Contains("overlap"));
  }
  CHECK_THROWS_WITH(step_of_overlap(0.99, 50), Contains("step"));

  const auto raster = make_positions(ScanPattern::kRaster, {200, 320}, 17.4, 0, 1);
  REQUIRE(raster.size() == 12 * 19);
  CHECK(raster[19].row - raster[0].row == Approx(17.4).margin(1));
  CHECK((raster.back().row - raster[0].row) / 11 == Approx(17.4).margin(0.1));
  CHECK((raster.back().column - raster[0].column) / 18 == Approx(17.4).margin(0.1));
  CHECK(raster[1].row == raster[0].row);  // along the columns first
  // Whole pixels, about the middle
  CHECK(raster[5].column == std::round(raster[5].column));
  CHECK(raster[0].row + raster.back().row == Approx(200).margin(1));
}

TEST_CASE("spiral and circles cover the field as densely as a raster, and keep within it") {
  const ScanField field{300, 360};
  const double step = 15;
  for (const ScanPattern pattern : {ScanPattern::kFermat, ScanPattern::kConcentric}) {
    const auto places = make_positions(pattern, field, step, 0, 1);
    CHECK(static_cast<double>(places.size()) == Approx(300 * 360 / (step * step)).epsilon(0.05));
    // A step within the edge nowhere further from a frame than that, and none closer to another
    // than half of it
    for (double r = step; r <= 300 - step; r += 5) {
      for (double c = step; c <= 360 - step; c += 5) {
        double nearest = 1e9;
        for (const io::Position& p : places) nearest = std::min(nearest, distance(p, {r, c}));
        REQUIRE(nearest < step);
      }
    }
    for (std::size_t i = 0; i < places.size(); ++i) {
      REQUIRE(places[i].row >= 0);
      REQUIRE(places[i].row <= 300);
      REQUIRE(places[i].column >= 0);
      REQUIRE(places[i].column <= 360);
      for (std::size_t j = 0; j < i; ++j) REQUIRE(distance(places[i], places[j]) > step / 2);
    }
  }
  const auto rings = make_positions(ScanPattern::kConcentric, {400, 400}, 20, 0, 1);
  CHECK(rings[0].row == 200);
  CHECK(distance(rings[1], {200, 200}) == Approx(20).margin(1));
  CHECK(distance(rings[7], {200, 200}) == Approx(40).margin(1));
}

TEST_CASE("jitter moves frames by up to as much, the same for the same seed") {
  const auto exact = make_positions(ScanPattern::kRaster, {300, 300}, 25, 0, 1);
  const auto off = make_positions(ScanPattern::kRaster, {300 + 6, 300 + 6}, 25, 3, 1);
  REQUIRE(exact.size() == off.size());
  std::set<double> moves;
  for (std::size_t k = 0; k < exact.size(); ++k) {
    moves.insert(off[k].row - exact[k].row - 3);
    moves.insert(off[k].column - exact[k].column - 3);
  }
  CHECK(*moves.begin() == -3);
  CHECK(*moves.rbegin() == 3);
  const auto again = make_positions(ScanPattern::kRaster, {306, 306}, 25, 3, 1);
  const auto other = make_positions(ScanPattern::kRaster, {306, 306}, 25, 3, 2);
  double same = 0, different = 0;
  for (std::size_t k = 0; k < off.size(); ++k) {
    same += distance(off[k], again[k]);
    different += distance(off[k], other[k]);
  }
  CHECK(same == 0);
  CHECK(different > 0);
  CHECK(make_positions(ScanPattern::kFermat, {0, 0}, 5, 2, 1).size() == 1);
  CHECK_THROWS_WITH(make_positions(ScanPattern::kRaster, {9, 9}, 0.5, 0, 1), Contains("step"));
  CHECK_THROWS_WITH(make_positions(ScanPattern::kRaster, {9, 9}, 1, -1, 1), Contains("jitter"));
  CHECK_THROWS_WITH(make_positions(ScanPattern::kRaster, {60000, 60000}, 1, 0, 1),
                    Contains("frames"));
}
