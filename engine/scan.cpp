#include "engine/scan.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <utility>

#include "engine/preprocess.h"
#include "engine/scan_positions.h"
#include "io/datasets.h"
#include "io/near_field.h"

namespace ptynet {

namespace {

void expect_positive(const std::optional<double>& value, const char* option, const char* unit) {
  if (value && !(std::isfinite(*value) && *value > 0)) {
    fail_input("expected ", option, " over 0 ", unit, ", found ", *value);
  }
}

// The user's word before the file's.
void take_geometry(const ScanOptions& options, io::ScanFile& file) {
  expect_positive(options.energy_ev, "--energy", "eV");
  expect_positive(options.distance_m, "--distance", "m");
  expect_positive(options.detector_pixel_m, "--detector-pixel", "m");
  expect_positive(options.object_pixel_size_m, "--object-pixel-size", "m");
  if (options.energy_ev) file.energy_ev = options.energy_ev;
  if (options.distance_m) file.distance_m = options.distance_m;
  if (options.detector_pixel_m) {
    file.detector_pixel_m = {*options.detector_pixel_m, *options.detector_pixel_m};
  }
  if (options.zero_frequency) file.zero_frequency = *options.zero_frequency;
}

bool on_detector(const std::array<double, 2>& center, const Extent& stored) {
  return center[0] > -0.5 && center[1] > -0.5 &&
         center[0] < static_cast<double>(stored.height) - 0.5 &&
         center[1] < static_cast<double>(stored.width) - 0.5;
}

// The nearest pixel; a half is rounded up, so that (N - 1) / 2 of an even N is N/2.
Pixel nearest(const std::array<double, 2>& center) {
  return {static_cast<std::int64_t>(std::floor(center[0] + 0.5)),
          static_cast<std::int64_t>(std::floor(center[1] + 0.5))};
}

// The stored pixel of the zero frequency: --center, else the file's beam centre, else the middle.
Pixel zero_frequency(const ScanOptions& options, const Extent& stored, io::ScanFile& file) {
  const bool corner = file.zero_frequency == io::ZeroFrequency::kCorner;
  if (options.center_px && corner) {
    fail_input(options.path, ": expected --center only with the zero frequency in the centre; ",
               "these frames have it in the corner, unless --zero-frequency center says otherwise");
  }
  if (corner) return {0, 0};
  const Pixel middle = {stored.height / 2, stored.width / 2};
  std::optional<std::array<double, 2>> center = options.center_px;
  if (center && !on_detector(*center, stored)) {
    fail_input(options.path, ": expected --center on the stored frame of ", to_string(stored),
               " pixels, found ", (*center)[0], ",", (*center)[1]);
  }
  if (!center && file.beam_center_px) {
    // Detectors that were told no beam centre write 0, 0.
    const bool told = *file.beam_center_px != std::array<double, 2>{0, 0};
    if (told && on_detector(*file.beam_center_px, stored)) {
      center = file.beam_center_px;
    } else {
      file.notes.push_back(text("the file's beam centre, ", (*file.beam_center_px)[0], ",",
                                (*file.beam_center_px)[1], told ? ", is off the detector" : "",
                                ": the middle of the frame is taken"));
    }
  }
  if (!center) return middle;
  const Pixel pixel = nearest(*center);
  const bool whole = static_cast<double>(pixel.row) == (*center)[0] &&
                     static_cast<double>(pixel.column) == (*center)[1];
  if (!whole || (!options.center_px && pixel != middle)) {
    file.notes.push_back(text("zero frequency at pixel ", pixel.row, ",", pixel.column,
                              " of the stored frame, from ",
                              options.center_px ? "--center " : "the file's beam centre ",
                              (*center)[0], ",", (*center)[1]));
  }
  return pixel;
}

Array both_good(const Array& a, const Array& b, const std::string& where) {
  if (a.empty()) return b;
  if (!(a.shape() == b.shape())) {
    fail_input(where, ": expected a mask of the stored frame's extent, ", to_string(a.shape()),
               ", found ", to_string(b.shape()));
  }
  Array out = a.clone();
  auto* to = out.data<std::uint8_t>();
  const auto* from = b.data<std::uint8_t>();
  for (std::int64_t k = 0; k < out.elements(); ++k) to[k] = to[k] != 0 && from[k] != 0 ? 1 : 0;
  return out;
}

double intensity_of(const Array& probe) {
  double sum = 0;
  const auto* values = probe.data<std::complex<float>>();
  for (std::int64_t k = 0; k < probe.elements(); ++k)
    sum += std::norm(std::complex<double>(values[k]));
  return sum;
}

Extent extent_of(const Array& probe) { return {probe.shape()[1], probe.shape()[2]}; }

// The probe on the grid of preprocessed frames.
Array fit_probe(const Array& probe, const std::string& where, const FrameExtents& extents,
                std::int64_t bin, std::vector<std::string>& notes) {
  const Extent found = extent_of(probe);
  if (found == extents.binned) return probe;
  if (!(found == extents.oriented)) {
    fail_input(where, ": expected a probe of ", to_string(extents.oriented), " like the frames",
               extents.binned == extents.oriented
                   ? std::string()
                   : ", or of " + to_string(extents.binned) + " as they are after crop and bin",
               ", found ", to_string(found));
  }
  Array cropped = extents.cropped == extents.oriented ? probe : crop_probe(probe, extents.cropped);
  if (bin == 1) return cropped;
  Array binned = bin_probe(cropped, bin);
  const double kept =
      intensity_of(binned) / (intensity_of(cropped) * static_cast<double>(bin * bin));
  if (kept < 0.99) {
    notes.push_back(text("binning by ", bin, " leaves out ", std::round((1 - kept) * 1000) / 10,
                         " % of the probe's intensity: the frames are undersampled for it"));
  }
  return binned;
}

// A line where --probe, of whole frames or of cropped ones, has other pixels than the object.
std::optional<std::string> warning_about_pixel(const ScanOptions& options, const Array& probe,
                                               const FrameExtents& extents,
                                               const std::array<double, 2>& object_pixel_m) {
  const auto found = io::probe_pixel_m(io::parse_dataset_name(options.probe), probe.shape());
  if (!found) return std::nullopt;
  const Extent from = extent_of(probe) == extents.binned ? extents.cropped : extents.oriented;
  const std::array ratio = {
      static_cast<double>(extents.cropped.height) / static_cast<double>(from.height),
      static_cast<double>(extents.cropped.width) / static_cast<double>(from.width)};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const double expected = object_pixel_m[axis] * ratio[axis];
    const double pixel = (*found)[axis];
    if (pixel > 0 && std::isfinite(pixel) && std::abs(pixel - expected) > 0.01 * expected) {
      return text(options.probe, ": this probe's pixel is ", pixel,
                  " m, the scan's geometry gives ", expected,
                  " m: check --energy, --distance and --detector-pixel, or give the scan's probe");
    }
  }
  return std::nullopt;
}

Array prepare_probe(const ScanOptions& options, const FrameExtents& extents, io::ScanFile& file,
                    const std::optional<std::array<double, 2>>& object_pixel_m,
                    std::vector<std::string>& warnings) {
  const std::string where = options.probe.empty() ? options.path : options.probe;
  Array probe =
      options.probe.empty() ? file.probe : io::load_probe(io::parse_dataset_name(options.probe));
  if (probe.empty()) return probe;
  const double intensity = intensity_of(probe);
  if (!std::isfinite(intensity) || intensity == 0) {
    fail_input(where,
               ": expected a probe of finite values, not all 0, found a summed intensity of ",
               intensity);
  }
  if (!options.probe.empty() && object_pixel_m) {
    const auto line = warning_about_pixel(options, probe, extents, *object_pixel_m);
    if (line) warnings.push_back(*line);
  }
  if (options.probe_ortho) probe = from_ortho_probe(probe);
  return fit_probe(probe, where, extents, options.bin, file.notes);
}

}  // namespace

