// The kernel of all convolutions, and the table of what it is made for. The input of a tile with
// its halo comes to shared memory once per chunk of channels and is read from there by every tap;
// the weights of one row of taps after the other come through a ring of kConvStages.
#pragma once

#include "kernels/cuda/activate_all.h"
#include "kernels/cuda/conv_products.h"

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

// Columns of the halo are stored in the order 0, s, 2 s, .., 1, s + 1, .. of the stride s, so that
// what one tap of successive output pixels reads is successive too.
PTYNET_DEVICE int halo_slot(const ConvProblem& p, int column) {
  if (p.stride == 1) return column;
  return column % p.stride * (p.halo_columns / p.stride) + column / p.stride;
}

// Zeros before the first row or column, for a phase of that axis.
PTYNET_DEVICE int padding_of(const ConvProblem& p, int phase) {
  return p.padding - (phase + p.phase_padding) / p.phases;
}

// Copies between global and shared memory, kVectorBytes at a time: asynchronously where arrays are
// aligned to as much, else by single elements.
template <typename Element, bool kAligned>
struct Copier {
  static constexpr int kElements = kVectorBytes / static_cast<int>(sizeof(Element));

  // `count` elements of `from` count, zeros follow; at most a vector.
  PTYNET_DEVICE static void copy(unsigned char* to, const Element* from, int count) {
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

// A block's input as it lies in x: copies of one chunk of channels after the other.
template <typename Element, int kSteps, bool kAligned>
class CopiedInput {
 public:
  PTYNET_DEVICE CopiedInput(const ConvProblem& p, const ConvOperands& operands, const ConvPlace& at)
      : p_(p), operands_(operands), at_(at), input_(dynamic_shared<unsigned char>()) {}

  // Lanes go along a row of the halo, warps from row to row.
  PTYNET_DEVICE void fetch(const ConvStep& step) const {
    const auto* x = static_cast<const Element*>(operands_.x) + at_.group * p_.ci_group;
    const int first_row = at_.row * p_.stride - padding_of(p_, at_.phase_row) + warp();
    const int first_column = at_.column * p_.stride - padding_of(p_, at_.phase_column);
    unsigned char* to_image =
        input_ + (step.input_buffer * p_.halo_pixels + warp() * p_.halo_columns) * kPitch;
    PTYNET_NO_UNROLL
    for (int i = 0; i < 1 << p_.image_bits; ++i) {
      const int image = at_.image + i;
      const std::int64_t row_start = (static_cast<std::int64_t>(image) * p_.h + first_row) * p_.w;
      PTYNET_NO_UNROLL
      for (int l = lane(); l < p_.halo_columns * kVectors; l += kWarpLanes) {
        const int vector = l % kVectors;
        const int column = first_column + l / kVectors;
        const int channel = step.chunk * kChunk + vector * Copies::kElements;
        const bool inside = image < p_.n && column >= 0 && column < p_.w;
        const int count = inside ? p_.ci_group - channel : 0;
        const Element* from = x + (row_start + column) * p_.ci + channel;
        unsigned char* to = to_image + halo_slot(p_, l / kVectors) * kPitch + vector * kVectorBytes;
        PTYNET_NO_UNROLL
        for (int r = warp(), row = first_row; r < p_.halo_rows; r += kConvWarps) {
          const bool valid = count > 0 && row >= 0 && row < p_.h;
          Copies::copy(to, valid ? from : x, valid ? count : 0);
          row += kConvWarps;
          from += static_cast<std::int64_t>(kConvWarps) * p_.w * p_.ci;
          to += kConvWarps * p_.halo_columns * kPitch;
        }
      }
      to_image += p_.halo_rows * p_.halo_columns * kPitch;
    }
  }

  PTYNET_DEVICE void compute() const {}

 private:
  using Copies = Copier<Element, kAligned>;
  static constexpr int kPitch = row_pitch(kSteps);
  static constexpr int kVectors = row_vectors(kSteps);
  static constexpr int kChunk = kVectors * Copies::kElements;  // channels

  const ConvProblem& p_;
  const ConvOperands& operands_;
  const ConvPlace& at_;
  unsigned char* input_;
};

template <typename Math, int kPixels, int kChannels, int kSteps, bool kAligned>
class ConvBlock {
 public:
  using Product = ConvProduct<Math, kPixels, kChannels, kSteps>;
  using Element = typename Product::Element;
  using Copies = Copier<Element, kAligned>;

  PTYNET_DEVICE ConvBlock(const ConvProblem& p, const ConvOperands& operands, const ConvPlace& at)
      : p_(p),
        operands_(operands),
        at_(at),
        input_(dynamic_shared<unsigned char>()),
        weights_(input_ + p.input_buffers * p.halo_pixels * kPitch) {}

  // input.fetch(step) starts the copies of the step's chunk, input.compute() makes what no copy
  // brings, while the first ones are under way.
  template <typename Input>
  PTYNET_DEVICE void run(const Input& input) {
    Product product([this](int pixel) { return input_row(pixel); });
    ConvStep ahead;  // what is fetched next
    PTYNET_NO_UNROLL
    for (int i = 0; i < p_.stages - 1; ++i) fetch(ahead, input);
    input.compute();
    PTYNET_NO_UNROLL
    for (ConvStep step; step.chunk < p_.chunks; step.advance(p_)) {
      if (p_.stages == 2) {
        wait_copies<0>();
      } else {
        wait_copies<1>();
      }
      barrier();  // the step's operands are there, and nobody reads those of the step before
      fetch(ahead, input);
      add_row_of_taps(product, step);
    }
    barrier();  // nobody reads the operands of the last step, whose copies had landed before it
    write(product);
  }

 private:
  static constexpr int kPitch = row_pitch(kSteps);
  static constexpr int kVectors = row_vectors(kSteps);
  static constexpr int kChunk = kVectors * Copies::kElements;  // channels

  // Where the first tap of an output pixel of this warp lies in the tile's input, bytes.
  PTYNET_DEVICE int input_row(int pixel) const {
    const int m = warp() * kPixels + pixel;
    const int column = m & ((1 << p_.column_bits) - 1);
    const int row = m >> p_.column_bits & ((1 << p_.row_bits) - 1);
    const int image = m >> (p_.column_bits + p_.row_bits);
    const int halo_row = image * p_.halo_rows + row * p_.stride;
    return (halo_row * p_.halo_columns + column) * kPitch;
  }

  // Starts the copies of a step; of none after the last, so that waits may count groups.
  template <typename Input>
  PTYNET_DEVICE void fetch(ConvStep& step, const Input& input) {
    if (step.chunk < p_.chunks) {
      if (step.tap_row == 0) input.fetch(step);
      fetch_weights(step);
      step.advance(p_);
    }
    commit_copies();
  }

  PTYNET_DEVICE void fetch_weights(const ConvStep& step) {
    constexpr int kCopies = kChannels * kVectors;  // of one tap
    const int phase = at_.phase_row * p_.phases + at_.phase_column;
    const auto* w = static_cast<const Element*>(operands_.w);
    PTYNET_UNROLL
    for (int first = 0; first < kCopies; first += kConvThreads) {
      const int i = first + thread();
      const int vector = i % kVectors;
      const int output = at_.channel + i / kVectors;
      const int channel = step.chunk * kChunk + vector * Copies::kElements;
      const int count = output < p_.co_group ? p_.ci_group - channel : 0;
      const int filter = phase * p_.co + at_.group * p_.co_group + output;
      const std::int64_t tap =
          (static_cast<std::int64_t>(filter) * p_.taps + step.tap_row) * p_.taps;
      const Element* from = count > 0 ? w + tap * p_.ci_group + channel : w;
      const int next = count > 0 ? p_.ci_group : 0;
      unsigned char* to = weights_ + step.stage * p_.taps * kChannels * kPitch +
                          i / kVectors * kPitch + vector * kVectorBytes;
      if (kCopies % kConvThreads != 0 && i >= kCopies) continue;
      PTYNET_NO_UNROLL
      for (int t = 0; t < p_.taps; ++t) {
        Copies::copy(to, from, count);
        from += next;
        to += kChannels * kPitch;
      }
    }
  }

  PTYNET_DEVICE void add_row_of_taps(Product& product, const ConvStep& step) {
    const int first_pixel = step.input_buffer * p_.halo_pixels + step.tap_row * p_.halo_columns;
    const unsigned char* input = input_ + first_pixel * kPitch;
    const unsigned char* weights = weights_ + step.stage * p_.taps * kChannels * kPitch;
    // As halo_slot(p_, tap), without its division.
    const int next_phase = p_.halo_columns / p_.stride * kPitch;
    const int next_column = p_.stride * next_phase - kPitch;
    int phase = 0;
    PTYNET_NO_UNROLL
    for (int tap = 0; tap < p_.taps; ++tap) {
      product.add_tap(input, weights);
      weights += kChannels * kPitch;
      input += next_phase;
      if (++phase == p_.stride) {
        phase = 0;
        input -= next_column;
      }
    }
  }

  // By way of shared memory, so that what a warp writes is contiguous.
  PTYNET_DEVICE void write(const Product& product) {
    unsigned char* sums = input_;
    product.for_each_pair([&](int pixel, int channel, const Vector<float, 2>& pair) {
      const int offset = (warp() * kPixels + pixel) * sums_pitch(kChannels) + channel * 4;
      store(reinterpret_cast<Vector<float, 2>*>(sums + offset), pair);
    });
    barrier();
    constexpr int kAcross = kChannels / kVectorChannels;
    const int vector = thread() % kAcross;
    const int channel = at_.channel + vector * kVectorChannels;  // within the group
    if (channel >= p_.co_group) return;
    const int first = at_.group * p_.co_group + channel;
    const int count =
        p_.co_group - channel < kVectorChannels ? p_.co_group - channel : kVectorChannels;
    const Vector<float, kVectorChannels> bias = bias_of(first, count);
    PTYNET_NO_UNROLL
    for (int m = thread() / kAcross; m < kConvWarps * kPixels; m += kConvThreads / kAcross) {
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
  unsigned char* input_;
  unsigned char* weights_;
};

// One block per multiprocessor is all that is asked for: else ptxas spills to fit in more.
template <typename Math, int kPixels, int kChannels, int kSteps, bool kAligned>
PTYNET_KERNEL(kConvThreads, 1)
conv_kernel(ConvProblem problem, ConvOperands operands) {
  using Block = ConvBlock<Math, kPixels, kChannels, kSteps, kAligned>;
  const ConvPlace at(problem, kChannels);
  Block(problem, operands, at)
      .run(CopiedInput<typename Block::Element, kSteps, kAligned>(problem, operands, at));
}

struct ConvEntry {
  ConvTile tile;
  int steps;
  bool aligned;
  ConvKernel kernel;  // null: none
};

// Sums that a lane holds in registers beside its operands, which are more without tensor cores.
template <typename Math>
inline constexpr int kMostSums = std::is_same_v<Math, float> ? 64 : 128;

template <typename Math, int kPixels, int kChannels, int kSteps, bool kAligned = true>
constexpr ConvEntry conv_entry() {
  ConvEntry out{{kPixels, kChannels}, kSteps, kAligned, nullptr};
  if constexpr (kPixels * kChannels / kWarpLanes <= kMostSums<Math>) {
    out.kernel = conv_kernel<Math, kPixels, kChannels, kSteps, kAligned>;
  }
  return out;
}

// Instantiated once per Math, in a file of its own: they take a while to compile.
template <typename Math>
ConvKernel find_conv_kernel(const ConvTile& tile, int steps, bool aligned) {
  static constexpr ConvEntry kEntries[] = {
      conv_entry<Math, 16, 16, 1>(),       conv_entry<Math, 16, 16, 2>(),
      conv_entry<Math, 32, 16, 1>(),       conv_entry<Math, 32, 16, 2>(),
      conv_entry<Math, 64, 16, 1>(),       conv_entry<Math, 64, 16, 2>(),
      conv_entry<Math, 16, 32, 1>(),       conv_entry<Math, 16, 32, 2>(),
      conv_entry<Math, 32, 32, 1>(),       conv_entry<Math, 32, 32, 2>(),
      conv_entry<Math, 64, 32, 1>(),       conv_entry<Math, 64, 32, 2>(),
      conv_entry<Math, 32, 64, 1>(),       conv_entry<Math, 32, 64, 2>(),
      conv_entry<Math, 64, 64, 1>(),       conv_entry<Math, 64, 64, 2>(),
      conv_entry<Math, 32, 16, 1, false>()};
  for (const ConvEntry& entry : kEntries) {
    if (entry.tile == tile && entry.steps == steps && entry.aligned == aligned) {
      return entry.kernel;
    }
  }
  return nullptr;
}

}  // namespace ptynet::cuda
