// How the input of a tile comes to shared memory, and where its pixels lie there.
#pragma once

#include "kernels/cuda/conv_problem.h"

namespace ptynet::cuda {

// Columns of the halo are stored in the order 0, s, 2 s, .., 1, s + 1, .. of the stride s, so that
// what one tap of successive output pixels reads is successive too.
PTYNET_DEVICE int halo_slot(int column, int stride, int halo_columns) {
  if (stride == 1) return column;
  return column % stride * (halo_columns / stride) + column / stride;
}

// Copies between global and shared memory, kVectorBytes at a time: asynchronously where arrays are
// aligned to as much, else by single elements.
template <typename Element, bool kAligned>
struct Copier {
  static constexpr int kElements = kVectorBytes / static_cast<int>(sizeof(Element));

  // `count` elements of `from` count, zeros follow; at most a vector.
  PTYNET_DEVICE void operator()(unsigned char* to, const Element* from, int count) const {
    if constexpr (kAligned) {
      copy_async<kVectorBytes>(to, from, count > 0);
    } else {
      Vector<Element, kElements> v;
      PTYNET_UNROLL
      for (int i = 0; i < kElements; ++i) {
        v[i] = i < count ? load_readonly(from + i) : from_float<Element>(0);
      }
      store(reinterpret_cast<Vector<Element, kElements>*>(to), v);
    }
  }
};

}  // namespace ptynet::cuda
