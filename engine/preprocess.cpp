#include "engine/preprocess.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <utility>

#include "kernels/cpu/fft.h"

namespace ptynet {

namespace {

constexpr std::int32_t kNowhere = -1;
constexpr float kBad = -1;

constexpr std::array<std::pair<const char*, Orientation>, 8> kOrientations = {{
    {"none", Orientation::kNone},
    {"flip-rows", Orientation::kFlipRows},
    {"flip-columns", Orientation::kFlipColumns},
    {"rotate-90", Orientation::kRotate90},
    {"rotate-180", Orientation::kRotate180},
    {"rotate-270", Orientation::kRotate270},
    {"transpose", Orientation::kTranspose},
    {"anti-transpose", Orientation::kAntiTranspose},
}};

// All undo themselves, but the quarter turns each other.
Orientation inverse(Orientation orientation) {
  if (orientation == Orientation::kRotate90) return Orientation::kRotate270;
  if (orientation == Orientation::kRotate270) return Orientation::kRotate90;
  return orientation;
}

bool inside(const Extent& extent, const Pixel& pixel) {
  return pixel.row >= 0 && pixel.row < extent.height && pixel.column >= 0 &&
         pixel.column < extent.width;
}

std::int64_t wrap(std::int64_t index, std::int64_t extent) {
  const std::int64_t rest = index % extent;
  return rest < 0 ? rest + extent : rest;
}

void expect_stored(const Array& array, const Extent& stored, const char* what) {
  if (array.empty() || array.shape() == Shape{stored.height, stored.width}) return;
  fail_input("expected a ", what, " of the stored frame's extent, ", to_string(stored), ", found ",
             to_string(array.shape()));
}

}  // namespace

std::string orientation_names() {
  std::string names;
  for (const auto& [name, orientation] : kOrientations) {
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return names;
}

Orientation parse_orientation(const std::string& name) {
  for (const auto& [known, orientation] : kOrientations) {
    if (name == known) return orientation;
  }
  fail_input("expected one orientation of ", orientation_names(), ", found '", name, "'");
}

bool swaps_axes(Orientation orientation) {
  return orientation == Orientation::kRotate90 || orientation == Orientation::kRotate270 ||
         orientation == Orientation::kTranspose || orientation == Orientation::kAntiTranspose;
}

std::string to_string(const Extent& extent) { return text(extent.height, " x ", extent.width); }

Extent oriented_extent(Orientation orientation, const Extent& stored) {
  return swaps_axes(orientation) ? Extent{stored.width, stored.height} : stored;
}

Pixel stored_pixel(Orientation orientation, const Extent& stored, const Pixel& oriented) {
  const auto [r, c] = oriented;
  const std::int64_t last_row = stored.height - 1;
  const std::int64_t last_column = stored.width - 1;
  switch (orientation) {
    case Orientation::kNone:
      return {r, c};
    case Orientation::kFlipRows:
      return {last_row - r, c};
    case Orientation::kFlipColumns:
      return {r, last_column - c};
    case Orientation::kRotate90:
      return {c, last_column - r};
    case Orientation::kRotate180:
      return {last_row - r, last_column - c};
    case Orientation::kRotate270:
      return {last_row - c, r};
    case Orientation::kTranspose:
      return {c, r};
    case Orientation::kAntiTranspose:
      return {last_row - c, last_column - r};
  }
  return oriented;
}

Pixel oriented_pixel(Orientation orientation, const Extent& stored, const Pixel& pixel) {
  return stored_pixel(inverse(orientation), oriented_extent(orientation, stored), pixel);
}

FrameExtents frame_extents(const FrameRecipe& recipe) {
  FrameExtents out;
  out.oriented = oriented_extent(recipe.orientation, recipe.stored);
  if (recipe.crop < 0 || recipe.crop > std::min(out.oriented.height, out.oriented.width)) {
    fail_input("expected a crop within the frame, ", to_string(out.oriented), ", found ",
               recipe.crop);
  }
  out.cropped = recipe.crop == 0 ? out.oriented : Extent{recipe.crop, recipe.crop};
  const auto [height, width] = out.cropped;
  if (recipe.bin < 1 || height % recipe.bin != 0 || width % recipe.bin != 0) {
    fail_input("expected a bin that divides the frame's extent, ", to_string(out.cropped),
               ", found ", recipe.bin, "; crop to a multiple of it");
  }
  out.binned = {height / recipe.bin, width / recipe.bin};
  return out;
}

FramePlan::FramePlan(const FrameRecipe& recipe, const Array& mask, const Array& dark)
    : recipe_(recipe), extents_(frame_extents(recipe)) {
  const Extent& stored = recipe.stored;
  expect_stored(mask, stored, "mask");
  expect_stored(dark, stored, "dark image");
  const std::uint8_t* good = mask.empty() ? nullptr : mask.data<std::uint8_t>();
  const float* dark_counts = dark.empty() ? nullptr : dark.data<float>();
  const auto& [oriented, cropped, binned] = extents_;
  if (stored.height * stored.width > std::numeric_limits<std::int32_t>::max() ||
      cropped.height * cropped.width > std::numeric_limits<std::int32_t>::max()) {
    fail_input("expected frames under 2^31 pixels, found ", to_string(stored));
  }
  const Pixel zero = oriented_pixel(recipe.orientation, stored, recipe.zero_frequency);
  const Pixel first = {zero.row - cropped.height / 2, zero.column - cropped.width / 2};

  // Named for clang, which does not let lambdas have structured bindings.
  const Extent& whole = oriented;
  const auto source_of = [&](std::int64_t row, std::int64_t column) {
    Pixel pixel = {first.row + row, first.column + column};
    if (recipe.periodic) {
      pixel = {wrap(pixel.row, whole.height), wrap(pixel.column, whole.width)};
    }
    if (!inside(whole, pixel)) return kNowhere;
    const Pixel at = stored_pixel(recipe.orientation, stored, pixel);
    const std::int64_t index = at.row * stored.width + at.column;
    const bool masked = good != nullptr && good[index] == 0;
    const bool dark_unknown = dark_counts != nullptr && !std::isfinite(dark_counts[index]);
    return masked || dark_unknown ? kNowhere : static_cast<std::int32_t>(index);
  };

  const std::int64_t bin = recipe.bin;
  source_.reserve(static_cast<std::size_t>(cropped.height * cropped.width));
  for (std::int64_t row = 0; row < binned.height; ++row) {
    for (std::int64_t column = 0; column < binned.width; ++column) {
      const auto begin = static_cast<std::ptrdiff_t>(source_.size());
      bool bad = false;
      for (std::int64_t part = 0; part < bin * bin; ++part) {
        source_.push_back(source_of(row * bin + part / bin, column * bin + part % bin));
        bad = bad || source_.back() == kNowhere;
      }
      if (bad) std::fill(source_.begin() + begin, source_.end(), kNowhere);
    }
  }
  if (dark_counts != nullptr) {
    dark_.reserve(source_.size());
    for (const std::int32_t from : source_) dark_.push_back(from < 0 ? 0 : dark_counts[from]);
  }
  identity_ = bin == 1 && dark_.empty() && cropped == stored;
  for (std::size_t k = 0; identity_ && k < source_.size(); ++k) {
    identity_ = source_[k] == static_cast<std::int32_t>(k);
  }
}

template <typename T>
void FramePlan::run(const T* from, float* to) const {
  const auto parts = static_cast<std::size_t>(recipe_.bin * recipe_.bin);
  const std::size_t pixels = source_.size() / parts;
  const bool squared = recipe_.quantity == io::Quantity::kAmplitude;
  if (identity_ && !squared) {
    for (std::size_t k = 0; k < pixels; ++k) {
      to[k] = is_count(from[k]) ? static_cast<float>(from[k]) : kBad;
    }
    return;
  }
  if (parts == 1 && dark_.empty() && !squared) {
    for (std::size_t k = 0; k < pixels; ++k) {
      const T value = from[std::max(source_[k], 0)];
      to[k] = source_[k] != kNowhere && is_count(value) ? static_cast<float>(value) : kBad;
    }
    return;
  }
  for (std::size_t k = 0; k < pixels; ++k) {
    double sum = 0;
    bool good = source_[k * parts] != kNowhere;
    for (std::size_t part = k * parts; good && part < (k + 1) * parts; ++part) {
      const T value = from[source_[part]];
      good = is_count(value);
      double counts = static_cast<double>(value);
      if (squared) counts *= counts;
      if (!dark_.empty()) counts = std::max(counts - static_cast<double>(dark_[part]), 0.0);
      sum += counts;
    }
    to[k] = good ? static_cast<float>(sum) : kBad;
  }
}

Array FramePlan::apply(const Array& stored) const {
  const Shape& shape = stored.shape();
  const auto& [height, width] = recipe_.stored;
  if (shape.rank() != 3 || shape[1] != height || shape[2] != width) {
    fail_input("expected frames of ", to_string(recipe_.stored), ", found ",
               to_string(stored.shape()));
  }
  const std::int64_t result = extents_.binned.height * extents_.binned.width;
  Array out = Array::host({shape[0], extents_.binned.height, extents_.binned.width}, DType::kF32);
  float* to = out.data<float>();
  const std::int64_t pixels = height * width;
  const auto all = [&]<typename T>(const T* from) {
    for (std::int64_t n = 0; n < shape[0]; ++n) run(from + n * pixels, to + n * result);
  };
  switch (stored.dtype()) {
    case DType::kU8:
      all(stored.data<std::uint8_t>());
      break;
    case DType::kU16:
      all(stored.data<std::uint16_t>());
      break;
    case DType::kU32:
      all(stored.data<std::uint32_t>());
      break;
    case DType::kI32:
      all(stored.data<std::int32_t>());
      break;
    case DType::kF32:
      all(stored.data<float>());
      break;
    default:
      fail_input("expected frames of u8, u16, u32, i32 or f32, found ", name_of(stored.dtype()));
  }
  return out;
}

Array FramePlan::mask() const {
  Array out = Array::host({extents_.binned.height, extents_.binned.width}, DType::kU8);
  auto* to = out.data<std::uint8_t>();
  const auto parts = static_cast<std::size_t>(recipe_.bin * recipe_.bin);
  for (std::size_t k = 0; k < source_.size() / parts; ++k) {
    to[k] = source_[k * parts] == kNowhere ? 0 : 1;
  }
  return out;
}

Array from_ortho_probe(const Array& probe) {
  Array out = probe.clone();
  const Shape& shape = out.shape();
  const auto factor = static_cast<float>(1 / std::sqrt(static_cast<double>(shape[1] * shape[2])));
  auto* values = out.data<std::complex<float>>();
  for (std::int64_t k = 0; k < out.elements(); ++k) values[k] *= factor;
  return out;
}

Array crop_probe(const Array& probe, const Extent& cropped) {
  using Complex = std::complex<double>;
  const Shape& shape = probe.shape();
  const std::int64_t height = shape[1];
  const std::int64_t width = shape[2];
  const Fft2<double> forward(height, width, FftDirection::kForward);
  const Fft2<double> backward(cropped.height, cropped.width, FftDirection::kInverse);
  std::vector<Complex> full(static_cast<std::size_t>(height * width));
  std::vector<Complex> kept(static_cast<std::size_t>(cropped.height * cropped.width));
  Array out = Array::host({shape[0], cropped.height, cropped.width}, DType::kC64);

  for (std::int64_t mode = 0; mode < shape[0]; ++mode) {
    const auto* from = probe.data<std::complex<float>>() + mode * height * width;
    auto* to = out.data<std::complex<float>>() + mode * cropped.height * cropped.width;
    // The centre of real space goes to index 0 and back, so that it stays the centre.
    for (std::int64_t k = 0; k < height * width; ++k) {
      const std::int64_t row = wrap(k / width - height / 2, height);
      const std::int64_t column = wrap(k % width - width / 2, width);
      full[static_cast<std::size_t>(row * width + column)] = Complex(from[k]);
    }
    forward.run(full.data(), full.data());
    for (std::int64_t k = 0; k < cropped.height * cropped.width; ++k) {
      const std::int64_t u = k / cropped.width - cropped.height / 2;  // frequency
      const std::int64_t v = k % cropped.width - cropped.width / 2;
      const bool there = inside({height, width}, {u + height / 2, v + width / 2});
      const std::int64_t source = wrap(u, height) * width + wrap(v, width);
      const std::int64_t target = wrap(u, cropped.height) * cropped.width + wrap(v, cropped.width);
      kept[static_cast<std::size_t>(target)] =
          there ? full[static_cast<std::size_t>(source)] : Complex(0);
    }
    backward.run(kept.data(), kept.data());
    for (std::int64_t k = 0; k < cropped.height * cropped.width; ++k) {
      const std::int64_t row = wrap(k / cropped.width - cropped.height / 2, cropped.height);
      const std::int64_t column = wrap(k % cropped.width - cropped.width / 2, cropped.width);
      to[k] = std::complex<float>(kept[static_cast<std::size_t>(row * cropped.width + column)]);
    }
  }
  return out;
}

namespace {

// The middle of the frequencies that binned pixel extent / bin / 2 covers, in pixels from zero.
double middle_frequency(std::int64_t extent, std::int64_t bin) {
  const std::int64_t first = extent / bin / 2 * bin - extent / 2;
  return static_cast<double>(first) + static_cast<double>(bin - 1) / 2;
}

}  // namespace

Array bin_probe(const Array& probe, std::int64_t bin) {
  const Shape& shape = probe.shape();
  const std::int64_t height = shape[1] / bin;
  const std::int64_t width = shape[2] / bin;
  const double row_turn = middle_frequency(shape[1], bin) / static_cast<double>(shape[1]);
  const double column_turn = middle_frequency(shape[2], bin) / static_cast<double>(shape[2]);
  Array out = Array::host({shape[0], height, width}, DType::kC64);
  const auto* from = probe.data<std::complex<float>>();
  auto* to = out.data<std::complex<float>>();
  for (std::int64_t k = 0; k < shape[0] * height * width; ++k) {
    const std::int64_t mode = k / (height * width);
    const std::int64_t y = k / width % height - height / 2;  // from the centre
    const std::int64_t x = k % width - width / 2;
    const std::int64_t source = (mode * shape[1] + y + shape[1] / 2) * shape[2] + x + shape[2] / 2;
    const double turns = row_turn * static_cast<double>(y) + column_turn * static_cast<double>(x);
    const auto ramp = std::polar(static_cast<double>(bin), -2 * std::numbers::pi * turns);
    to[k] = std::complex<float>(std::complex<double>(from[source]) * ramp);
  }
  return out;
}

}  // namespace ptynet
