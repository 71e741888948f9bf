// The first two layers of PtyNet-S in one kernel: a convolution of frames at their full size, and
// the one after it. What is between them stays in shared memory, rounded as its array would be, so
// that the result is that of thin_conv2d() and conv2d() to the bit.
#pragma once

#include "kernels/cuda/conv_pair.h"

namespace ptynet::cuda {

// One channel to 16 (fp16 and bf16: or 32) with kernel 1, 3 or 5 and stride 1, then to at most as
// many with stride 1 or 2, both in one group, where a tile fits in shared memory.
bool is_fused_first(const ConvPairShape& shape, Precision precision);

// Of the second layer, all of whose channels they hold; none unless is_fused_first(). As
// conv_tiles() and suggest_tile().
std::vector<ConvTile> fused_first_tiles(const ConvPairShape& shape, Precision precision);
ConvTile suggest_fused_first_tile(const ConvPairShape& shape, Precision precision,
                                  int multiprocessors);

// y = second(first(x)), each with its bias and activation; second_w aligned to 16 bytes. Throws
// Error (runtime) unless is_fused_first(), the tile is one of fused_first_tiles() and y of the
// precision's array type.
void fused_first(const ConvPairShape& shape, Precision precision, const ConvPairOperands& operands,
                 const ConvTile& tile, Stream stream);

}  // namespace ptynet::cuda
