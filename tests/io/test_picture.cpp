#include <cmath>
#include <complex>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "io/font.h"
#include "io/picture.h"
#include "io/png.h"
#include "kernels/error.h"
#include "tests/support.h"

namespace {

using ptynet::Array;
using ptynet::DType;
using ptynet::io::Colormap;
using ptynet::io::PictureOptions;
using ptynet::io::Rgb;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
const Rgb kNeutral = {222, 226, 233};

Rgb pixel(const Array& picture, std::int64_t r, std::int64_t c) {
  const auto* at = picture.data<std::uint8_t>() + (r * picture.shape()[1] + c) * 3;
  return {at[0], at[1], at[2]};
}

double distance(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

std::array<double, 3> lab(Colormap map, double t) {
  return ptynet::io::oklab_of(ptynet::io::color_at(map, t));
}

// 8-bit colours are off by up to half a step of 1/255 per channel, and OKLab stretches dark ones
// most: 0.005 is what a step does at the dark end of the map.
constexpr double kQuantum = 0.005;

}  // namespace

TEST_CASE("oklab gives the published test vectors", "[colormap]") {
  // bottosson.github.io/posts/oklab: white is (1, 0, 0); sRGB red is (0.62796, 0.22486, 0.12585).
  const auto white = ptynet::io::oklab_of({255, 255, 255});
  CHECK(distance(white, {1, 0, 0}) < 1e-6);
  CHECK(distance(ptynet::io::oklab_of({255, 0, 0}), {0.62796, 0.22486, 0.12585}) < 1e-4);
}

TEST_CASE("the helix map is perceptually uniform", "[colormap]") {
  for (int i = 0; i <= 255; ++i) {
    const double t = i / 255.0;
    CHECK(lab(Colormap::kHelix, t)[0] == Approx(0.24 + 0.69 * t).margin(kQuantum));
  }
  // Between colours 1/16 apart the distance is the same all along: a chord of the helix.
  const double turn = 200 * std::numbers::pi / 180 / 16;
  const double expected = std::hypot(0.69 / 16, 2 * 0.15 * std::sin(turn / 2));
  for (int i = 0; i + 1 <= 16; ++i) {
    const double found =
        distance(lab(Colormap::kHelix, i / 16.0), lab(Colormap::kHelix, (i + 1) / 16.0));
    INFO("step " << i);
    CHECK(found == Approx(expected).margin(2 * kQuantum));
  }
}

TEST_CASE("the cyclic map closes, at one lightness", "[colormap]") {
  CHECK(ptynet::io::color_at(Colormap::kCyclic, 0) == ptynet::io::color_at(Colormap::kCyclic, 1));
  for (int i = 0; i < 64; ++i) {
    const auto color = lab(Colormap::kCyclic, i / 64.0);
    CHECK(color[0] == Approx(0.74).margin(kQuantum));
    CHECK(std::hypot(color[1], color[2]) == Approx(0.12).margin(2 * kQuantum));
  }
}

TEST_CASE("colours are clipped at the ends", "[colormap]") {
  for (const Colormap map : {Colormap::kGrey, Colormap::kHelix, Colormap::kCyclic}) {
    CHECK(ptynet::io::color_at(map, -3) == ptynet::io::color_at(map, 0));
    CHECK(ptynet::io::color_at(map, 7) == ptynet::io::color_at(map, 1));
    CHECK(ptynet::io::color_at(map, std::nan("")) == ptynet::io::color_at(map, 0));
  }
  CHECK(ptynet::io::color_at(Colormap::kGrey, 0.5) == Rgb{128, 128, 128});
}

TEST_CASE("scale bars have round lengths", "[picture]") {
  CHECK(ptynet::io::scale_bar_m(10e-6) == Approx(2e-6));
  CHECK(ptynet::io::scale_bar_m(1e-6) == Approx(200e-9));
  CHECK(ptynet::io::scale_bar_m(1.7e-6) == Approx(500e-9));
  CHECK(ptynet::io::scale_bar_m(4e-3) == Approx(1e-3));
  CHECK(ptynet::io::length_label(500e-9) == "500 nm");
  CHECK(ptynet::io::length_label(2e-6) == "2 \u00b5m");
  CHECK(ptynet::io::length_label(ptynet::io::scale_bar_m(1e-5 / 3)) == "1 \u00b5m");
  CHECK(ptynet::io::length_label(5e-3) == "5 mm");
  CHECK(ptynet::io::length_label(1) == "1 m");
  CHECK(ptynet::io::length_label(2e-11) == "20 pm");
}

TEST_CASE("the range of a picture leaves outliers out", "[picture]") {
  std::vector<float> values(1001);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  values[1000] = 1e9f;
  values[500] = kNan;
  const auto range = ptynet::io::robust_range(Array::copy_of(values, {1001, 1}));
  CHECK(range[0] == Approx(5));
  CHECK(range[1] == Approx(995).margin(1));
  CHECK(ptynet::io::robust_range(Array::copy_of(std::vector<float>{2, 2}, {1, 2})) ==
        std::array<double, 2>{1.5, 2.5});
  CHECK(ptynet::io::robust_range(Array::copy_of(std::vector<float>{kNan}, {1, 1})) ==
        std::array<double, 2>{0, 1});
}

TEST_CASE("a picture shows the map, what was not measured, a bar and a scale", "[picture]") {
  std::vector<float> values(512 * 512);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 512) / 511;
  values[100 * 512 + 100] = kNan;
  const Array map = Array::copy_of(values, {512, 512});
  PictureOptions options{Colormap::kHelix, "phase / rad", std::nullopt, std::array{0.0, 1.0}};
  const Array bare = ptynet::io::render_picture(map, options);
  const std::int64_t margin = 18;  // 9 font pixels of 2
  CHECK(pixel(bare, margin, margin) == ptynet::io::color_at(Colormap::kHelix, 0));
  CHECK(pixel(bare, margin + 511, margin + 511) == ptynet::io::color_at(Colormap::kHelix, 1));
  CHECK(pixel(bare, margin + 100, margin + 100) == kNeutral);
  CHECK(pixel(bare, margin + 100, margin + 101) != kNeutral);
  CHECK(pixel(bare, 0, 0) == Rgb{255, 255, 255});
  // The colour bar: 24 to the right of the map, its upper end 26 lower, its lower end level with
  // the map's.
  CHECK(pixel(bare, margin + 26, margin + 512 + 24) == ptynet::io::color_at(Colormap::kHelix, 1));
  CHECK(pixel(bare, margin + 511, margin + 512 + 24) == ptynet::io::color_at(Colormap::kHelix, 0));

