// Convolutions by the asynchronous matrix instructions of a warpgroup (wgmma), on devices of
// compute capability 9.x: as conv.h and conv_transpose.h have them, for fp16, bf16 and tf32.
// Candidates beside theirs (docs/decisions/0009-wgmma.md).
#pragma once

#include <vector>

#include "kernels/cuda/conv.h"

namespace ptynet::cuda {

// Whether the current device has wgmma, and this build its kernels.
bool has_wgmma();

// Every tile whose operands fit in the shared memory of the current device. None without
// has_wgmma(), in fp32, and unless a group has multiples of 32 bytes of input channels and of 8
// output channels.
std::vector<ConvTile> wgmma_tiles(const ConvShape& shape, Precision precision);
std::vector<ConvTile> transposed_wgmma_tiles(const ConvShape& shape, Precision precision);

// One of those tiles. Arrays that are not aligned to 16 bytes are computed by conv2d() and
// conv_transpose2d().
void wgmma_conv2d(const ConvShape& shape, Precision precision, const ConvOperands& operands,
                  const ConvTile& tile, Stream stream);
// operands.w: packed.
void wgmma_conv_transpose2d(const ConvShape& shape, Precision precision,
                            const ConvOperands& operands, const ConvTile& tile, Stream stream);

}  // namespace ptynet::cuda
