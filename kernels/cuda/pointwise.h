// Operations on values one by one, limited by reading their arrays once and writing one. Arrays are
// of the precision's type (f32 for fp32 and tf32), on the device; those aligned to 16 bytes move in
// accesses of 16 bytes, others element by element.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

// y = activation(x), `count` elements each; y may be x.
void activation(Precision precision, const void* x, const Activation& a, void* y,
                std::int64_t count, Stream stream);

struct Addends {
  const void* a;
  const void* b;
};
// y = activation(a + b), `count` elements each, added in fp32; y may be a or b.
void add(Precision precision, const Addends& addends, const Activation& a, void* y,
         std::int64_t count, Stream stream);

struct ChannelPart {
  const void* data;  // [pixels, channels]
  int channels;
};
// y [pixels, sum of channels]: the parts one after the other over channels. Where all channel
// counts are multiples of 2, 4 or 8, as many elements move at once. Up to 2^31 accesses.
void concat_channels(Precision precision, std::span<const ChannelPart> parts, std::int64_t pixels,
                     void* y, Stream stream);

struct ChannelSlice {
  const void* x;  // [pixels, channels]
  int channels;
  int first;
  int count;
};
// y [pixels, count]: channels [first, first + count) of x. As many elements at once as above.
void slice_channels(Precision precision, const ChannelSlice& slice, std::int64_t pixels, void* y,
                    Stream stream);

struct HeadGradient {
  const float* dy;  // [pixels], or null where nothing depends on it
  OutputHead head;
};
// Of output_heads(): dx f32 [pixels, channels], of up to 2^31 elements; 0 in channels that no head
// reads.
void output_heads_gradient(const HeadGradient& amplitude, const HeadGradient& phase,
                           std::int64_t pixels, int channels, float* dx, Stream stream);

}  // namespace ptynet::cuda
