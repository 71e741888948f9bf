// What the hand-written kernels ask of the memories and matrix units for each convolution of
// PtyNet-S and PtyNet-B and its gradients, beside the least that the shapes allow, counted on the
// twin: fp16, one frame of 128 x 128, tiles as suggested for the 132 multiprocessors of an H100 or
// H200. Where wgmma is to be fast, its kernel beside the others', with a tile of 256 pixels and 64
// channels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ptynet::cuda::tests {

struct LayerCounts {
  std::string network;
  // "128px/16->16/k3/s2/g1", its gradients by input and weights "../dx" and "../dw", by wgmma
  // "../wgmma"
  std::string layer;
  // "16x16": pixels per warp, channels; of a gradient by weights "33x": its splits
  std::string tile;
  std::int64_t sectors;
  std::int64_t least_sectors;  // of x, w and y once
  std::int64_t waves;     // passes through shared memory; as many as accesses without conflicts
  std::int64_t accesses;  // to shared memory, of up to 128 bytes
  std::int64_t products;  // matrix instructions
  std::int64_t least_products;  // 0 where the kernel uses none
};

std::vector<LayerCounts> count_layers();

}  // namespace ptynet::cuda::tests
