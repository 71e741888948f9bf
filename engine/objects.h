// Objects to simulate with: procedural, or from pictures.
//
// Everything here is a pure function of its arguments, counter-based: the same arguments give the
// same bytes, from any thread, in any order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/array.h"

namespace ptynet {

// Dead leaves: discs, ellipses and rectangles that hide each other, of radii r with a density
// proportional to 1 / r^3, which has the scale-free statistics of natural images (Lee, Mumford,
// Huang, Int. J. Comput. Vis. 41, 2001). Siemens: a test star. Cells: with membrane, nucleus and
// organelles on a bright ground. Text: etched characters, turned a little.
enum class ObjectKind : std::uint8_t { kDeadLeaves, kSiemens, kCells, kText };

struct ObjectRanges {
  double amplitude_low = 0.3;
  double amplitude_high = 1.0;
  double phase_low_rad = -0.6;
  double phase_high_rad = 0.6;
  // The phase follows the amplitude: the ends of the one range are the ends of the other.
  bool shared = false;
  // Radii of leaves and cells; a character is as high as the smaller one to thrice as high.
  double feature_low_px = 8;
  double feature_high_px = 90;
};

// f32 [rows, columns] each; phase in radians.
struct ObjectImage {
  Array amplitude;
  Array phase;
};

// Throws Error (input) unless 0 <= low <= high for amplitudes, low <= high within [-pi, pi] for
// phases, and 1 <= low <= high <= 4096 for features.
void check_ranges(const ObjectRanges& ranges);

// Object `index` of the endless series that `seed` names. A 128x128 pair of dead leaves takes about
// 0.3 ms on one core. Throws Error (input) for wrong ranges or extents that are not 1 to 65536.
ObjectImage make_object(ObjectKind kind, const ObjectRanges& ranges, std::int64_t rows,
                        std::int64_t columns, std::uint64_t seed, std::uint64_t index);

// Two grey pictures of one size (8 or 16 bit PNG; colours become luma by Rec. 601): black is the
// low end of a range, white the high one. Throws Error (input) that names the file.
ObjectImage object_from_images(const std::filesystem::path& amplitude,
                               const std::filesystem::path& phase, const ObjectRanges& ranges);

// Pictures of a folder, held in memory as f32; window() may be called from several threads.
class ImageLibrary {
 public:
  // All .png of the folder, by name. Throws Error (input) when there are none, one cannot be read,
  // or the shorter side of one is less than the longer of rows and columns: windows may be turned.
  ImageLibrary(const std::filesystem::path& folder, std::int64_t rows, std::int64_t columns);

  // A window of the library's rows and columns, cut at random from a random picture, flipped and
  // turned at random; amplitude and phase from two independent pictures, unless ranges.shared.
  ObjectImage window(const ObjectRanges& ranges, std::uint64_t seed, std::uint64_t index) const;

  std::size_t size() const { return pictures_.size(); }
  // Of all pictures in order, 64 hexadecimal digits.
  std::string sha256() const;

 private:
  void cut(std::uint64_t seed, std::uint64_t index, const char* stream, float* out) const;

  std::int64_t rows_;
  std::int64_t columns_;
  std::vector<Array> pictures_;  // f32 [h, w] in [0, 1]
};

// amplitude * exp(i phase), c64 of the same shape.
Array complex_object(const ObjectImage& object);

}  // namespace ptynet
