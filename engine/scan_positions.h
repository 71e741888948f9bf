// Where every frame's patch lies on the object, in object pixels of the preprocessed frame.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "engine/preprocess.h"
#include "engine/scan.h"
#include "io/scan.h"

namespace ptynet {

// m of one object pixel per axis: wavelength * distance / (N * detector pixel), N and detector
// pixel after crop and bin. Both axes come from the same source, the first of these that is there:
// --object-pixel-size; energy, distance and detector pixel; the file's own word, which is about
// uncropped frames and so grows by (uncropped N / cropped N).
// `detector_pixel_swapped`: the orientation exchanges rows and columns.
// Geometry of the options must have been put into `file` already.
std::optional<std::array<double, 2>> object_pixel_m(const ScanOptions& options,
                                                    const io::ScanFile& file,
                                                    const FrameExtents& extents,
                                                    bool detector_pixel_swapped);

// The file that positions come from, for messages.
std::string positions_source(const ScanOptions& options);

// Puts positions in pixels or metres into `file`: from the raster, else --positions, else the
// file's own. What comes with --positions of the geometry is put there too, so this goes before
// the options' geometry. Throws Error (input) for unknown units and wrong counts.
void take_positions(const ScanOptions& options, io::ScanFile& file);

// Positions of all frames, or none, from those of `file`: in that order columns (rc, xy), sign,
// unit, patch. NaN stays NaN.
//
// Pixels are object pixels of the uncropped frame, of extent N: cropping to M multiplies them by
// M / N, since the object pixel grows by N / M. A position that names the first pixel names the
// centre N/2 pixels on; the result names the first pixel of what binning leaves of the patch, B
// pixels about that centre: result = (centre in pixels of the result) - B/2.
// Throws Error (input) for missing geometry, or an unknown order or sign.
std::vector<io::Position> positions_in_pixels(
    const ScanOptions& options, const FrameExtents& extents,
    const std::optional<std::array<double, 2>>& object_pixel_m, io::ScanFile& file);

}  // namespace ptynet
