// Arrays that a user names as FILE or FILE:DATASET: positions, probe, mask, dark.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/scan.h"
#include "kernels/array.h"

namespace ptynet::io {

// FILE[:DATASET]; the dataset of an HDF5 file or the member of a .npz.
struct DatasetName {
  std::filesystem::path path;
  std::string dataset;  // empty: the file's only or usual one
};

// Splits at the last colon, unless all of `argument` is the name of a file.
// Throws Error (input) when there is nothing before the colon.
DatasetName parse_dataset_name(const std::string& argument);

// "scan.npz:mask", for messages.
std::string to_string(const DatasetName& name);

// The whole of an array from .npy, .npz or HDF5, converted to `type`; c64 only from complex
// numbers. Without a dataset a .npz or HDF5 file must hold exactly one at its root.
// Throws Error (input).
Array load_array(const DatasetName& name, DType type);

// Positions that stand in a file of their own.
struct PositionTable {
  std::vector<Position> positions;
  PositionUnit unit = PositionUnit::kUnknown;  // unknown: ask for --positions-unit
  bool are_centers = false;                    // as in ScanFile
  std::vector<std::int64_t> frame_index;       // of the frames they belong to; may be empty
  // What the same file says of the geometry (a ptychodus product does).
  std::optional<double> energy_ev;
  std::optional<double> distance_m;
  std::optional<std::array<double, 2>> object_pixel_m;
  std::vector<std::string> notes;
};

// FILE alone: an HDF5 scan or ptychodus product, or a .npz of tike (`scan`, pixels) or PtychoNN
// (`position`, metres), read by that format's rules; a .npy or a .npz with one array as below.
// FILE:DATASET, or .npy: numbers as they stand, [N, 2] as (row, column), or [2, N] when N is not 2;
// their unit is unknown unless an attribute `units` says it.
// Throws Error (input).
PositionTable load_positions(const DatasetName& name);

// Gives every frame of the scan its position: by frame number where both have such numbers, else
// in order. Geometry comes from the table too, before the scan's own: it is what the positions
// were refined with; a note says where they differ. Throws Error (input) when a frame has none, or
// the counts differ.
void set_positions(const PositionTable& table, const std::string& where, ScanFile& scan);

// A probe as c64 [modes, H, W]. FILE alone: the format's own place (CXI illumination, `probe` of a
// .npz or ptychodus product), or the only array. Real arrays are refused.
Array load_probe(const DatasetName& name);
// m of a pixel of that probe, c64 [modes, H, W], where its file says it, as (row, column): from the
// attributes pixel_height_m and pixel_width_m (ptychodus), else, for a CXI illumination, wavelength
// * distance / (N * detector pixel) of the geometry beside it, if that can be read.
std::optional<std::array<double, 2>> probe_pixel_m(const DatasetName& name, const Shape& probe);

// A mask as u8 [H, W], 1 is good. By its dataset's name: `bad_pixels` and `pixel_mask` are faults
// where not 0; `mask` of a CXI detector is good where 0 or 0x1000; anything else is good where
// not 0.
Array load_mask(const DatasetName& name);

// One frame as f32 [H, W]; several, [N, H, W], are averaged. Dark frames, an empty beam.
Array load_image(const DatasetName& name);

}  // namespace ptynet::io