std::vector<std::filesystem::path> files_of(const ScanOptions& options) {
  std::vector<std::filesystem::path> out{options.path};
  for (const std::string* name :
       {&options.positions, &options.probe, &options.mask, &options.dark}) {
    if (!name->empty()) out.push_back(io::parse_dataset_name(*name).path);
  }
  return out;
}

Scan Scan::open(const ScanOptions& options) {
  Scan scan;
  const bool own_positions =
      options.positions.empty() && !options.raster && !options.raster_step_px;
  scan.file_ = io::open_scan({options.path, options.data, own_positions});
  io::ScanFile& file = scan.file_;
  take_positions(options, file);
  take_geometry(options, file);
  io::judge_near_field(file);

  FrameRecipe recipe;
  recipe.stored = {file.frames->height(), file.frames->width()};
  recipe.orientation = parse_orientation(options.orientation);
  scan.orientation_ = options.orientation;
  recipe.zero_frequency = zero_frequency(options, recipe.stored, file);
  recipe.periodic = file.zero_frequency == io::ZeroFrequency::kCorner;
  recipe.crop = options.crop;
  recipe.bin = options.bin;
  recipe.quantity = file.quantity;

  if (!options.mask.empty()) {
    file.mask =
        both_good(file.mask, io::load_mask(io::parse_dataset_name(options.mask)), options.mask);
  }
  if (!options.dark.empty()) file.dark = io::load_image(io::parse_dataset_name(options.dark));
  scan.plan_ = std::make_shared<const FramePlan>(recipe, file.mask, file.dark);
  const FrameExtents& extents = scan.plan_->extents();
  scan.height_ = extents.binned.height;
  scan.width_ = extents.binned.width;
  scan.mask_ = scan.plan_->mask();

  const bool swapped = swaps_axes(recipe.orientation);
  scan.object_pixel_m_ = ptynet::object_pixel_m(options, file, extents, swapped);
  scan.positions_px_ = positions_in_pixels(options, extents, scan.object_pixel_m_, file);
  scan.probe_ = prepare_probe(options, extents, file, scan.object_pixel_m_, scan.warnings_);
  scan.choose_frames(options);
  return scan;
}

