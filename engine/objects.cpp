#include "engine/objects.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "engine/object_patterns.h"
#include "io/png.h"
#include "io/sha256.h"
#include "kernels/random.h"

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
void stretch(Array& values, double low, double high) {
  const auto first = static_cast<float>(low);
  const auto width = static_cast<float>(high - low);
  float* v = values.data<float>();
  for (std::int64_t k = 0; k < values.elements(); ++k) v[k] = first + width * v[k];
}

// `draw(stream, out)` fills f32 [rows, columns] with values in [0, 1] of the stream of that name.
template <typename DrawPattern>
ObjectImage compose(const ObjectRanges& ranges, const Shape& shape, const DrawPattern& draw) {
  ObjectImage out{Array::host(shape, DType::kF32), Array()};
  draw("amplitude", out.amplitude.data<float>());
  if (ranges.shared) {
    out.phase = out.amplitude.clone();
  } else {
    out.phase = Array::host(shape, DType::kF32);
    draw("phase", out.phase.data<float>());
  }
  stretch(out.amplitude, ranges.amplitude_low, ranges.amplitude_high);
  stretch(out.phase, ranges.phase_low_rad, ranges.phase_high_rad);
  return out;
}

// The stream of one object of a series.
CounterRandom stream_of(std::uint64_t seed, std::uint64_t index, const char* name) {
  return {CounterRandom(seed, "objects").bits(index), name};
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

ObjectImage make_object(ObjectKind kind, const ObjectRanges& ranges, std::int64_t rows,
                        std::int64_t columns, std::uint64_t seed, std::uint64_t index) {
  check_ranges(ranges);
  check_extents(rows, columns);
  return compose(ranges, {rows, columns}, [&](const char* name, float* out) {
    PatternCanvas canvas{rows, columns, ranges.feature_low_px, ranges.feature_high_px, out};
    const CounterRandom random = stream_of(seed, index, name);
    switch (kind) {
      case ObjectKind::kDeadLeaves:
        return draw_dead_leaves(random, canvas);
      case ObjectKind::kSiemens:
        return draw_siemens(random, canvas);
      case ObjectKind::kCells:
        return draw_cells(random, canvas);
      case ObjectKind::kText:
        return draw_text(random, canvas);
    }
  });
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
  stretch(out.amplitude, ranges.amplitude_low, ranges.amplitude_high);
  stretch(out.phase, ranges.phase_low_rad, ranges.phase_high_rad);
  return out;
}

ImageLibrary::ImageLibrary(const std::filesystem::path& folder, std::int64_t rows,
                           std::int64_t columns)
    : rows_(rows), columns_(columns) {
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
  for (const std::filesystem::path& path : paths) {
    Array picture = load_grey(path);
    const Shape& shape = picture.shape();
    // A quarter turn may swap the sides.
    if (std::min(shape[0], shape[1]) < std::max(rows, columns)) {
      fail_input(path.string(), ": expected a picture of at least ", std::max(rows, columns),
                 " px a side, found ", shape[0], "x", shape[1]);
    }
    pictures_.push_back(std::move(picture));
  }
}

void ImageLibrary::cut(std::uint64_t seed, std::uint64_t index, const char* stream,
                       float* out) const {
  const CounterRandom random = stream_of(seed, index, stream);
  const auto below = [&random](std::uint64_t counter, std::int64_t n) {
    return static_cast<std::int64_t>(random.uniform(counter) * static_cast<double>(n));
  };
  const Array& picture =
      pictures_[static_cast<std::size_t>(below(0, static_cast<std::int64_t>(pictures_.size())))];
  const std::int64_t h = picture.shape()[0];
  const std::int64_t w = picture.shape()[1];
  const std::uint64_t pose = random.bits(3);
  const bool turn = (pose & 1U) != 0;  // transposed; with the flips, all eight orientations
  const bool flip_rows = (pose & 2U) != 0;
  const bool flip_columns = (pose & 4U) != 0;
  const std::int64_t top = below(1, h - (turn ? columns_ : rows_) + 1);
  const std::int64_t left = below(2, w - (turn ? rows_ : columns_) + 1);
  const float* from = picture.data<float>();
  for (std::int64_t r = 0; r < rows_; ++r) {
    const std::int64_t row = flip_rows ? rows_ - 1 - r : r;
    for (std::int64_t c = 0; c < columns_; ++c) {
      const std::int64_t column = flip_columns ? columns_ - 1 - c : c;
      out[r * columns_ + c] =
          turn ? from[(top + column) * w + left + row] : from[(top + row) * w + left + column];
    }
  }
}

ObjectImage ImageLibrary::window(const ObjectRanges& ranges, std::uint64_t seed,
                                 std::uint64_t index) const {
  check_ranges(ranges);
  return compose(ranges, {rows_, columns_},
                 [&](const char* name, float* out) { cut(seed, index, name, out); });
}

std::string ImageLibrary::sha256() const {
  std::string all;
  for (const Array& picture : pictures_) {
    all += text(picture.shape()[0], "x", picture.shape()[1], " ", io::sha256_of(picture), "\n");
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
