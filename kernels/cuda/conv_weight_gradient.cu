#include <algorithm>

#include "kernels/cuda/add_parts.h"
#include "kernels/cuda/conv_copies.h"
#include "kernels/cuda/conv_weight_gradient.h"
#include "kernels/cuda/conv_weight_products.h"
#include "kernels/cuda/launching.h"

namespace ptynet::cuda {

namespace {

constexpr int kMostWarps = 10;  // two slices of all rows of a kernel of 5 taps
constexpr int kMostSlices = 4;
// Per multiprocessor, that the work is split for: as many as have their sums in registers.
constexpr int kWarpsEach = 12;

struct WeightProblem {
  ConvProblem conv;  // cut into tiles of kWeightPixels
  int x_tiles;       // of slices of a group's input channels
  int dz_tiles;      // of a group's output channels
  int slice_bits;    // log2 of the slices of a block
  int row_parts;     // that a row of taps is cut into, of kMostRowTaps
  int runs;          // such parts that a block computes, each in a warp per slice
  int run_tiles;
  int tiles;   // of pixels, of all images
  int splits;  // shares of them
  std::int64_t weights;
  bool x_aligned, dz_aligned;  // all vectors of channels
  bool pairs;                  // of weights may be written at once
};

int divide_up(int a, int b) { return (a + b - 1) / b; }

// Where the tile's first output pixel stands.
struct TilePlace {
  int image, row, column;

  PTYNET_DEVICE TilePlace(const ConvProblem& p, int tile)
      : image(tile / p.tiles_across / p.tiles_down << p.image_bits),
        row(tile / p.tiles_across % p.tiles_down << p.row_bits),
        column(tile % p.tiles_across << p.column_bits) {}
};

// A block sums the products of some output and some input channels of a group over its share of
// the pixels; each warp has a run of taps of one row, and a slice of the input channels. The next
// tile's operands, its input with the halo that all taps share, come while one is multiplied.
template <typename Math, int kOutputs>
class WeightBlock {
 public:
  using Product = WeightProduct<Math, kOutputs>;
  using Element = typename Product::Element;

  PTYNET_DEVICE WeightBlock(const WeightProblem& p, const WeightGradient& arrays)
      : p_(p),
        arrays_(arrays),
        group_(block().y / p.dz_tiles),
        output_(block().y % p.dz_tiles * kOutputs),
        input_((block().x / p.run_tiles * kSlice) << p.slice_bits),
        x_pitch_(pixel_pitch(kSlice << p.slice_bits)),
        buffers_(dynamic_shared<Element>()) {
    const int run = block().x % p.run_tiles * p.runs + (warp() >> p.slice_bits);
    tap_row_ = run / p.row_parts;
    tap_column_ = run % p.row_parts * kMostRowTaps;
    const int left = p.conv.taps - tap_column_;
    taps_ = tap_row_ >= p.conv.taps ? 0 : (left < kMostRowTaps ? left : kMostRowTaps);
  }

  PTYNET_DEVICE void run() {
    const auto share = [this](int split) {
      return static_cast<int>(std::int64_t{p_.tiles} * split / p_.splits);
    };
    const int end = share(block().z + 1);
    WeightTile<Element> tile = operands();
    Product product;
    int tile_index = share(block().z);
    fetch(tile_index, 0);
    commit_copies();
    PTYNET_NO_UNROLL
    for (int buffer = 0; tile_index < end; buffer ^= 1) {
      wait_copies<0>();
      barrier();  // the tile's operands are there, and nobody reads those of the tile before
      if (++tile_index < end) fetch(tile_index, buffer ^ 1);
      commit_copies();
      tile.x = x_of(buffer) + slice() * kSlice;
      tile.dz = dz_of(buffer);
      product.add_tile(tile, [this](int pixel) { return x_row(pixel); });
    }
    write(product);
  }

