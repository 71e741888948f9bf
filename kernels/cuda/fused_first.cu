#include <algorithm>

#include "kernels/cuda/conv_kernel.h"
#include "kernels/cuda/fused_first.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/thin_input.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

// The convolution of the frames. Its output is the problem's input.
struct FirstLayer {
  const void* weights;  // [channels, taps, taps]
  const float* bias;    // [channels] or null
  int h, w;             // of a frame
  int taps, padding;
  Activation activation;
  int shared_at;  // where its operands lie in shared memory, bytes
};

// Between rows of a frame in shared memory: successive pixels of the halo are read from different
// banks, also where a row ends among them.
PTYNET_HOST_DEVICE int frame_pitch(const ConvProblem& p) { return p.halo_columns + kWarpLanes; }

// A pixel of the halos of a tile's images, which follow each other, and how to go on.
struct HaloPixel {
  int image = 0;
  int row = 0;
  int column = 0;

  // Without a division: there are few rows in `pixels`.
  PTYNET_DEVICE void advance(const ConvProblem& p, int pixels) {
    column += pixels;
    PTYNET_NO_UNROLL
    while (column >= p.halo_columns) {
      column -= p.halo_columns;
      ++row;
    }
    PTYNET_NO_UNROLL
    while (row >= p.halo_rows) {
      row -= p.halo_rows;
      ++image;
    }
  }
};

// A block's input as the first layer makes it of the frames: computed at once and put where
// CopiedInput would put it. The lanes of a warp go over the pixels, so that they read weights
// together, and the warps share out the vectors of channels.
template <typename Element, int kSteps>
class FirstLayerInput {
 public:
  PTYNET_DEVICE FirstLayerInput(const ConvProblem& p, const ConvOperands& operands,
                                const FirstLayer& first, const ConvPlace& at)
      : p_(p),
        first_(first),
        frames_(static_cast<const Element*>(operands.x)),
        image_(at.image),
        row_(at.row * p.stride - p.padding),
        column_(at.column * p.stride - p.padding),
        frame_rows_(p.halo_rows + first.taps - 1),
        frame_pitch_(frame_pitch(p)),
        input_(dynamic_shared<unsigned char>()),
        weights_(reinterpret_cast<float*>(input_ + first.shared_at)),
        pixels_(weights_ + (first.taps * first.taps + 1) * kChannels) {}

  PTYNET_DEVICE void fetch(const ConvStep&) const {}

  PTYNET_DEVICE void compute() const {
    fetch_weights();
    fetch_frames();
    barrier();
    HaloPixel at;
    at.advance(p_, warp() / kVectors * kWarpLanes + lane());
    PTYNET_NO_UNROLL
    while (at.image < 1 << p_.image_bits) compute_pixels(at);
  }

 private:
  static constexpr int kPitch = row_pitch(kSteps);
  static constexpr int kVectors = row_vectors(kSteps);     // of a pixel
  static constexpr int kVector = kPerAccess<Element>;      // channels that a thread computes
  static constexpr int kChannels = kVectors * kVector;     // of the first layer
  static constexpr int kAcross = kConvThreads / kVectors;  // pixels that the block computes
  // That a thread computes together, kAcross apart. Five leave few places empty in the halos of 64
  // and 128 pixels at stride 2, which have 306 and 594.
  static constexpr int kPixels = 5;

  // As floats, the bias and then [tap][channel].
  PTYNET_DEVICE void fetch_weights() const {
    const auto* w = static_cast<const Element*>(first_.weights);
    const int taps = first_.taps * first_.taps;
    PTYNET_NO_UNROLL
    for (int i = thread(); i < taps * kChannels; i += kConvThreads) {
      store(weights_ + (i % taps + 1) * kChannels + i / taps, to_float(load_readonly(w + i)));
    }
    if (thread() < kChannels) {
      store(weights_ + thread(),
            first_.bias != nullptr ? load_readonly(first_.bias + thread()) : 0.0F);
    }
  }

  PTYNET_DEVICE void fetch_frames() const {
    PTYNET_NO_UNROLL
    for (int i = 0; i < 1 << p_.image_bits; ++i) {
      const int image = image_ + i;
      const int h = image < p_.n ? first_.h : 0;  // beyond the batch all is zeros
      fetch_frame(frames_ + static_cast<std::int64_t>(image) * first_.h * first_.w, h, first_.w,
                  {row_ - first_.padding, column_ - first_.padding, frame_rows_,
                   p_.halo_columns + first_.taps - 1, frame_pitch_},
                  pixels_ + i * frame_rows_ * frame_pitch_);
    }
  }

