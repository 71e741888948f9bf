// Objects to simulate with: procedural, or from pictures.
//
// Everything here is a pure function of its arguments, counter-based: the same arguments give the
// same bytes, from any thread, in any order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "kernels/drawing.h"

namespace ptynet {

// f32 [rows, columns] each; phase in radians.
struct ObjectImage {
  Array amplitude;
  Array phase;
};

// Throws Error (input) unless 0 <= low <= high for amplitudes, low <= high within [-pi, pi] for
// phases, and 1 <= low <= high <= 4096 for features.
void check_ranges(const ObjectRanges& ranges);

// The endless series that `seed` names, of a kind that needs no pictures; arrays on the host.
ObjectSeries object_series(ObjectKind kind, const ObjectRanges& ranges, std::uint64_t seed);

// Object `index` of a series, which is on the host. A 128x128 pair of dead leaves takes about
// 0.3 ms on one core. Throws Error (input) for wrong ranges or extents that are not 1 to 65536.
ObjectImage make_object(const ObjectSeries& series, std::int64_t rows, std::int64_t columns,
                        std::uint64_t index);

// Two grey pictures of one size (8 or 16 bit PNG; colours become luma by Rec. 601): black is the
// low end of a range, white the high one. Throws Error (input) that names the file.
ObjectImage object_from_images(const std::filesystem::path& amplitude,
                               const std::filesystem::path& phase, const ObjectRanges& ranges);

// Pictures of a folder, held in memory as f32.
class ImageLibrary {
 public:
  // All .png of the folder, by name. Throws Error (input) when there are none, one cannot be read,
  // or the shorter side of one is less than the longer of rows and columns: windows may be turned.
  ImageLibrary(const std::filesystem::path& folder, std::int64_t rows, std::int64_t columns);

  // Windows of up to those rows and columns, cut at random from a random picture, flipped and
  // turned at random; amplitude and phase from two independent pictures, unless ranges.shared.
  // Arrays are on the host and shared with the library.
  ObjectSeries series(const ObjectRanges& ranges, std::uint64_t seed) const;

  std::int64_t shortest_side() const;  // of all pictures, px
  std::size_t size() const { return static_cast<std::size_t>(places_.shape()[0]); }
  // Of all pictures in order, 64 hexadecimal digits.
  std::string sha256() const;

 private:
  std::span<const PicturePlace> places() const;

  Array values_;  // f32 in [0, 1], one picture after the other
  Array places_;  // as ObjectSeries has them
};

// amplitude * exp(i phase), c64 of the same shape.
Array complex_object(const ObjectImage& object);

}  // namespace ptynet