 private:
  static constexpr int kElements = kVectorBytes / static_cast<int>(sizeof(Element));
  static constexpr int kSliceVectors = kSlice / kElements;
  static constexpr int kOutputVectors = kOutputs / kElements;
  static constexpr int kDzElements = kWeightPixels * pixel_pitch(kOutputs);

  PTYNET_DEVICE int slice() const { return warp() & ((1 << p_.slice_bits) - 1); }
  PTYNET_DEVICE Element* dz_of(int buffer) const { return buffers_ + buffer * kDzElements; }
  PTYNET_DEVICE Element* x_of(int buffer) const {
    return buffers_ + 2 * kDzElements + buffer * p_.conv.halo_pixels * x_pitch_;
  }

  PTYNET_DEVICE int slot(int column) const {
    return halo_slot(column, p_.conv.stride, p_.conv.halo_columns);
  }

  // But for the tile's own addresses.
  PTYNET_DEVICE WeightTile<Element> operands() const {
    WeightTile<Element> out{nullptr, nullptr, x_pitch_, 1 << p_.conv.column_bits, taps_, {}};
    PTYNET_UNROLL
    for (int t = 0; t < kMostRowTaps; ++t) {
      out.offset[t] = (tap_row_ * p_.conv.halo_columns + slot(tap_column_ + t)) * x_pitch_;
    }
    return out;
  }

  // Where the first tap of an output pixel lies in the tile's input.
  PTYNET_DEVICE int x_row(int pixel) const {
    const ConvProblem& p = p_.conv;
    const int column = pixel & ((1 << p.column_bits) - 1);
    const int row = pixel >> p.column_bits & ((1 << p.row_bits) - 1);
    const int image = pixel >> (p.column_bits + p.row_bits);
    return ((image * p.halo_rows + row * p.stride) * p.halo_columns + column) * x_pitch_;
  }

  PTYNET_DEVICE void fetch(int tile, int buffer) {
    const TilePlace at(p_.conv, tile);
    fetch_x(at, x_of(buffer));
    fetch_dz(at, dz_of(buffer));
  }

  // A vector of the first `count` elements of `from`, then zeros; all zeros from 0 down.
  PTYNET_DEVICE static void copy(Element* to, const Element* from, int count, bool aligned) {
    auto* bytes = reinterpret_cast<unsigned char*>(to);
    if (aligned) {
      Copier<Element, true>{}(bytes, from, count);
    } else {
      Copier<Element, false>{}(bytes, from, count);
    }
  }

  // Lanes go along a row of the halo, warps from row to row.
  PTYNET_DEVICE void fetch_x(const TilePlace& at, Element* to) {
    const ConvProblem& p = p_.conv;
    const auto* x = static_cast<const Element*>(arrays_.x);
    const int vectors = kSliceVectors << p_.slice_bits;
    const int first_column = at.column * p.stride - p.padding;
    PTYNET_NO_UNROLL
    for (int r = warp(); r < p.halo_rows << p.image_bits; r += threads() / kWarpLanes) {
      const int image = at.image + r / p.halo_rows;
      const int row = at.row * p.stride - p.padding + r % p.halo_rows;
      const bool inside = image < p.n && row >= 0 && row < p.h;
      const std::int64_t row_start = (static_cast<std::int64_t>(image) * p.h + row) * p.w;
      PTYNET_NO_UNROLL
      for (int l = lane(); l < p.halo_columns * vectors; l += kWarpLanes) {
        const int column = first_column + l / vectors;
        const int channel = input_ + l % vectors * kElements;
        const bool valid = inside && column >= 0 && column < p.w;
        const std::int64_t from = (row_start + column) * p.ci + group_ * p.ci_group + channel;
        const int place = r * p.halo_columns + slot(l / vectors);
        copy(to + place * x_pitch_ + l % vectors * kElements, valid ? x + from : x,
             valid ? p.ci_group - channel : 0, p_.x_aligned);
      }
    }
  }

