// The kernel of convolutions by wgmma, compiled for sm_90a alone. A block is one warpgroup; its
// operands come to shared memory as in conv_kernel.h, but in planes, where descriptors find every
// tap's input without a copy of its own.
#include <type_traits>

#include "kernels/cuda/conv_tile.h"
#include "kernels/cuda/conv_wgmma_problem.h"

namespace ptynet::cuda {

namespace {

static_assert(kConvThreads == kWarpgroupThreads);

template <typename Math, int kPixels, int kChannels, int kSteps>
class WgmmaBlock {
 public:
  using Element = std::conditional_t<std::is_same_v<Math, Tf32>, float, Math>;

  PTYNET_DEVICE WgmmaBlock(const WgmmaProblem& problem, const ConvOperands& operands)
      : problem_(problem),
        p_(problem.conv),
        operands_(operands),
        at_(p_, kChannels),
        input_(dynamic_shared<unsigned char>()),
        weights_(input_ + p_.input_buffers * input_bytes()) {
    PTYNET_UNROLL
    for (int s = 0; s < kSquares; ++s) {
      PTYNET_UNROLL
      for (float& sum : sums_[s]) sum = 0;
    }
  }

  PTYNET_DEVICE void run() {
    ConvStep ahead;  // what is fetched next
    PTYNET_NO_UNROLL
    for (int i = 0; i < p_.stages - 2; ++i) fetch(ahead);
    // Loops over products run at least once, and say so: else ptxas sees a way on which the sums
    // are set while products are under way, and lets each product wait for the last.
    ConvStep step;
    PTYNET_NO_UNROLL
    do {
      if (p_.stages == 3) {
        wait_copies<0>();
      } else {
        wait_copies<1>();
      }
      round_copies(step);
      fence_async_proxy();
      warpgroup_wait<1>();
      // The step's operands are there, and nobody reads those of the step before the last, where
      // fetch() copies to. The products of the last step's last tap go on.
      barrier();
      multiply(step);
      fetch(ahead);
      step.advance(p_);
    } while (step.chunk < p_.chunks);
    warpgroup_wait<0>();
    barrier();  // nobody reads the operands any more
    write();
  }

 private:
  static_assert(kSteps == 1 || kSteps == 2);
  static constexpr int kVectorBits = kSteps;  // log2 of the vectors of a chunk
  static constexpr int kSquares = kPixels * kConvWarps / kSquarePixels;

  PTYNET_DEVICE int input_bytes() const { return problem_.input_plane << kVectorBits; }
  PTYNET_DEVICE int tap_bytes() const { return problem_.weights_plane << kVectorBits; }
  PTYNET_DEVICE unsigned char* input_of(const ConvStep& step) const {
    return input_ + step.input_buffer * input_bytes();
  }
  PTYNET_DEVICE unsigned char* weights_of(const ConvStep& step) const {
    return weights_ + step.stage * p_.taps * tap_bytes();
  }

  // Starts the copies of a step; of none after the last, so that waits may count groups.
  PTYNET_DEVICE void fetch(ConvStep& step) {
    if (step.chunk < p_.chunks) {
      for_each_copy(step, [](unsigned char* to, const Element* from, int count) {
        copy_async<kVectorBytes>(to, from, count > 0);
      });
      step.advance(p_);
    }
    commit_copies();
  }

  // Tensor cores would drop the last bits of tf32: each thread rounds what it copied itself.
  PTYNET_DEVICE void round_copies(const ConvStep& step) {
    if constexpr (std::is_same_v<Math, Tf32>) {
      for_each_copy(step, [](unsigned char* to, const Element*, int) {
        auto* vector = reinterpret_cast<Vector<std::uint32_t, 4>*>(to);
        Vector<std::uint32_t, 4> v = load(vector);
        PTYNET_UNROLL
        for (std::uint32_t& bits : v.at) bits = round_tf32(bits);
        store(vector, v);
      });
    }
  }

  template <typename Visit>
  PTYNET_DEVICE void for_each_copy(const ConvStep& step, const Visit& visit) const {
    const ConvInput<Element> input(p_, operands_, at_);
    if (step.tap_row == 0) {
      input.for_each_vector(
          step.chunk, {input_of(step), kVectorBits, problem_.input_plane, kVectorBytes}, visit);
    }
    input.template for_each_weight<kChannels>(
        step, {weights_of(step), kVectorBits, problem_.weights_plane, kVectorBytes}, tap_bytes(),
        visit);
  }

  // Where a square stands in the tile.
  struct Square {
    int image, row, column;
  };
  PTYNET_DEVICE Square square(int s) const {
    const int across = p_.column_bits - kSquareBits;
    const int down = p_.row_bits - kSquareBits;
    return {s >> (across + down), (s >> across & ((1 << down) - 1)) << kSquareBits,
            (s & ((1 << across) - 1)) << kSquareBits};
  }

