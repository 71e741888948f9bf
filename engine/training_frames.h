// Frames held in memory for training on them again and again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/reconstruct.h"
#include "engine/scan.h"

namespace ptynet {

// Bytes that frames in memory may take: half of what the machine has.
std::int64_t memory_for_frames();

// All frames of the scan, f32 [n, h, w] counts, bad pixels negative. Throws Error (input) before
// anything is read when they take more than `limit_bytes`, and after when no pixel is good or none
// has counts.
Array read_frames(Scan& scan, std::int64_t limit_bytes, const Progress& progress);

// The frames with these indices, in that order.
Array gather(const Array& frames, const std::vector<std::int64_t>& indices);

// Mean over the good pixels of all these frames.
double mean_count(const Array& frames);
// Counts of each frame over its good pixels.
std::vector<double> counts_of_frames(const Array& frames);

// Which frames are trained on, and which are held out to judge by.
struct FrameSplit {
  std::vector<std::int64_t> training;
  std::vector<std::int64_t> held_out;
};

// Every k-th of n frames is held out, k = round(1 / fraction); fraction 0: none, else at most 0.5.
// Throws Error (input) when a fraction above 0 holds nothing out.
FrameSplit split_frames(std::int64_t n, double fraction);

// A permutation of `indices` that depends on seed and epoch alone (Fisher and Yates).
std::vector<std::int64_t> shuffled(std::vector<std::int64_t> indices, std::uint64_t seed,
                                   std::int64_t epoch);

}  // namespace ptynet