  // Pixels beyond the output are zeros: they add nothing, whatever x holds there.
  PTYNET_DEVICE void fetch_dz(const TilePlace& at, Element* to) {
    const ConvProblem& p = p_.conv;
    const auto* dz = static_cast<const Element*>(arrays_.dz);
    PTYNET_NO_UNROLL
    for (int i = thread(); i < kWeightPixels * kOutputVectors; i += threads()) {
      const int pixel = i / kOutputVectors;
      const int channel = output_ + i % kOutputVectors * kElements;
      const int column = at.column + (pixel & ((1 << p.column_bits) - 1));
      const int row = at.row + (pixel >> p.column_bits & ((1 << p.row_bits) - 1));
      const int image = at.image + (pixel >> (p.column_bits + p.row_bits));
      const bool valid = image < p.n && row < p.oh && column < p.ow;
      const std::int64_t from =
          ((static_cast<std::int64_t>(image) * p.oh + row) * p.ow + column) * p.co +
          group_ * p.co_group + channel;
      copy(to + pixel * pixel_pitch(kOutputs) + i % kOutputVectors * kElements,
           valid ? dz + from : dz, valid ? p.co_group - channel : 0, p_.dz_aligned);
    }
  }

  // Four lanes write the 32 bytes of 8 input channels.
  PTYNET_DEVICE void write(const Product& product) const {
    const ConvProblem& p = p_.conv;
    float* sums = p_.splits > 1 ? arrays_.parts + block().z * p_.weights : arrays_.dw;
    const int first_input = input_ + slice() * kSlice;
    product.for_each_pair([&](int tap, int output, int input, const Vector<float, 2>& pair) {
      const int o = output_ + output;
      const int i = first_input + input;
      if (tap >= taps_ || o >= p.co_group || i >= p.ci_group) return;
      const std::int64_t row =
          static_cast<std::int64_t>(group_ * p.co_group + o) * p.taps + tap_row_;
      float* to = sums + (row * p.taps + tap_column_ + tap) * p.ci_group + i;
      if (p_.pairs) return store(reinterpret_cast<Vector<float, 2>*>(to), pair);
      store(to, pair[0]);
      if (i + 1 < p.ci_group) store(to + 1, pair[1]);
    });
  }

