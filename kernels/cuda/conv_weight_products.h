// The inner products of a weight gradient: per warp kOutputs output channels x kSlice input
// channels x a few taps of one row, summed over the pixels of tile after tile. Both operands lie in
// shared memory a row of channels per pixel, so pixels, which are summed over, go down and both are
// read transposed.
#pragma once

#include <type_traits>

#include "kernels/cuda/conv_problem.h"

namespace ptynet::cuda {

inline constexpr int kSlice = 16;         // input channels of a warp
inline constexpr int kMostRowTaps = 5;    // of a warp
inline constexpr int kWeightPixels = 64;  // output pixels of a tile

// Elements between two pixels in shared memory. In 16 bits 8 rows lie in different banks for
// ldmatrix, in 32 bits 4 rows of 8 channels do.
PTYNET_HOST_DEVICE constexpr int pixel_pitch(int channels) { return channels + 8; }

// A tile's operands as a warp sees them.
template <typename Element>
struct WeightTile {
  const Element* x;   // the warp's slice
  const Element* dz;  // [kWeightPixels, pixel_pitch(kOutputs)]
  int x_pitch;
  int columns;               // of pixels that follow each other in x
  int taps;                  // of the warp, up to kMostRowTaps; the same for all lanes
  int offset[kMostRowTaps];  // of each tap in x
};

// On tensor cores. Math: Half, Bfloat16, Tf32.
template <typename Math, int kOutputs>
class TensorWeightProduct {
 public:
  using Element = std::conditional_t<std::is_same_v<Math, Tf32>, float, Math>;
  static constexpr int kRowBlocks = kOutputs / 16;
  static constexpr int kColumnBlocks = kSlice / 8;
  static constexpr int kDepth = 32 / static_cast<int>(sizeof(Element));  // pixels of a step

  // row_of(pixel) is where the first tap of a pixel lies in x.
  template <typename RowOf>
  PTYNET_DEVICE void add_tile(const WeightTile<Element>& tile, const RowOf& row_of) {
    PTYNET_NO_UNROLL
    for (int first = 0; first < kWeightPixels; first += kDepth) {
      std::uint32_t a[kRowBlocks][4];
      PTYNET_UNROLL
      for (int i = 0; i < kRowBlocks; ++i) load_outputs(a[i], tile.dz, first, i * 16);
      int rows[kRows];
      PTYNET_UNROLL
      for (int r = 0; r < kRows; ++r) rows[r] = row_of(first + pixel_of_lane(r));
      PTYNET_UNROLL
      for (int t = 0; t < kMostRowTaps; ++t) {
        if (t < tile.taps) add_tap(a, tile.x + tile.offset[t], rows, sums_[t]);
      }
    }
  }

  // write(tap, output, input, the sums of two inputs that follow each other).
  template <typename Write>
  PTYNET_DEVICE void for_each_pair(const Write& write) const {
    PTYNET_UNROLL
    for (int t = 0; t < kMostRowTaps; ++t) {
      PTYNET_UNROLL
      for (int i = 0; i < kRowBlocks; ++i) {
        PTYNET_UNROLL
        for (int j = 0; j < kColumnBlocks; ++j) {
          const float(&sums)[4] = sums_[t][i][j];
          const int output = i * 16 + lane() / 4;
          const int input = j * 8 + lane() % 4 * 2;
          write(t, output, input, Vector<float, 2>{{sums[0], sums[1]}});
          write(t, output + 8, input, Vector<float, 2>{{sums[2], sums[3]}});
        }
      }
    }
  }

 private:
  static constexpr bool kWide = std::is_same_v<Math, Tf32>;
  static constexpr int kRows = kWide ? 2 : 1;  // of x that a lane reads in a step

  // Within a step. ldmatrix: matrices 0 and 2 are the first 8 pixels, 1 and 3 the others. In 32
  // bits lanes read their own elements, 4 pixels apart.
  PTYNET_DEVICE static int pixel_of_lane(int row) {
    if constexpr (kWide) return lane() % 4 + 4 * row;
    return lane() / 8 % 2 * 8 + lane() % 8;
  }

