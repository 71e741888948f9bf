// Frames and probes made ready, as pure functions on arrays (docs/conventions.md states the order).
//
// A detector frame goes through orientation, mask, dark, zero frequency to the centre, crop and
// bin. All of that is one table, made once: for every pixel of the result, which stored pixels it
// is the sum of. A frame then takes one pass over memory.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "io/scan.h"
#include "kernels/array.h"

namespace ptynet {

// What turns a stored frame into the detector as the beam sees it. Rotations are counter-clockwise
// with rows growing downwards, as numpy.rot90.
enum class Orientation : std::uint8_t {
  kNone,
  kFlipRows,     // the order of the rows is reversed: upside down
  kFlipColumns,  // the order of the columns is reversed: left to right
  kRotate90,
  kRotate180,
  kRotate270,
  kTranspose,      // mirrored at the diagonal through the first pixel
  kAntiTranspose,  // mirrored at the other diagonal
};

// "none, flip-rows, flip-columns, ..." for messages and help.
std::string orientation_names();
// Throws Error (input), listing the names, for any other name.
Orientation parse_orientation(const std::string& name);

struct Extent {
  std::int64_t height = 0;  // rows
  std::int64_t width = 0;   // columns
  bool operator==(const Extent& other) const = default;
};

// "128 x 64", rows first.
std::string to_string(const Extent& extent);

struct Pixel {
  std::int64_t row = 0;
  std::int64_t column = 0;
  bool operator==(const Pixel& other) const = default;
};

// Whether rows become columns.
bool swaps_axes(Orientation orientation);
// The extent of the oriented frame of a stored one.
Extent oriented_extent(Orientation orientation, const Extent& stored);
// Where a pixel of the oriented frame is stored, and where a stored pixel comes to lie.
Pixel stored_pixel(Orientation orientation, const Extent& stored, const Pixel& oriented);
Pixel oriented_pixel(Orientation orientation, const Extent& stored, const Pixel& pixel);

// What is done to every frame of a scan.
struct FrameRecipe {
  Extent stored;
  Orientation orientation = Orientation::kNone;
  Pixel zero_frequency;  // in the stored frame
  bool periodic =
      false;  // zero frequency in the corner: what leaves on one side enters on the other
  std::int64_t crop = 0;  // px of a side kept about the zero frequency; 0: all
  std::int64_t bin = 1;
  io::Quantity quantity = io::Quantity::kIntensity;
};

// Frame extents of a recipe on their way, in the detector's true orientation.
struct FrameExtents {
  Extent oriented;
  Extent cropped;
  Extent binned;
};
// Throws Error (input) when crop or bin do not fit the frame.
FrameExtents frame_extents(const FrameRecipe& recipe);

// A recipe made ready. Immutable, so usable from several threads at once.
class FramePlan {
 public:
  FramePlan() = default;
  // mask: u8 stored extent, nonzero is good, or empty; dark: f32 stored extent, counts, or empty; a
  // dark value that is not finite makes a bad pixel.
  // Throws Error (input) when an extent does not fit, or crop or bin do not.
  FramePlan(const FrameRecipe& recipe, const Array& mask, const Array& dark);

  // stored: host [n, H, W] of u8, u16, u32, i32 or f32; returns f32 [n, h, w] counts, -1 where any
  // part is masked, off the detector, negative, not finite, or the integer type's largest value.
  Array apply(const Array& stored) const;

  const FrameExtents& extents() const { return extents_; }
  // u8 [h, w] of a result, 1 is good: what the mask and the detector's edge say.
  Array mask() const;

 private:
  template <typename T>
  void run(const T* from, float* to) const;

  FrameRecipe recipe_;
  FrameExtents extents_;
  // bin * bin stored pixels for every pixel of the result, one after the other; all of them
  // kNowhere when one is bad.
  std::vector<std::int32_t> source_;
  std::vector<float> dark_;  // beside source_, or empty
  bool identity_ = false;    // source_ is 0, 1, 2, ...: no table is read
};

// Probes, c64 [modes, H, W], zero of real space at pixel (H/2, W/2), for the unnormalised
// transform: frame = abs(fftshift(fft2(probe * object)))^2 summed over modes.

// For a transform with a factor 1 / sqrt(H W): |F / sqrt(H W)|^2 is |F|^2 of the probe divided by
// sqrt(H W).
Array from_ortho_probe(const Array& probe);

// The probe of frames cropped to `cropped` about their zero frequency: its Fourier transform is
// cropped the same way, F'(k) = F(k), and transformed back with 1 / (H' W'). The probe's values
// grow by H W / (H' W') thereby, since fewer of them must sum to the same F; the object's do not.
Array crop_probe(const Array& probe, const Extent& cropped);

// The probe of frames binned by `bin`: the centre H/bin x W/bin of it, times bin (a binned pixel
// holds bin^2 intensities), times a phase ramp. With u = k - K/2, K = H/bin, binned pixel k covers
// the frequencies u bin + o ... u bin + o + bin - 1, o = (K/2) bin - H/2, whose middle is
// u bin + d, d = o + (bin - 1) / 2; the ramp exp(-i 2 pi d x / H), x = 0 at the centre,
// puts them on the transform's grid. Exact for a probe that is zero outside, but for the detector's
// averaging over bin pixels.
Array bin_probe(const Array& probe, std::int64_t bin);

}  // namespace ptynet