  // A vector of kPixels pixels from `at` on, which goes on to those after them.
  PTYNET_DEVICE void compute_pixels(HaloPixel& at) const {
    const int vector = warp() % kVectors;
    const float* weights = weights_ + vector * kVector;
    Vector<float, kVector> bias;
    PTYNET_UNROLL
    for (int c = 0; c < kVector; ++c) bias[c] = load(weights + c);
    Vector<float, kVector> sums[kPixels];
    const float* pixels[kPixels];
    int to[kPixels];  // bytes; below 0 beyond the halo
    bool is_inside[kPixels];
    PTYNET_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      const bool exists = at.image < 1 << p_.image_bits;
      const int pixel = (at.image * frame_rows_ + at.row) * frame_pitch_ + at.column;
      pixels[i] = pixels_ + (exists ? pixel : 0);
      to[i] = exists ? slot_of(at) * kPitch + vector * kVectorBytes : -1;
      is_inside[i] = is_in_image(row_ + at.row, column_ + at.column);
      sums[i] = bias;
      at.advance(p_, kAcross);
    }
    PTYNET_NO_UNROLL
    for (int u = 0; u < first_.taps; ++u) {
      PTYNET_NO_UNROLL
      for (int v = 0; v < first_.taps; ++v) {
        weights += kChannels;
        add_thin_tap(pixels, u * frame_pitch_ + v, weights, sums);
      }
    }
    PTYNET_UNROLL
    for (int i = 0; i < kPixels; ++i) {
      if (to[i] < 0) continue;
      activate_all(sums[i], first_.activation);
      if (!is_inside[i]) sums[i] = {};  // the second layer's padding
      store_floats(reinterpret_cast<Element*>(input_ + to[i]), sums[i]);
    }
  }

  // As halo_slot(), without its divisions, for stride 1 or 2.
  PTYNET_DEVICE int slot_of(const HaloPixel& at) const {
    const int bits = p_.stride - 1;
    const int slot = (at.column & bits) * (p_.halo_columns >> bits) + (at.column >> bits);
    return (at.image * p_.halo_rows + at.row) * p_.halo_columns + slot;
  }

  PTYNET_DEVICE bool is_in_image(int row, int column) const {
    return row >= 0 && row < p_.h && column >= 0 && column < p_.w;
  }

  const ConvProblem& p_;
  const FirstLayer& first_;
  const Element* frames_;
  int image_, row_, column_;      // of the halo's first pixel
  int frame_rows_, frame_pitch_;  // of what the halo of one image is made of
  unsigned char* input_;
  float* weights_;
  float* pixels_;  // of the frames
};

// The first layer has kChannels channels, which are one chunk, and the second one at most as many.
template <typename Math, int kPixels, int kChannels, int kSteps>
PTYNET_KERNEL(kConvThreads, 1)
fused_first_kernel(ConvProblem problem, ConvOperands operands, FirstLayer first) {
  using Block = ConvBlock<Math, kPixels, kChannels, kSteps, true>;
  const ConvPlace at(problem, kChannels);
  Block(problem, operands, at)
      .run(FirstLayerInput<typename Block::Element, kSteps>(problem, operands, first, at));
}

using FusedKernel = void (*)(ConvProblem, ConvOperands, FirstLayer);

struct FusedEntry {
  ConvTile tile;
  FusedKernel kernel;  // null: none
};

template <typename Math, int kPixels, int kChannels>
constexpr FusedEntry fused_entry() {
  using Element = typename ConvProduct<Math, kPixels, kChannels, 1>::Element;
  constexpr int kSteps = kChannels * static_cast<int>(sizeof(Element)) / kStepBytes;
  FusedEntry out{{kPixels, kChannels}, nullptr};
  if constexpr (kSteps <= 2) out.kernel = fused_first_kernel<Math, kPixels, kChannels, kSteps>;
  return out;
}

template <typename Math>
FusedKernel find_fused_kernel(const ConvTile& tile) {
  static constexpr FusedEntry kEntries[] = {
      fused_entry<Math, 16, 16>(), fused_entry<Math, 32, 16>(), fused_entry<Math, 64, 16>(),
      fused_entry<Math, 16, 32>(), fused_entry<Math, 32, 32>(), fused_entry<Math, 64, 32>()};
  for (const FusedEntry& entry : kEntries) {
    if (entry.tile == tile) return entry.kernel;
  }
  return nullptr;
}

