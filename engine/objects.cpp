#include "engine/objects.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <numbers>
#include <string_view>

#include "io/font.h"
#include "io/png.h"
#include "io/sha256.h"

namespace ptynet {

namespace {

constexpr std::int64_t kMaxExtent = 65536;

void check_extents(std::int64_t rows, std::int64_t columns) {
  if (rows < 1 || columns < 1 || rows > kMaxExtent || columns > kMaxExtent) {
    fail_input("expected an object of 1 to ", kMaxExtent, " rows and columns, found ", rows, "x",
               columns);
  }
}

// Values in [0, 1] become those of a range, in place.
void apply(const Stretch& stretch, Array& values) {
  float* v = values.data<float>();
  for (std::int64_t k = 0; k < values.elements(); ++k) v[k] = stretch(v[k]);
}

// The font's small letters and digits, as ObjectSeries has them.
Array glyphs() {
  constexpr std::string_view kCharacters = "0123456789abcdefghijklmnopqrstuvwxyz";
  static_assert(kCharacters.size() == kLetters && io::kGlyphAdvance == kGlyphColumns + 1);
  Array out = Array::zeros({kLetters, kGlyphRows, kGlyphColumns}, DType::kU8);
  for (std::size_t i = 0; i < kCharacters.size(); ++i) {
    const auto letter = static_cast<std::int64_t>(i);
    for (const io::GlyphPixel& pixel : io::text_pixels(kCharacters.substr(i, 1))) {
      out.data<std::uint8_t>()[(letter * kGlyphRows + pixel.row) * kGlyphColumns + pixel.column] =
          1;
    }
  }
  return out;
}

float grey_at(const float* channels, std::int64_t count) {
  // Grey, grey with alpha, RGB, RGBA
  return count < 3 ? channels[0]
                   : 0.299F * channels[0] + 0.587F * channels[1] + 0.114F * channels[2];
}

// A picture as f32 [rows, columns] in [0, 1].
Array load_grey(const std::filesystem::path& path) {
  const Array picture = io::read_png(path);
  const Shape& shape = picture.shape();
  const std::int64_t channels = shape.rank() == 3 ? shape[2] : 1;
  const bool deep = picture.dtype() == DType::kU16;
  Array out = Array::host({shape[0], shape[1]}, DType::kF32);
  std::array<float, 4> values{};
  for (std::int64_t p = 0; p < out.elements(); ++p) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t at = p * channels + c;
      values[static_cast<std::size_t>(c)] =
          deep ? static_cast<float>(picture.data<std::uint16_t>()[at]) / 65535.0F
               : static_cast<float>(picture.data<std::uint8_t>()[at]) / 255.0F;
    }
    out.data<float>()[p] = std::min(grey_at(values.data(), channels), 1.0F);
  }
  return out;
}

}  // namespace

void check_ranges(const ObjectRanges& ranges) {
  // Written so that NaN is refused too.
  if (!(ranges.amplitude_low >= 0 && ranges.amplitude_low <= ranges.amplitude_high &&
        ranges.amplitude_high <= 1e3)) {
    fail_input("expected amplitudes with 0 <= low <= high <= 1000, found ", ranges.amplitude_low,
               " to ", ranges.amplitude_high);
  }
  constexpr double kPi = std::numbers::pi;
  if (!(ranges.phase_low_rad >= -kPi && ranges.phase_low_rad <= ranges.phase_high_rad &&
        ranges.phase_high_rad <= kPi)) {
    fail_input("expected phases with -pi <= low <= high <= pi, found ", ranges.phase_low_rad,
               " to ", ranges.phase_high_rad, " rad");
  }
  if (!(ranges.feature_low_px >= 1 && ranges.feature_low_px <= ranges.feature_high_px &&
        ranges.feature_high_px <= 4096)) {
    fail_input("expected features with 1 <= low <= high <= 4096, found ", ranges.feature_low_px,
               " to ", ranges.feature_high_px, " px");
  }
}

ObjectSeries object_series(ObjectKind kind, const ObjectRanges& ranges, std::uint64_t seed) {
  check_ranges(ranges);
  ObjectSeries out;
  out.kind = kind;
  out.ranges = ranges;
  out.seed = seed;
  if (kind == ObjectKind::kText) out.glyphs = glyphs();
  return out;
}

