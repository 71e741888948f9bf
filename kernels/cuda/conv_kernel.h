// The kernel of all convolutions, and the table of what it is made for. The input of a tile with
// its halo comes to shared memory once per chunk of channels and is read from there by every tap;
// the weights of one row of taps after the other come through a ring of kConvStages.
#pragma once

#include "kernels/cuda/conv_products.h"
#include "kernels/cuda/conv_tile.h"

namespace ptynet::cuda {

// log2 of row_vectors().
template <int kSteps>
PTYNET_HOST_DEVICE constexpr int row_vector_bits() {
  static_assert(row_vectors(kSteps) == 1 << kSteps);
  return kSteps;
}

// A block's input as it lies in x: copies of one chunk of channels after the other.
template <typename Element, int kSteps, bool kAligned>
class CopiedInput {
 public:
  PTYNET_DEVICE CopiedInput(const ConvProblem& p, const ConvOperands& operands, const ConvPlace& at)
      : p_(p), input_(p, operands, at) {}

  PTYNET_DEVICE void fetch(const ConvStep& step) const {
    constexpr int kPitch = row_pitch(kSteps);
    unsigned char* first =
        dynamic_shared<unsigned char>() + step.input_buffer * p_.halo_pixels * kPitch;
    input_.for_each_vector(step.chunk, {first, row_vector_bits<kSteps>(), kVectorBytes, kPitch},
                           Copier<Element, kAligned>{});
  }

  PTYNET_DEVICE void compute() const {}

 private:
  const ConvProblem& p_;
  ConvInput<Element> input_;
};

template <typename Math, int kPixels, int kChannels, int kSteps, bool kAligned>
class ConvBlock {
 public:
  using Product = ConvProduct<Math, kPixels, kChannels, kSteps>;
  using Element = typename Product::Element;

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
    unsigned char* first = weights_ + step.stage * p_.taps * kChannels * kPitch;
    ConvInput<Element>(p_, operands_, at_)
        .template for_each_weight<kChannels>(
            step, {first, row_vector_bits<kSteps>(), kVectorBytes, kPitch}, kChannels * kPitch,
            Copier<Element, kAligned>{});
  }

  PTYNET_DEVICE void add_row_of_taps(Product& product, const ConvStep& step) {
    const int first_pixel = step.input_buffer * p_.halo_pixels + step.tap_row * p_.halo_columns;
    const unsigned char* input = input_ + first_pixel * kPitch;
    const unsigned char* weights = weights_ + step.stage * p_.taps * kChannels * kPitch;
    // As halo_slot() of the tap, without its division.
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
      store_sums<kChannels>(sums, warp() * kPixels + pixel, channel, pair);
    });
    barrier();
    ConvOutput<Element>(p_, operands_, at_).template write<kConvWarps * kPixels, kChannels>(sums);
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
