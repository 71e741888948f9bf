// Patches added to a canvas in whole units (stitch_units(), kernels/math.h), so that atomic
// additions in any order give the same bytes, which are also those of the other backends.
#pragma once

#include "kernels/backend.h"
#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

// A unit is 2^-39. Each value is held to +-64 before it is added, 2^45 units, and a frame adds at
// most four to a pixel, whose shares sum to 1: objects near 1 with weights up to 1 leave room for
// 2^24 frames on one pixel, and frames held at +-64 everywhere for 2^16.
struct StitchShape {
  int n, h, w;
  int border;  // px at each edge of a patch that are left out, under h / 2 and w / 2
};

struct StitchPatches {
  const float* object;    // c64 [n, h, w] as (re, im) pairs
  const float* weight;    // [h, w], of the probe or plain
  const double* corners;  // [n, 2]: canvas row and column of each patch's first pixel, px
};

// As kernels/backend.h says, in fp64. Canvas and patches are on the device, and all patches lie on
// the canvas: what their corners say is not checked. Patches have fewer than 2^22 pixels.
void stitch(const StitchShape& shape, const StitchPatches& patches, const CanvasSums& canvas,
            Stream stream);

}  // namespace ptynet::cuda
