// What the kernels of conv_kernel.h and conv_wgmma_kernel.cu share: where a block stands, the order
// of its steps, which operands it copies, and how its sums become output.
#pragma once

#include "kernels/cuda/activate_all.h"
#include "kernels/cuda/conv_copies.h"

namespace ptynet::cuda {

// Where a block stands in the output.
struct ConvPlace {
  int image, row, column;  // of the tile's first pixel; rows and columns of one phase
  int phase_row, phase_column;
  int group;
  int channel;  // the tile's first, within the group

  PTYNET_DEVICE explicit ConvPlace(const ConvProblem& p, int tile_channels) {
    const int across = block().x % p.tiles_across;
    const int down = block().x / p.tiles_across % p.tiles_down;
    const int images = block().x / p.tiles_across / p.tiles_down;
    column = across << p.column_bits;
    row = down << p.row_bits;
    image = images << p.image_bits;
    phase_row = block().z / p.phases;
    phase_column = block().z % p.phases;
    group = block().y / p.channel_tiles;
    channel = block().y % p.channel_tiles * tile_channels;
  }
};

// One row of taps of one chunk of channels, and where its operands lie in their rings.
struct ConvStep {
  int chunk = 0;
  int tap_row = 0;
  int stage = 0;         // of the weights
  int input_buffer = 0;  // the chunk's

  PTYNET_DEVICE void advance(const ConvProblem& p) {
    stage = stage + 1 == p.stages ? 0 : stage + 1;
    if (++tap_row < p.taps) return;
    tap_row = 0;
    ++chunk;
    input_buffer = input_buffer + 1 == p.input_buffers ? 0 : input_buffer + 1;
  }
};

// Zeros before the first row or column, for a phase of that axis.
PTYNET_DEVICE int padding_of(const ConvProblem& p, int phase) {
  return p.padding - (phase + p.phase_padding) / p.phases;
}

// Where vectors of kVectorBytes of a chunk of channels lie in shared memory.
struct VectorPlaces {
  unsigned char* first;
  int vector_bits;   // log2 of the vectors that a pixel, or an output channel, has in a chunk
  int vector_pitch;  // bytes from one of them to the next
  int pitch;         // and from a pixel or output channel to the next
};

// What a thread copies of a block's operands. visit(to, from, count): `count` elements of `from`
// belong at `to`, as many as fit there; zeros follow. Where count is 0, `from` is not to be read.
template <typename Element>
class ConvInput {
 public:
  static constexpr int kElements = kVectorBytes / static_cast<int>(sizeof(Element));

  PTYNET_DEVICE ConvInput(const ConvProblem& p, const ConvOperands& operands, const ConvPlace& at)
      : p_(p), operands_(operands), at_(at) {}

  // The tile's input with its halo. Lanes go along a row, warps from row to row.
  template <typename Visit>
  PTYNET_DEVICE void for_each_vector(int chunk, const VectorPlaces& places,
                                     const Visit& visit) const {
    const auto* x = static_cast<const Element*>(operands_.x) + at_.group * p_.ci_group;
    const int first_row = at_.row * p_.stride - padding_of(p_, at_.phase_row) + warp();
    const int first_column = at_.column * p_.stride - padding_of(p_, at_.phase_column);
    const int row_pitch = p_.halo_columns * places.pitch;
    unsigned char* to_image = places.first + warp() * row_pitch;
    PTYNET_NO_UNROLL
    for (int i = 0; i < 1 << p_.image_bits; ++i) {
      const int image = at_.image + i;
      const std::int64_t row_start = (static_cast<std::int64_t>(image) * p_.h + first_row) * p_.w;
      PTYNET_NO_UNROLL
      for (int l = lane(); l < p_.halo_columns << places.vector_bits; l += kWarpLanes) {
        const int vector = l & ((1 << places.vector_bits) - 1);
        const int halo_column = l >> places.vector_bits;
        const int column = first_column + halo_column;
        const int channel = ((chunk << places.vector_bits) + vector) * kElements;
        const bool inside = image < p_.n && column >= 0 && column < p_.w;
        const int count = inside ? p_.ci_group - channel : 0;
        const Element* from = x + (row_start + column) * p_.ci + channel;
        unsigned char* to = to_image +
                            halo_slot(halo_column, p_.stride, p_.halo_columns) * places.pitch +
                            vector * places.vector_pitch;
        PTYNET_NO_UNROLL
        for (int r = warp(), row = first_row; r < p_.halo_rows; r += kConvWarps) {
          const bool valid = count > 0 && row >= 0 && row < p_.h;
          visit(to, valid ? from : x, valid ? count : 0);
          row += kConvWarps;
          from += static_cast<std::int64_t>(kConvWarps) * p_.w * p_.ci;
          to += kConvWarps * row_pitch;
        }
      }
      to_image += p_.halo_rows * row_pitch;
    }
  }

