// Frames of HDF5 datasets and NumPy arrays, read by ranges.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/bytes.h"
#include "io/hdf5.h"
#include "io/npy.h"
#include "io/scan.h"

namespace ptynet::io {

// How an array of four dimensions becomes frames.
enum class Leading {
  kRaster,   // [rows, columns, H, W]: a raster, row after row
  kObjects,  // [objects, N, H, W]: several scans, of which the first is taken
};

// Frames of one dataset: [N, H, W], [H, W] (one frame) or four dimensions.
// Integers of 8 bytes become u32 or i32, the nearest value that fits; signed ones of 1 or 2 bytes
// i32, their largest value i32's largest, so that a fault marked by it is still seen; floats f32.
// Throws Error (input) when it holds no frames, or none that could be images.
std::shared_ptr<FrameSource> hdf5_frames(const Hdf5Dataset& dataset, Leading leading);

// The frames of several datasets one after the other, only one of which is open at a time.
std::shared_ptr<FrameSource> hdf5_frames(const Hdf5Reader& reader,
                                         const std::vector<std::string>& datasets);

// The same for the bytes of a .npy.
std::shared_ptr<FrameSource> npy_frames(std::unique_ptr<ByteSource> source, Leading leading);

// Frames of `source` in another order: frame k is frame order[k] of it.
std::shared_ptr<FrameSource> reordered_frames(std::shared_ptr<FrameSource> source,
                                              std::vector<std::int64_t> order);

}  // namespace ptynet::io