  PTYNET_DEVICE void multiply(const ConvStep& at) {
    constexpr int kCoreBytes = 128;
    constexpr int kStepVectors = kStepBytes / kVectorBytes;
    const int halo_row = p_.halo_columns * kVectorBytes;
    const SharedMatrix input = shared_matrix(input_of(at) + at.tap_row * halo_row,
                                             problem_.input_plane, p_.stride * halo_row);
    SharedMatrix weights = shared_matrix(weights_of(at), problem_.weights_plane, kCoreBytes);
    int square_start[kSquares];
    PTYNET_UNROLL
    for (int s = 0; s < kSquares; ++s) {
      const auto [image, row, column] = square(s);
      square_start[s] = (image * p_.halo_rows + row * p_.stride) * halo_row + column * kVectorBytes;
    }
    int tap = 0;
    PTYNET_NO_UNROLL
    do {
      SharedMatrix pixels = input.moved(halo_slot(tap, p_.stride, p_.halo_columns) * kVectorBytes);
      warpgroup_fence();
      PTYNET_UNROLL
      for (int step = 0; step < kSteps; ++step) {
        PTYNET_UNROLL
        for (int s = 0; s < kSquares; ++s) {
          warpgroup_mma<Math>(sums_[s], pixels.moved(square_start[s]), weights);
        }
        pixels = pixels.moved(kStepVectors * problem_.input_plane);
        weights = weights.moved(kStepVectors * problem_.weights_plane);
      }
      warpgroup_commit();
      ++tap;
    } while (tap < p_.taps);
  }

  // By way of shared memory, so that what a warp writes is contiguous.
  PTYNET_DEVICE void write() {
    unsigned char* sums = input_;
    PTYNET_UNROLL
    for (int s = 0; s < kSquares; ++s) {
      float v[kChannels / 2];
      take_sums(v, sums_[s]);
      // The warp's 16 pixels of a square are two rows of it.
      const auto [image, square_row, column] = square(s);
      const int row = (image << p_.row_bits) + square_row + 2 * warp();
      const int pixel = (row << p_.column_bits) + column + lane() / 4;
      PTYNET_UNROLL
      for (int j = 0; j < kChannels / 8; ++j) {
        const int channel = j * 8 + lane() % 4 * 2;
        store_sums<kChannels>(sums, pixel, channel, {{v[4 * j], v[4 * j + 1]}});
        store_sums<kChannels>(sums, pixel + (1 << p_.column_bits), channel,
                              {{v[4 * j + 2], v[4 * j + 3]}});
      }
    }
    barrier();
    ConvOutput<Element>(p_, operands_, at_).template write<kPixels * kConvWarps, kChannels>(sums);
  }

  const WgmmaProblem& problem_;
  const ConvProblem& p_;
  const ConvOperands& operands_;
  ConvPlace at_;
  unsigned char* input_;
  unsigned char* weights_;
  float sums_[kSquares][kChannels / 2];
};

template <typename Math, int kPixels, int kChannels, int kSteps>
PTYNET_KERNEL(kConvThreads, 2)
wgmma_kernel(WgmmaProblem problem, ConvOperands operands) {
  WgmmaBlock<Math, kPixels, kChannels, kSteps>(problem, operands).run();
}

struct WgmmaEntry {
  ConvTile tile;
  int steps;
  WgmmaKernel kernel;
};

template <typename Math, int kPixels, int kChannels, int kSteps>
constexpr WgmmaEntry wgmma_entry() {
  return {{kPixels, kChannels}, kSteps, wgmma_kernel<Math, kPixels, kChannels, kSteps>};
}

template <typename Math>
WgmmaKernel find(const ConvTile& tile, int steps) {
  static constexpr WgmmaEntry kEntries[] = {
      wgmma_entry<Math, 16, 16, 1>(),  wgmma_entry<Math, 16, 16, 2>(),
      wgmma_entry<Math, 32, 16, 1>(),  wgmma_entry<Math, 32, 16, 2>(),
      wgmma_entry<Math, 64, 16, 1>(),  wgmma_entry<Math, 64, 16, 2>(),
      wgmma_entry<Math, 16, 32, 1>(),  wgmma_entry<Math, 16, 32, 2>(),
      wgmma_entry<Math, 32, 32, 1>(),  wgmma_entry<Math, 32, 32, 2>(),
      wgmma_entry<Math, 64, 32, 1>(),  wgmma_entry<Math, 64, 32, 2>(),
      wgmma_entry<Math, 16, 64, 1>(),  wgmma_entry<Math, 16, 64, 2>(),
      wgmma_entry<Math, 32, 64, 1>(),  wgmma_entry<Math, 32, 64, 2>(),
      wgmma_entry<Math, 64, 64, 1>(),  wgmma_entry<Math, 64, 64, 2>(),
      wgmma_entry<Math, 16, 128, 1>(), wgmma_entry<Math, 16, 128, 2>(),
      wgmma_entry<Math, 32, 128, 1>(), wgmma_entry<Math, 32, 128, 2>()};
  for (const WgmmaEntry& entry : kEntries) {
    if (entry.tile == tile && entry.steps == steps) return entry.kernel;
  }
  return nullptr;
}

}  // namespace

WgmmaKernel find_wgmma_kernel(const ConvTile& tile, int steps, Precision precision) {
  switch (precision) {
    case Precision::kTf32:
      return find<Tf32>(tile, steps);
    case Precision::kBf16:
      return find<Bfloat16>(tile, steps);
    case Precision::kF16:
      return find<Half>(tile, steps);
    case Precision::kF32:
      return nullptr;
  }
  return nullptr;
}

}  // namespace ptynet::cuda
