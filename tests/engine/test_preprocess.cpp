#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/preprocess.h"
#include "kernels/error.h"
#include "tests/catch.h"

namespace {

using namespace ptynet;

// An image with known bad pixels, and the steps of docs/conventions.md one by one: the slow twin
// of FramePlan.
struct Image {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::optional<double>> pixels;

  Image(std::int64_t h, std::int64_t w) : height(h), width(w) {
    pixels.resize(static_cast<std::size_t>(h * w));
  }
  std::optional<double>& at(std::int64_t r, std::int64_t c) {
    return pixels[static_cast<std::size_t>(r * width + c)];
  }
};

Image flip_rows(Image in) {
  Image out(in.height, in.width);
  for (std::int64_t r = 0; r < in.height; ++r) {
    for (std::int64_t c = 0; c < in.width; ++c) out.at(in.height - 1 - r, c) = in.at(r, c);
  }
  return out;
}

Image transpose(Image in) {
  Image out(in.width, in.height);
  for (std::int64_t r = 0; r < in.height; ++r) {
    for (std::int64_t c = 0; c < in.width; ++c) out.at(c, r) = in.at(r, c);
  }
  return out;
}

Image flip_columns(const Image& in) { return transpose(flip_rows(transpose(in))); }

// numpy.rot90(m, 1) = flip(transpose(m), 0).
Image orient(const Image& in, const std::string& name) {
  if (name == "flip-rows") return flip_rows(in);
  if (name == "flip-columns") return flip_columns(in);
  if (name == "rotate-90") return flip_rows(transpose(in));
  if (name == "rotate-180") return flip_rows(flip_columns(in));
  if (name == "rotate-270") return flip_columns(transpose(in));
  if (name == "transpose") return transpose(in);
  if (name == "anti-transpose") return transpose(flip_rows(flip_columns(in)));
  return in;
}

Image shifted(Image in, const Pixel& zero, bool periodic) {
  Image out(in.height, in.width);
  for (std::int64_t r = 0; r < in.height; ++r) {
    for (std::int64_t c = 0; c < in.width; ++c) {
      std::int64_t row = r + zero.row - in.height / 2;
      std::int64_t column = c + zero.column - in.width / 2;
      if (periodic) {
        row = (row + in.height) % in.height;
        column = (column + in.width) % in.width;
      }
      const bool there = row >= 0 && row < in.height && column >= 0 && column < in.width;
      if (there) out.at(r, c) = in.at(row, column);
    }
  }
  return out;
}

Image cropped(Image in, std::int64_t side) {
  Image out(side, side);
  for (std::int64_t r = 0; r < side; ++r) {
    for (std::int64_t c = 0; c < side; ++c) {
      out.at(r, c) = in.at(r + in.height / 2 - side / 2, c + in.width / 2 - side / 2);
    }
  }
  return out;
}

Image binned(Image in, std::int64_t bin) {
  Image out(in.height / bin, in.width / bin);
  for (auto& pixel : out.pixels) pixel = 0;
  for (std::int64_t r = 0; r < in.height; ++r) {
    for (std::int64_t c = 0; c < in.width; ++c) {
      auto& sum = out.at(r / bin, c / bin);
      sum = sum && in.at(r, c) ? std::optional(*sum + *in.at(r, c)) : std::nullopt;
    }
  }
  return out;
}

// Where a stored pixel comes to lie, found by orienting an image of that pixel alone.
Pixel follow(const FrameRecipe& recipe, const std::string& name) {
  Image marker(recipe.stored.height, recipe.stored.width);
  marker.at(recipe.zero_frequency.row, recipe.zero_frequency.column) = 1;
  Image turned = orient(marker, name);
  for (std::int64_t r = 0; r < turned.height; ++r) {
    for (std::int64_t c = 0; c < turned.width; ++c) {
      if (turned.at(r, c)) return {r, c};
    }
  }
  return {-1, -1};
}

struct Frame {
  Array counts, mask, dark;
};

// Every pixel of its own value; pixel 5 is masked, pixel 9 negative, pixel 14 the largest i32.
Frame example(const Extent& extent) {
  const std::int64_t pixels = extent.height * extent.width;
  Frame out{Array::host({1, extent.height, extent.width}, DType::kI32),
            Array::host({extent.height, extent.width}, DType::kU8),
            Array::host({extent.height, extent.width}, DType::kF32)};
  for (std::int64_t k = 0; k < pixels; ++k) {
    out.counts.data<std::int32_t>()[k] = static_cast<std::int32_t>(10 + k * k % 997);
    out.mask.data<std::uint8_t>()[k] = k == 5 ? 0 : 1;
    out.dark.data<float>()[k] = static_cast<float>(k % 40) / 2;
  }
  out.counts.data<std::int32_t>()[9] = -3;
  out.counts.data<std::int32_t>()[14] = std::numeric_limits<std::int32_t>::max();
  return out;
}

Image step_by_step(const Frame& frame, const FrameRecipe& recipe, const std::string& name) {
  const auto [height, width] = recipe.stored;
  Image image(height, width), mask(height, width), dark(height, width);
  for (std::size_t k = 0; k < image.pixels.size(); ++k) {
    image.pixels[k] = frame.counts.data<std::int32_t>()[k];
    mask.pixels[k] = frame.mask.data<std::uint8_t>()[k];
    dark.pixels[k] = static_cast<double>(frame.dark.data<float>()[k]);
  }
  image = orient(image, name);
  mask = orient(mask, name);
  dark = orient(dark, name);
  for (std::size_t k = 0; k < image.pixels.size(); ++k) {
    auto& pixel = image.pixels[k];
    if (*mask.pixels[k] == 0 || *pixel < 0 || *pixel == 2147483647.0) {
      pixel.reset();
    } else {
      pixel = std::max(*pixel - *dark.pixels[k], 0.0);
    }
  }
  image = shifted(image, follow(recipe, name), recipe.periodic);
  if (recipe.crop > 0) image = cropped(image, recipe.crop);
  return binned(image, recipe.bin);
}

std::vector<float> values_of(const Array& array) {
  return {array.data<float>(), array.data<float>() + array.elements()};
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kInput);
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("orientations turn a 2 x 3 frame as their names say") {
  const std::vector<std::pair<std::string, std::vector<float>>> cases = {
      {"none", {1, 2, 3, 4, 5, 6}},         {"flip-rows", {4, 5, 6, 1, 2, 3}},
      {"flip-columns", {3, 2, 1, 6, 5, 4}}, {"rotate-90", {3, 6, 2, 5, 1, 4}},
      {"rotate-180", {6, 5, 4, 3, 2, 1}},   {"rotate-270", {4, 1, 5, 2, 6, 3}},
      {"transpose", {1, 4, 2, 5, 3, 6}},    {"anti-transpose", {6, 3, 5, 2, 4, 1}}};
  const Array stored = Array::copy_of<float>({1, 2, 3, 4, 5, 6}, {1, 2, 3});
  for (const auto& [name, expected] : cases) {
    INFO(name);
    FrameRecipe recipe;
    recipe.stored = {2, 3};
    recipe.orientation = parse_orientation(name);
    // The stored pixel that comes to lie in the middle, so that nothing is shifted.
    const Extent turned = oriented_extent(recipe.orientation, recipe.stored);
    recipe.zero_frequency =
        stored_pixel(recipe.orientation, recipe.stored, {turned.height / 2, turned.width / 2});
    const Array out = FramePlan(recipe, {}, {}).apply(stored);
    CHECK(out.shape() == Shape{1, turned.height, turned.width});
    CHECK(values_of(out) == expected);
  }
  const std::string message = message_of([] { parse_orientation("rotate-45"); });
  CHECK(message.find(orientation_names()) != std::string::npos);
  CHECK(message.find("'rotate-45'") != std::string::npos);
}

TEST_CASE("one table does what the steps do one by one") {
  const Extent extents[] = {{12, 12}, {12, 18}, {9, 15}};
  const char* names[] = {"none",       "flip-rows",  "flip-columns", "rotate-90",
                         "rotate-180", "rotate-270", "transpose",    "anti-transpose"};
  int cases = 0;
  for (const Extent& stored : extents) {
    const Frame frame = example(stored);
    const Pixel zeros[] = {{stored.height / 2, stored.width / 2}, {3, 8}, {0, 0}};
    for (const char* name : names) {
      for (const Pixel& zero : zeros) {
        for (const bool periodic : {false, true}) {
          for (const std::int64_t crop : {0, 9, 8, 6}) {
            for (const std::int64_t bin : {1, 2, 3}) {
              FrameRecipe recipe{stored, parse_orientation(name), zero, periodic, crop, bin, {}};
              const Extent side = crop == 0 ? stored : Extent{crop, crop};
              if (side.height % bin != 0 || side.width % bin != 0) continue;
              INFO(to_string(stored)
                   << " " << name << " zero " << zero.row << "," << zero.column << " periodic "
                   << periodic << " crop " << crop << " bin " << bin);
              const FramePlan plan(recipe, frame.mask, frame.dark);
              Image expected = step_by_step(frame, recipe, name);
              REQUIRE(plan.extents().binned == Extent{expected.height, expected.width});
              const std::vector<float> found = values_of(plan.apply(frame.counts));
              std::vector<float> wanted;
              for (const auto& pixel : expected.pixels) {
                wanted.push_back(pixel ? static_cast<float>(*pixel) : -1.0F);
              }
              REQUIRE(found == wanted);
              ++cases;
            }
          }
        }
      }
    }
  }
  CHECK(cases > 800);
}

TEST_CASE("the zero frequency comes to pixel N/2, whatever is done") {
  for (const char* name : {"none", "flip-rows", "rotate-90", "anti-transpose"}) {
    for (const std::int64_t bin : {1, 2, 4}) {
      FrameRecipe recipe{{32, 48}, parse_orientation(name), {11, 30}, false, 16, bin, {}};
      Array frame = Array::zeros({1, 32, 48}, DType::kU16);
      frame.data<std::uint16_t>()[11 * 48 + 30] = 7;
      const Array out = FramePlan(recipe, {}, {}).apply(frame);
      const std::int64_t n = 16 / bin;
      INFO(name << " bin " << bin);
      CHECK(out.data<float>()[n / 2 * n + n / 2] == 7.0F);
    }
  }
}

TEST_CASE("values no photon makes are bad") {
  const FrameRecipe recipe{{1, 4}, {}, {0, 2}, false, 0, 1, {}};
  const FramePlan plan(recipe, {}, {});
  CHECK(values_of(plan.apply(Array::copy_of<std::uint8_t>({0, 254, 255, 1}, {1, 1, 4}))) ==
        std::vector<float>{0, 254, -1, 1});
  CHECK(values_of(plan.apply(Array::copy_of<std::uint16_t>({0, 65534, 65535, 255}, {1, 1, 4}))) ==
        std::vector<float>{0, 65534, -1, 255});
  CHECK(values_of(plan.apply(
            Array::copy_of<std::uint32_t>({0, 65535, 4294967295U, 4294967294U}, {1, 1, 4}))) ==
        std::vector<float>{0, 65535, -1, 4294967296.0F});
  CHECK(values_of(plan.apply(Array::copy_of<std::int32_t>({-1, 2147483647, 5, 0}, {1, 1, 4}))) ==
        std::vector<float>{-1, -1, 5, 0});
  CHECK(values_of(plan.apply(Array::copy_of<float>(
            {std::nanf(""), -0.5F, std::numeric_limits<float>::infinity(), 2.5F}, {1, 1, 4}))) ==
        std::vector<float>{-1, -1, -1, 2.5F});
}

TEST_CASE("amplitudes are squared before the dark image is taken off, which is clipped at 0") {
  FrameRecipe recipe{{1, 4}, {}, {0, 2}, false, 0, 1, io::Quantity::kAmplitude};
  const Array frame = Array::copy_of<float>({0, 3, -2, 1}, {1, 1, 4});
  CHECK(values_of(FramePlan(recipe, {}, {}).apply(frame)) == std::vector<float>{0, 9, -1, 1});
  const Array dark = Array::copy_of<float>({0, 4, 0, 2}, {1, 4});
  CHECK(values_of(FramePlan(recipe, {}, dark).apply(frame)) == std::vector<float>{0, 5, -1, 0});
  const Array broken = Array::copy_of<float>({std::nanf(""), 4, 0, 2}, {1, 4});
  CHECK(values_of(FramePlan(recipe, {}, broken).apply(frame)) == std::vector<float>{-1, 5, -1, 0});
}

TEST_CASE("the mask of a plan knows masked pixels, the detector's edge and bins") {
  FrameRecipe recipe{{4, 4}, {}, {3, 2}, false, 0, 2, {}};
  Array mask =
      Array::copy_of<std::uint8_t>({1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1}, {4, 4});
  // Row 3 comes to row 2: rows 1 and 2 are the first binned row, row 3 and nothing the second.
  const Array good = FramePlan(recipe, mask, {}).mask();
  const std::vector<std::uint8_t> found(good.data<std::uint8_t>(), good.data<std::uint8_t>() + 4);
  CHECK(found == std::vector<std::uint8_t>{0, 1, 0, 0});
}

TEST_CASE("a crop, bin, mask or dark image that does not fit is refused with both sizes") {
  FrameRecipe recipe{{12, 18}, {}, {6, 9}, false, 14, 1, {}};
  CHECK(message_of([&] { frame_extents(recipe); }).find("12 x 18") != std::string::npos);
  recipe.crop = 0;
  recipe.bin = 4;
  CHECK(message_of([&] { frame_extents(recipe); }).find("12 x 18, found 4") != std::string::npos);
  recipe.bin = 0;
  CHECK(message_of([&] { frame_extents(recipe); }).find("found 0") != std::string::npos);
  recipe.bin = 1;
  const Array mask = Array::zeros({18, 12}, DType::kU8);
  CHECK(message_of([&] { FramePlan(recipe, mask, {}); }).find("12 x 18, found [18, 12]") !=
        std::string::npos);
  const Array dark = Array::zeros({3, 3}, DType::kF32);
  CHECK(message_of([&] { FramePlan(recipe, {}, dark); }).find("dark image") != std::string::npos);
  const Array frames = Array::zeros({1, 18, 12}, DType::kU16);
  CHECK(message_of([&] { FramePlan(recipe, {}, {}).apply(frames); }).find("12 x 18") !=
        std::string::npos);
}