FusedKernel find_kernel(Precision precision, const ConvTile& tile) {
  return with_math(precision, [&](auto math) { return find_fused_kernel<decltype(math)>(tile); });
}

// Of the second layer's rings, the first layer's weights and bias, and the frames.
std::size_t operand_bytes(const ConvPlan& plan, const ConvShape& first) {
  const ConvProblem& p = plan.problem;
  const int pixels = ((p.halo_rows + first.kernel - 1) * frame_pitch(p)) << p.image_bits;
  const int floats = (first.kernel * first.kernel + 1) * first.co + pixels;
  return plan.ring_bytes + static_cast<std::size_t>(floats) * sizeof(float);
}

// Of any number of channels.
bool is_pair(const ConvShape& first, const ConvShape& second) {
  const int grown = 2 * first.padding - first.kernel + 1;
  const bool expands = first.ci == 1 && first.groups == 1 && first.stride == 1 &&
                       (first.kernel == 1 || first.kernel == 3 || first.kernel == 5);
  const bool follows = second.n == first.n && second.h == first.h + grown &&
                       second.w == first.w + grown && second.ci == first.co;
  return expands && follows && second.groups == 1 && second.stride <= 2 && second.co <= first.co;
}

}  // namespace

bool is_fused_first(const ConvPairShape& shape, Precision precision) {
  return !fused_first_tiles(shape, precision).empty();
}

std::vector<ConvTile> fused_first_tiles(const ConvPairShape& shape, Precision precision) {
  if (!is_pair(shape.first, shape.second)) return {};
  const std::size_t most = most_shared_bytes();
  const auto runs = [&](const ConvPlan& plan) {
    return plan.tile.channels == shape.first.co && find_kernel(precision, plan.tile) != nullptr &&
           std::max(operand_bytes(plan, shape.first), plan.shared_bytes) <= most;
  };
  return tiles_that_run(conv_problem(shape.second), precision, runs);
}

ConvTile suggest_fused_first_tile(const ConvPairShape& shape, Precision precision,
                                  int multiprocessors) {
  return suggest_tile(fused_first_tiles(shape, precision), conv_problem(shape.second), precision,
                      multiprocessors);
}

void fused_first(const ConvPairShape& shape, Precision precision, const ConvPairOperands& operands,
                 const ConvTile& tile, Stream stream) {
  constexpr const char* kName = "fused_first";
  const ConvOperands conv{operands.x, operands.second_w, operands.second_b, operands.y,
                          operands.f32_result};
  expect_array_result(kName, precision, conv);
  const std::vector<ConvTile> tiles = fused_first_tiles(shape, precision);
  const ConvShape& first = shape.first;
  const ConvShape& second = shape.second;
  if (std::find(tiles.begin(), tiles.end(), tile) == tiles.end()) {
    fail_runtime(
        kName,
        " takes a convolution of one channel to 16 (fp16 and bf16: or 32) with kernel 1, 3 "
        "or 5 and stride 1, then one to at most as many with stride 1 or 2, both in one "
        "group, and a tile of fused_first_tiles(), found ",
        first.ci, " -> ", first.co, ", kernel ", first.kernel, ", stride ", first.stride, ", and ",
        second.ci, " -> ", second.co, ", kernel ", second.kernel, ", stride ", second.stride,
        ", a tile of ", tile.pixels_per_warp, " pixels x ", tile.channels,
        " channels: use thin_conv2d and conv2d");
  }
  if (!are_aligned(kVectorBytes, operands.second_w)) {
    fail_runtime(kName, ": expected weights of the second convolution aligned to ", kVectorBytes,
                 " bytes, found ", operands.second_w, ": use thin_conv2d and conv2d");
  }
  ConvPlan plan = plan_convolution(conv_problem(second), tile, precision, true);
  plan.problem.whole_vectors = takes_whole_vectors(plan.problem, operands.y);
  const FirstLayer layer{
      operands.first_w, operands.first_b, first.h,          first.w,
      first.kernel,     first.padding,    first.activation, static_cast<int>(plan.ring_bytes)};
  const std::size_t bytes = std::max(operand_bytes(plan, first), plan.shared_bytes);
  launch(kName, find_kernel(precision, tile), LaunchShape{plan.blocks, kConvThreads, bytes}, stream,
         plan.problem, conv, layer);
}

}  // namespace ptynet::cuda