  const WeightProblem& p_;
  const WeightGradient& arrays_;
  int group_;
  int output_, input_;  // the block's first channels, within the group
  int x_pitch_;
  Element* buffers_;  // two of dz, two of x
  int tap_row_, tap_column_;
  int taps_;  // of the warp, from there on
};

template <typename Math, int kOutputs>
PTYNET_KERNEL(kMostWarps* kWarpLanes)
weight_gradient_kernel(WeightProblem problem, WeightGradient arrays) {
  WeightBlock<Math, kOutputs>(problem, arrays).run();
}

using WeightKernel = void (*)(WeightProblem, WeightGradient);

template <typename Math>
WeightKernel kernel_of(int outputs) {
  return outputs == 16 ? weight_gradient_kernel<Math, 16> : weight_gradient_kernel<Math, 32>;
}

WeightKernel find_kernel(Precision precision, int outputs) {
  switch (precision) {
    case Precision::kTf32:
      return kernel_of<Tf32>(outputs);
    case Precision::kBf16:
      return kernel_of<Bfloat16>(outputs);
    case Precision::kF16:
      return kernel_of<Half>(outputs);
    default:
      return kernel_of<float>(outputs);
  }
}

struct WeightPlan {
  WeightProblem problem;
  int outputs;  // of a block
  int element_bytes;
  LaunchShape launch;
};

std::size_t shared_bytes(const WeightProblem& p, int outputs, int element_bytes) {
  const int dz = kWeightPixels * pixel_pitch(outputs);
  const int x = p.conv.halo_pixels * pixel_pitch(kSlice << p.slice_bits);
  return std::size_t{2} * static_cast<std::size_t>(element_bytes) *
         (static_cast<std::size_t>(dz) + static_cast<std::size_t>(x));
}

// As many slices as there are channels and warps and memory for.
void choose_slices(WeightProblem& p, int outputs, int element_bytes) {
  const std::size_t most = most_shared_bytes();
  const auto fits = [&](int bits) {
    WeightProblem wider = p;
    wider.slice_bits = bits;
    return (1 << bits) <= kMostSlices && p.runs << bits <= kMostWarps &&
           kSlice << (bits - 1) < p.conv.ci_group &&
           shared_bytes(wider, outputs, element_bytes) <= most;
  };
  while (fits(p.slice_bits + 1)) ++p.slice_bits;
}

WeightPlan plan_of(const ConvShape& shape, Precision precision, int multiprocessors) {
  WeightPlan out{};
  WeightProblem& p = out.problem;
  p.conv = conv_problem(shape);
  cut_output(p.conv, kWeightPixels, 0);
  out.outputs = p.conv.co_group <= 16 ? 16 : 32;
  with_element(precision, [&](auto type) { out.element_bytes = sizeof(type); });
  p.row_parts = divide_up(p.conv.taps, kMostRowTaps);
  const int runs = p.conv.taps * p.row_parts;
  p.run_tiles = divide_up(runs, kMostWarps);
  p.runs = divide_up(runs, p.run_tiles);
  choose_slices(p, out.outputs, out.element_bytes);
  p.x_tiles = divide_up(p.conv.ci_group, kSlice << p.slice_bits);
  p.dz_tiles = divide_up(p.conv.co_group, out.outputs);
  p.tiles = p.conv.tiles_across * p.conv.tiles_down * divide_up(p.conv.n, 1 << p.conv.image_bits);
  p.weights = std::int64_t{shape.co} * shape.kernel * shape.kernel * p.conv.ci_group;
  const Index3 blocks{p.x_tiles * p.run_tiles, shape.groups * p.dz_tiles};
  const int warps = p.runs << p.slice_bits;
  const int wanted = multiprocessors * std::max(1, kWarpsEach / warps);
  p.splits = std::clamp(wanted / (blocks.x * blocks.y), 1, p.tiles);
  out.launch = {{blocks.x, blocks.y, p.splits},
                warps * kWarpLanes,
                shared_bytes(p, out.outputs, out.element_bytes)};
  return out;
}

}  // namespace

std::int64_t weight_gradient_parts(const ConvShape& shape, Precision precision,
                                   int multiprocessors) {
  const WeightProblem p = plan_of(shape, precision, multiprocessors).problem;
  return p.splits > 1 ? p.splits * p.weights : 0;
}

void weight_gradient(const ConvShape& shape, Precision precision, const WeightGradient& arrays,
                     int multiprocessors, Stream stream) {
  WeightPlan plan = plan_of(shape, precision, multiprocessors);
  WeightProblem& p = plan.problem;
  const auto in_vectors = [&](int channels, const void* array) {
    return channels * plan.element_bytes % kVectorBytes == 0 &&
           are_aligned(kVectorBytes, static_cast<const char*>(array));
  };
  p.x_aligned = in_vectors(p.conv.ci_group, arrays.x);
  p.dz_aligned = in_vectors(p.conv.co_group, arrays.dz);
  p.pairs = p.conv.ci_group % 2 == 0 &&
            are_aligned(2 * sizeof(float), p.splits > 1 ? arrays.parts : arrays.dw);
  const std::size_t most = most_shared_bytes();
  if (plan.launch.shared_bytes > most) {
    fail_runtime("weight_gradient takes ", plan.launch.shared_bytes, " bytes of shared memory for ",
                 shape.kernel, " taps and stride ", shape.stride, ", this device has ", most,
                 ": use a smaller kernel or stride");
  }
  launch("weight_gradient", find_kernel(precision, plan.outputs), plan.launch, stream, p, arrays);
  if (p.splits > 1) add_parts(arrays.parts, p.splits, p.weights, arrays.dw, stream);
}

}  // namespace ptynet::cuda