  // The weights of a row of taps, the places of one tap `tap_pitch` bytes behind those of the last.
  template <int kChannels, typename Visit>
  PTYNET_DEVICE void for_each_weight(const ConvStep& step, const VectorPlaces& places,
                                     int tap_pitch, const Visit& visit) const {
    const int phase = at_.phase_row * p_.phases + at_.phase_column;
    const auto* w = static_cast<const Element*>(operands_.w);
    PTYNET_NO_UNROLL
    for (int i = thread(); i < kChannels << places.vector_bits; i += kConvThreads) {
      const int vector = i & ((1 << places.vector_bits) - 1);
      const int tile_output = i >> places.vector_bits;
      const int output = at_.channel + tile_output;
      const int channel = ((step.chunk << places.vector_bits) + vector) * kElements;
      const int count = output < p_.co_group ? p_.ci_group - channel : 0;
      const int filter = phase * p_.co + at_.group * p_.co_group + output;
      const std::int64_t tap =
          (static_cast<std::int64_t>(filter) * p_.taps + step.tap_row) * p_.taps;
      const Element* from = count > 0 ? w + tap * p_.ci_group + channel : w;
      const int next = count > 0 ? p_.ci_group : 0;
      unsigned char* to = places.first + tile_output * places.pitch + vector * places.vector_pitch;
      PTYNET_NO_UNROLL
      for (int t = 0; t < p_.taps; ++t) {
        visit(to, from, count);
        from += next;
        to += tap_pitch;
      }
    }
  }

 private:
  const ConvProblem& p_;
  const ConvOperands& operands_;
  const ConvPlace& at_;
};

// Two sums of one pixel, which wait in shared memory to be written.
template <int kChannels>
PTYNET_DEVICE void store_sums(unsigned char* sums, int pixel, int channel,
                              const Vector<float, 2>& pair) {
  const int offset = pixel * sums_pitch(kChannels) + channel * 4;
  store(reinterpret_cast<Vector<float, 2>*>(sums + offset), pair);
}

// Writes a tile's sums with their bias and activation.
template <typename Element>
class ConvOutput {
 public:
  PTYNET_DEVICE ConvOutput(const ConvProblem& p, const ConvOperands& operands, const ConvPlace& at)
      : p_(p), operands_(operands), at_(at) {}

  // As store_sums() left them, in the order of ConvProblem's tile: image, row, column.
  template <int kPixels, int kChannels>
  PTYNET_DEVICE void write(const unsigned char* sums) const {
    constexpr int kAcross = kChannels / kVectorChannels;
    const int vector = thread() % kAcross;
    const int channel = at_.channel + vector * kVectorChannels;  // within the group
    if (channel >= p_.co_group) return;
    const int first = at_.group * p_.co_group + channel;
    const int count =
        p_.co_group - channel < kVectorChannels ? p_.co_group - channel : kVectorChannels;
    const Vector<float, kVectorChannels> bias = bias_of(first, count);
    PTYNET_NO_UNROLL
    for (int m = thread() / kAcross; m < kPixels; m += kConvThreads / kAcross) {
      Element* to = output_pixel(m);
      if (to == nullptr) continue;
      const unsigned char* from = sums + m * sums_pitch(kChannels) + vector * kVectorBytes;
      Vector<float, kVectorChannels> v =
          load(reinterpret_cast<const Vector<float, kVectorChannels>*>(from));
      PTYNET_UNROLL
      for (int i = 0; i < kVectorChannels; ++i) v[i] += bias[i];
      activate_all(v, p_.activation);
      Vector<Element, kVectorChannels> out;
      PTYNET_UNROLL
      for (int i = 0; i < kVectorChannels; ++i) out[i] = from_float<Element>(v[i]);
      write_channels(to + first, out, count);
    }
  }

 private:
  PTYNET_DEVICE Vector<float, kVectorChannels> bias_of(int first, int count) const {
    Vector<float, kVectorChannels> out;
    PTYNET_UNROLL
    for (int i = 0; i < kVectorChannels; ++i) {
      out[i] = operands_.b != nullptr && i < count ? load_readonly(operands_.b + first + i) : 0.0F;
    }
    return out;
  }

  // The first channel of pixel m of the tile; null outside of the output.
  PTYNET_DEVICE Element* output_pixel(int m) const {
    const int column = at_.column + (m & ((1 << p_.column_bits) - 1));
    const int row = at_.row + (m >> p_.column_bits & ((1 << p_.row_bits) - 1));
    const int image = at_.image + (m >> (p_.column_bits + p_.row_bits));
    const int y_row = row * p_.phases + at_.phase_row;
    const int y_column = column * p_.phases + at_.phase_column;
    if (image >= p_.n || y_row >= p_.oh || y_column >= p_.ow) return nullptr;
    const std::int64_t pixel =
        (static_cast<std::int64_t>(image) * p_.oh + y_row) * p_.ow + y_column;
    return static_cast<Element*>(operands_.y) + pixel * p_.co;
  }

  PTYNET_DEVICE void write_channels(Element* to, const Vector<Element, kVectorChannels>& v,
                                    int count) const {
    if (p_.whole_vectors) {
      store(reinterpret_cast<Vector<Element, kVectorChannels>*>(to), v);
    } else {
      PTYNET_UNROLL
      for (int i = 0; i < kVectorChannels; ++i) {
        if (i < count) store(to + i, v[i]);
      }
    }
  }

  const ConvProblem& p_;
  const ConvOperands& operands_;
  const ConvPlace& at_;
};

}  // namespace ptynet::cuda