  // A bar of 486 rows from 0 to 1.07: the tick of 0.2 is 394 below its top, and none is at 91.
  options.range = {0, 1.07};
  const Array ticked = ptynet::io::render_picture(map, options);
  const std::int64_t beside_bar = margin + 512 + 24 + 20 + 3;
  CHECK(pixel(ticked, margin + 26 + 394, beside_bar) != Rgb{255, 255, 255});
  CHECK(pixel(ticked, margin + 26 + 91, beside_bar) == Rgb{255, 255, 255});

  options.pixel_size_m = {10e-9, 20e-9};  // 512 columns are 10.24 um: a bar of 2 um, 100 px
  const Array scaled = ptynet::io::render_picture(map, options);
  CHECK(scaled.shape()[0] == bare.shape()[0] + 28);
  const std::int64_t row = scaled.shape()[0] - margin - 7;
  const Rgb ink = pixel(scaled, row, margin);
  CHECK(ink != Rgb{255, 255, 255});
  CHECK(pixel(scaled, row, margin + 99) == ink);
  CHECK(pixel(scaled, row, margin + 100) == Rgb{255, 255, 255});
}

TEST_CASE("small maps are enlarged, large ones averaged over what is known", "[picture]") {
  const Array small = Array::copy_of(std::vector<float>{0, 1}, {1, 2});
  const PictureOptions options{Colormap::kGrey, "", std::nullopt, std::array{0.0, 1.0}};
  const Array enlarged = ptynet::io::render_picture(small, options);
  CHECK(pixel(enlarged, 18 + 255, 18 + 255) == Rgb{0, 0, 0});
  CHECK(pixel(enlarged, 18 + 255, 18 + 256) == Rgb{255, 255, 255});

  Array large = Array::zeros({2, 4096}, DType::kF32);
  auto* value = large.data<float>();
  value[0] = 1;
  value[1] = kNan;  // the first block holds 1, NaN, 0, 0: a mean of 1/3
  const Array shrunk = ptynet::io::render_picture(large, options);
  const std::int64_t margin = 9 * 5;  // 2048 px: font pixels of 5
  CHECK(pixel(shrunk, margin, margin) == Rgb{85, 85, 85});
  CHECK(pixel(shrunk, margin, margin + 1) == Rgb{0, 0, 0});
}