ObjectImage make_object(const ObjectSeries& series, std::int64_t rows, std::int64_t columns,
                        std::uint64_t index) {
  check_extents(rows, columns);
  const Shape shape{rows, columns};
  ObjectImage out{Array::host(shape, DType::kF32), Array::host(shape, DType::kF32)};
  draw_object(series.source(), index, {rows, columns}, out.amplitude.data<float>(),
              out.phase.data<float>());
  return out;
}

ObjectImage object_from_images(const std::filesystem::path& amplitude,
                               const std::filesystem::path& phase, const ObjectRanges& ranges) {
  check_ranges(ranges);
  ObjectImage out{load_grey(amplitude), load_grey(phase)};
  const Shape& first = out.amplitude.shape();
  const Shape& second = out.phase.shape();
  if (first != second) {
    fail_input("expected two pictures of one size, found ", amplitude.string(), " of ", first[0],
               "x", first[1], " px and ", phase.string(), " of ", second[0], "x", second[1]);
  }
  apply(Stretch::amplitude(ranges), out.amplitude);
  apply(Stretch::phase(ranges), out.phase);
  return out;
}

ImageLibrary::ImageLibrary(const std::filesystem::path& folder, std::int64_t rows,
                           std::int64_t columns) {
  check_extents(rows, columns);
  std::error_code problem;
  std::vector<std::filesystem::path> paths;
  for (std::filesystem::directory_iterator entry(folder, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    if (entry->path().extension() == ".png") paths.push_back(entry->path());
  }
  if (problem) fail_input(folder.string(), ": cannot be read as a folder: ", problem.message());
  if (paths.empty()) fail_input(folder.string(), ": expected pictures (.png), found none");
  std::sort(paths.begin(), paths.end());  // a folder's own order differs from machine to machine
  std::vector<Array> pictures;
  std::vector<PicturePlace> places;
  std::int64_t count = 0;  // of values
  for (const std::filesystem::path& path : paths) {
    Array picture = load_grey(path);
    const Shape& shape = picture.shape();
    // A quarter turn may swap the sides.
    if (std::min(shape[0], shape[1]) < std::max(rows, columns)) {
      fail_input(path.string(), ": expected a picture of at least ", std::max(rows, columns),
                 " px a side, found ", shape[0], "x", shape[1]);
    }
    places.push_back({count, shape[0], shape[1]});
    count += picture.elements();
    pictures.push_back(std::move(picture));
  }
  values_ = Array::host({count}, DType::kF32);
  float* to = values_.data<float>();
  for (Array& picture : pictures) {
    to = std::copy_n(picture.data<float>(), picture.elements(), to);
    picture = {};
  }
  places_ =
      Array::host({static_cast<std::int64_t>(places.size()), sizeof(PicturePlace)}, DType::kU8);
  std::memcpy(places_.data(), places.data(), places_.bytes());
}

ObjectSeries ImageLibrary::series(const ObjectRanges& ranges, std::uint64_t seed) const {
  ObjectSeries out = object_series(ObjectKind::kPictures, ranges, seed);
  out.pictures = values_;
  out.places = places_;
  return out;
}

std::span<const PicturePlace> ImageLibrary::places() const {
  return {reinterpret_cast<const PicturePlace*>(places_.data()), size()};
}

std::int64_t ImageLibrary::shortest_side() const {
  std::int64_t shortest = kMaxExtent;
  for (const PicturePlace& p : places()) shortest = std::min({shortest, p.rows, p.columns});
  return shortest;
}

std::string ImageLibrary::sha256() const {
  std::string all;
  for (const PicturePlace& place : places()) {
    const Array picture =
        values_.slice(place.first, place.rows * place.columns).reshape({place.rows, place.columns});
    all += text(place.rows, "x", place.columns, " ", io::sha256_of(picture), "\n");
  }
  return io::sha256_of(all);
}

Array complex_object(const ObjectImage& object) {
  Array out = Array::host(object.amplitude.shape(), DType::kC64);
  const float* amplitude = object.amplitude.data<float>();
  const float* phase = object.phase.data<float>();
  auto* to = out.data<std::complex<float>>();
  for (std::int64_t k = 0; k < out.elements(); ++k) {
    to[k] = {amplitude[k] * std::cos(phase[k]), amplitude[k] * std::sin(phase[k])};
  }
  return out;
}

}  // namespace ptynet