  PTYNET_DEVICE static void load_outputs(std::uint32_t (&a)[4], const Element* dz, int pixel,
                                         int output) {
    constexpr int kPitch = pixel_pitch(kOutputs);
    if constexpr (kWide) {
      const Element* from = dz + (pixel + lane() % 4) * kPitch + output + lane() / 4;
      PTYNET_UNROLL
      for (int r = 0; r < 4; ++r) a[r] = rounded(from + r / 2 * 4 * kPitch + r % 2 * 8);
    } else {  // matrices 0 and 1 are the first 8 pixels, 0 and 2 the first 8 outputs
      const int row = pixel + lane() / 16 * 8 + lane() % 8;
      ldmatrix_trans<4>(a, dz + row * kPitch + output + lane() / 8 % 2 * 8);
    }
  }

  PTYNET_DEVICE static void add_tap(const std::uint32_t (&a)[kRowBlocks][4], const Element* x,
                                    const int (&rows)[kRows],
                                    float (&sums)[kRowBlocks][kColumnBlocks][4]) {
    std::uint32_t b[4];  // two blocks of 8 inputs
    if constexpr (kWide) {
      PTYNET_UNROLL
      for (int r = 0; r < 4; ++r) b[r] = rounded(x + rows[r % 2] + lane() / 4 + r / 2 * 8);
    } else {
      ldmatrix_trans<4>(b, x + rows[0] + lane() / 16 * 8);
    }
    const std::uint32_t even[2] = {b[0], b[1]};
    const std::uint32_t odd[2] = {b[2], b[3]};
    PTYNET_UNROLL
    for (int i = 0; i < kRowBlocks; ++i) {
      mma_sync<Math>(sums[i][0], a[i], even);
      mma_sync<Math>(sums[i][1], a[i], odd);
    }
  }

  PTYNET_DEVICE static std::uint32_t rounded(const Element* from) {
    return round_tf32(load(reinterpret_cast<const std::uint32_t*>(from)));
  }

  float sums_[kMostRowTaps][kRowBlocks][kColumnBlocks][4] = {};
};

// In fp32 without tensor cores: 8 lanes across output channels, 4 across input channels.
template <int kOutputs>
class PlainWeightProduct {
 public:
  using Element = float;
  static constexpr int kRows = kOutputs / 8;   // of a lane
  static constexpr int kColumns = kSlice / 4;  // of a lane

  template <typename RowOf>
  PTYNET_DEVICE void add_tile(const WeightTile<Element>& tile, const RowOf& row_of) {
    const float* dz = tile.dz + lane() / 4 * kRows;
    PTYNET_NO_UNROLL
    for (int first = 0; first < kWeightPixels; first += tile.columns) {
      const float* x = tile.x + row_of(first) + lane() % 4 * kColumns;
      PTYNET_NO_UNROLL
      for (int column = 0; column < tile.columns; ++column) {
        const auto a = load(reinterpret_cast<const Vector<float, kRows>*>(dz));
        PTYNET_UNROLL
        for (int t = 0; t < kMostRowTaps; ++t) {
          if (t < tile.taps) add_tap(a, x + tile.offset[t], sums_[t]);
        }
        dz += pixel_pitch(kOutputs);
        x += tile.x_pitch;
      }
    }
  }

  template <typename Write>
  PTYNET_DEVICE void for_each_pair(const Write& write) const {
    PTYNET_UNROLL
    for (int t = 0; t < kMostRowTaps; ++t) {
      PTYNET_UNROLL
      for (int i = 0; i < kRows; ++i) {
        PTYNET_UNROLL
        for (int j = 0; j < kColumns; j += 2) {
          write(t, lane() / 4 * kRows + i, lane() % 4 * kColumns + j,
                Vector<float, 2>{{sums_[t][i][j], sums_[t][i][j + 1]}});
        }
      }
    }
  }

 private:
  PTYNET_DEVICE static void add_tap(const Vector<float, kRows>& a, const float* x,
                                    float (&sums)[kRows][kColumns]) {
    const auto b = load(reinterpret_cast<const Vector<float, kColumns>*>(x));
    PTYNET_UNROLL
    for (int i = 0; i < kRows; ++i) {
      PTYNET_UNROLL
      for (int j = 0; j < kColumns; ++j) sums[i][j] += a[i] * b[j];
    }
  }

  float sums_[kMostRowTaps][kRows][kColumns] = {};
};

template <typename Math, int kOutputs>
using WeightProduct = std::conditional_t<std::is_same_v<Math, float>, PlainWeightProduct<kOutputs>,
                                         TensorWeightProduct<Math, kOutputs>>;

}  // namespace ptynet::cuda