TEST_CASE("maps of a row lie side by side, with titles, in the same colours", "[picture]") {
  std::vector<float> rising(512 * 512), flat(512 * 512, 0.25f);
  for (std::size_t i = 0; i < rising.size(); ++i) rising[i] = static_cast<float>(i % 512) / 511;
  const Array a = Array::copy_of(rising, {512, 512}), b = Array::copy_of(flat, {512, 512});
  const PictureOptions options{Colormap::kHelix, "phase / rad", std::nullopt, std::array{0.0, 1.0}};
  const Array row = ptynet::io::render_row({{a, "before"}, {b, ""}}, options);
  // 1024 px of maps: font pixels of 3. A margin of 27, a title of 21 + 18, a gap of 18.
  const std::int64_t top = 27 + 39, second = 27 + 512 + 18;
  const auto colour = [](double value) { return ptynet::io::color_at(Colormap::kHelix, value); };
  CHECK(pixel(row, top, 27) == colour(0));
  CHECK(pixel(row, top + 511, 27 + 511) == colour(1));
  CHECK(pixel(row, top, second) == colour(0.25));
  CHECK(pixel(row, top + 511, second + 511) == colour(0.25));
  // The bar begins and ends with the maps.
  const std::int64_t bar = second + 512 + 36;
  CHECK(pixel(row, top, bar) == colour(1));
  CHECK(pixel(row, top + 511, bar) == colour(0));
  const auto ink_above = [&](std::int64_t column) {
    int dark = 0;
    for (std::int64_t r = 27; r < 27 + 21; ++r) {
      for (std::int64_t c = column; c < column + 512; ++c) dark += pixel(row, r, c).red < 128;
    }
    return dark;
  };
  CHECK(ink_above(27) == 9 * static_cast<int>(ptynet::io::text_pixels("before").size()));
  CHECK(ink_above(second) == 0);

  // A title that no font pixel of 2 has room for is cut.
  const std::string endless(100, 'x');
  CHECK_NOTHROW(ptynet::io::render_row({{a, endless}}, options));
  // Eight maps of 512 px are more than 2048: averaged over blocks of 2.
  const std::vector<ptynet::io::Panel> many(8, {a, ""});
  CHECK(ptynet::io::render_row(many, options).shape()[1] < 3000);
}

TEST_CASE("stacked pictures keep their left edges in line", "[picture]") {
  const Array small = Array::zeros({2, 3, 3}, DType::kU8),
              wide = Array::zeros({1, 5, 3}, DType::kU8);
  const Array both = ptynet::io::stacked({small, wide});
  CHECK(both.shape() == ptynet::Shape{3, 5, 3});
  CHECK(pixel(both, 1, 2) == Rgb{0, 0, 0});
  CHECK(pixel(both, 1, 3) == Rgb{255, 255, 255});
  CHECK(pixel(both, 2, 4) == Rgb{0, 0, 0});
}

