// The network's input straight from what the detector stored: window, mask and rule in one pass
// over a frame.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/detector_frames.h"
#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

// y [n, h, w, 1] of the precision's array type, from frames as `rule` says (kernels/backend.h); bad
// pixels enter as 0 and do not count for the maximum.
//
// For a frame's maximum one block of up to 512 threads takes one frame and holds it in shared
// memory between the maximum and the output, as the detector stored it: as much as a block may have
// (227 KiB on sm_90, 256 x 256 of u16 take 128); what is beyond is read again, from L2. Windows
// whose columns and first column are multiples of 8 (of 4 for 4-byte counts and for fp32), in
// arrays aligned to 16 bytes, move in accesses of 8 or 16 bytes; others pixel by pixel. Frames have
// fewer than 2^25 pixels.
void input_rule(const DetectorFrames& frames, const InputRule& rule, Precision precision, void* y,
                Stream stream);

}  // namespace ptynet::cuda
