// Sums of a block's threads, in an order that is always the same.
#pragma once

#include "kernels/cuda/device.h"

namespace ptynet::cuda {

// Of the warp's lanes, in each of them.
PTYNET_DEVICE double sum_lanes(double value) {
  PTYNET_UNROLL
  for (int step = kWarpLanes / 2; step > 0; step /= 2) value += shuffle_xor(value, step);
  return value;
}

// Every thread's sums become those of the block's kThreads. All threads call it; within a kernel,
// once for the same kCount and Id.
template <int kThreads, int kCount, int Id = 0>
PTYNET_DEVICE void sum_block(double (&sums)[kCount]) {
  constexpr int kWarps = kThreads / kWarpLanes;
  double* of_warps = shared<double, kWarps * kCount, Id>();
  PTYNET_UNROLL
  for (int i = 0; i < kCount; ++i) {
    sums[i] = sum_lanes(sums[i]);
    if (lane() == 0) store(of_warps + warp() * kCount + i, sums[i]);
  }
  barrier();
  PTYNET_UNROLL
  for (int i = 0; i < kCount; ++i) {
    sums[i] = 0;
    PTYNET_UNROLL
    for (int from = 0; from < kWarps; ++from) sums[i] += load(of_warps + from * kCount + i);
  }
}

}  // namespace ptynet::cuda