TEST_CASE("pictures of what cannot be drawn are refused", "[picture]") {
  const PictureOptions options;
  CHECK_THROWS_AS(ptynet::io::render_picture(Array(), options), ptynet::Error);
  CHECK_THROWS_AS(ptynet::io::render_picture(Array::zeros({2, 2, 2}, DType::kF32), options),
                  ptynet::Error);
  CHECK_THROWS_AS(ptynet::io::render_picture(Array::zeros({2, 2}, DType::kU8), options),
                  ptynet::Error);
  const Array map = Array::zeros({2, 2}, DType::kF32);
  CHECK_THROWS_AS(
      ptynet::io::render_picture(map, {Colormap::kGrey, "", std::array{0.0, 1e-9}, std::nullopt}),
      ptynet::Error);
  CHECK_THROWS_AS(
      ptynet::io::render_picture(map, {Colormap::kGrey, "", std::nullopt, std::array{1.0, 1.0}}),
      ptynet::Error);
  CHECK_THROWS_AS(ptynet::io::render_row({}, options), ptynet::Error);
  const Array other = Array::zeros({2, 3}, DType::kF32);
  CHECK_THROWS_WITH(ptynet::io::render_row({{map, ""}, {other, ""}}, options),
                    Catch::Matchers::Contains("maps of one shape"));
}

TEST_CASE("the font draws its characters apart, micro in both spellings", "[picture]") {
  CHECK(ptynet::io::text_width("") == 0);
  CHECK(ptynet::io::text_width("2 \u00b5m") == 4 * 6 - 1);
  const auto shape = [](const char* text) {
    std::string bits(9 * 5, ' ');
    for (const auto& dark : ptynet::io::text_pixels(text)) {
      bits[static_cast<std::size_t>(dark.row * 5 + dark.column)] = '#';
    }
    return bits;
  };
  CHECK(shape("\u00b5") == shape("\u03bc"));
  CHECK(shape("\u00e9") == shape("?"));  // no glyph: a box
  CHECK(shape("A") == shape("a"));
  CHECK(shape("_") == shape("-"));
  CHECK(shape(" ") == std::string(45, ' '));
  const std::string known = "0123456789abcdefghijklmnopqrstuvwxyz.-+/()%? ";
  for (const char a : known) {
    for (const char b : known) {
      if (a < b) CHECK(shape(std::string(1, a).c_str()) != shape(std::string(1, b).c_str()));
    }
  }
}

TEST_CASE("the pictures of a result are PNG files with neutral gaps", "[picture]") {
  const ptynet::tests::TemporaryFolder folder;
  ptynet::io::Result result;
  std::vector<std::complex<float>> object(512 * 512, std::polar(0.5f, 1.0f));
  result.object = Array::copy_of(object, {512, 512});
  result.coverage = Array::zeros({512, 512}, DType::kF32);
  result.count = Array::zeros({512, 512}, DType::kU32);
  result.coverage.data<float>()[0] = 3;
  {
    ptynet::io::PictureWriter writer(folder / "new" / "folder");
    writer.draw(result);
    CHECK_FALSE(std::filesystem::exists(folder / "new" / "folder" / "phase.png"));
    writer.commit();
  }
  for (const char* name : {"amplitude.png", "phase.png", "coverage.png"}) {
    const Array picture = ptynet::io::read_png(folder / "new" / "folder" / name);
    INFO(name);
    REQUIRE(picture.shape().rank() == 3);
    CHECK(pixel(picture, 18, 18) != kNeutral);
    CHECK(pixel(picture, 18, 19) == kNeutral);
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "new" / "folder"), {}) == 3);
  CHECK_THROWS_AS(ptynet::io::PictureWriter("/proc/none"), ptynet::Error);
}

TEST_CASE("pictures that are not committed leave nothing, nor do folders made for them",
          "[picture]") {
  namespace fs = std::filesystem;
  const ptynet::tests::TemporaryFolder folder;
  { const ptynet::io::PictureWriter writer(folder / "a" / "b"); }
  CHECK(fs::is_empty(folder.path()));
  // What was there stays.
  fs::create_directories(folder / "a" / "phase.png");
  CHECK_THROWS_WITH(ptynet::io::PictureWriter(folder / "a"),
                    Catch::Matchers::Contains("phase.png") && Catch::Matchers::Contains("folder"));
  CHECK(std::distance(fs::directory_iterator(folder / "a"), {}) == 1);
  std::ofstream(folder / "file") << "text";
  CHECK_THROWS_AS(ptynet::io::PictureWriter(folder / "file" / "pictures"), ptynet::Error);
  CHECK(fs::is_regular_file(folder / "file"));
}