// Frames, positions and frame numbers together.
void Scan::choose_frames(const ScanOptions& options) {
  const std::int64_t all = file_.frames->count();
  const auto [first, end] = options.frames.value_or(std::pair{std::int64_t{0}, all});
  if (first < 0 || first >= end || end > all) {
    fail_input(options.path, ": expected --frames A:B with 0 <= A < B <= ", all, ", found ", first,
               ":", end);
  }
  first_ = first;
  count_ = end - first;
  for (std::int64_t k = first; k < end; ++k) {
    frame_index_.push_back(
        file_.frame_index.empty() ? k : file_.frame_index[static_cast<std::size_t>(k)]);
  }
  if (positions_px_.empty()) return;
  io::check_finite(positions_px_, first, end, positions_source(options));
  positions_px_ = {positions_px_.begin() + first, positions_px_.begin() + end};
}

Array Scan::read(std::int64_t first, std::int64_t n) {
  if (first < 0 || n < 0 || n > count_ - first) {
    fail_input(file_.path.string(), ": expected frames within 0:", count_, ", found ", first, ":",
               first + n);
  }
  return plan_->apply(file_.frames->read(first_ + first, n));
}

Array Scan::preprocess(const Array& stored) const { return plan_->apply(stored); }

void Scan::expect_far_field(const std::string& advice) const {
  if (!file_.near_field) return;
  fail_input(file_.path.string(), ": a near-field scan (", file_.near_field_reason,
             "), and these networks are for the far field: ", advice);
}

void Scan::set_probe(const Array& probe) {
  const Shape& s = probe.shape();
  if (probe.dtype() != DType::kC64 || s.rank() != 3 || s[1] != height_ || s[2] != width_) {
    fail_input("expected a probe c64[modes, ", height_, ", ", width_, "], found ", describe(probe));
  }
  probe_ = probe;
}

}  // namespace ptynet
