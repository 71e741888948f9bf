// The inner products of a convolution's tile: per warp kPixels x kChannels sums, one tap at a time.
// `input` and `weights` are rows of row_pitch(kSteps) bytes in shared memory, one row per pixel and
// one per output channel, channels of the input along the row.
#pragma once

#include <type_traits>

#include "kernels/cuda/conv_problem.h"

namespace ptynet::cuda {

// On tensor cores. Math: Half, Bfloat16, Tf32. A step is 16 rows of 32 bytes times 8 rows of 32
// bytes, whatever the type.
template <typename Math, int kPixels, int kChannels, int kSteps>
class TensorProduct {
 public:
  using Element = std::conditional_t<std::is_same_v<Math, Tf32>, float, Math>;
  static constexpr int kRowBlocks = kPixels / 16;
  static constexpr int kColumnBlocks = kChannels / 8;

  // row_of(pixel) is where the first tap of the warp's pixel lies in the input, in bytes.
  template <typename RowOf>
  PTYNET_DEVICE explicit TensorProduct(const RowOf& row_of) {
    PTYNET_UNROLL
    for (int i = 0; i < kRowBlocks; ++i) {
      // ldmatrix: lanes 0 to 15 point to the first half of a step, the others to the second.
      input_row_[i] = row_of(i * 16 + lane() % 16) + lane() / 16 * kVectorBytes;
      PTYNET_UNROLL
      for (int j = 0; j < kColumnBlocks; ++j) {
        PTYNET_UNROLL
        for (int r = 0; r < 4; ++r) sums_[i][j][r] = 0;
      }
    }
    const int channel = lane() / 16 * 8 + lane() % 8;
    weights_row_ = channel * row_pitch(kSteps) + lane() / 8 % 2 * kVectorBytes;
  }

  PTYNET_DEVICE void add_tap(const unsigned char* input, const unsigned char* weights) {
    PTYNET_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      std::uint32_t a[kRowBlocks][4];
      PTYNET_UNROLL
      for (int i = 0; i < kRowBlocks; ++i) {
        ldmatrix<4>(a[i], input + input_row_[i] + step * kStepBytes);
        round_operand(a[i]);
      }
      PTYNET_UNROLL
      for (int j = 0; j < kColumnBlocks; j += 2) {
        std::uint32_t b[4];  // two blocks of 8 channels
        ldmatrix<4>(b, weights + weights_row_ + j * 8 * row_pitch(kSteps) + step * kStepBytes);
        round_operand(b);
        const std::uint32_t even[2] = {b[0], b[1]};
        const std::uint32_t odd[2] = {b[2], b[3]};
        PTYNET_UNROLL
        for (int i = 0; i < kRowBlocks; ++i) {
          mma_sync<Math>(sums_[i][j], a[i], even);
          mma_sync<Math>(sums_[i][j + 1], a[i], odd);
        }
      }
    }
  }

  // write(pixel, channel, two sums that follow each other).
  template <typename Write>
  PTYNET_DEVICE void for_each_pair(const Write& write) const {
    PTYNET_UNROLL
    for (int i = 0; i < kRowBlocks; ++i) {
      PTYNET_UNROLL
      for (int j = 0; j < kColumnBlocks; ++j) {
        const int pixel = i * 16 + lane() / 4;
        const int channel = j * 8 + lane() % 4 * 2;
        write(pixel, channel, Vector<float, 2>{{sums_[i][j][0], sums_[i][j][1]}});
        write(pixel + 8, channel, Vector<float, 2>{{sums_[i][j][2], sums_[i][j][3]}});
      }
    }
  }

 private:
  PTYNET_DEVICE static void round_operand(std::uint32_t (&v)[4]) {
    if constexpr (std::is_same_v<Math, Tf32>) {
      PTYNET_UNROLL
      for (std::uint32_t& bits : v) bits = round_tf32(bits);
    }
  }

  float sums_[kRowBlocks][kColumnBlocks][4];
  int input_row_[kRowBlocks];
  int weights_row_;
};

// In fp32 without tensor cores: 8 lanes across pixels, 4 across pairs of channels.
template <int kPixels, int kChannels, int kSteps>
class PlainProduct {
 public:
  using Element = float;
  static constexpr int kRows = kPixels / 8;       // of a lane
  static constexpr int kColumns = kChannels / 4;  // of a lane
  static constexpr int kVectors = kSteps * kStepBytes / kVectorBytes;

  template <typename RowOf>
  PTYNET_DEVICE explicit PlainProduct(const RowOf& row_of) {
    PTYNET_UNROLL
    for (int i = 0; i < kRows; ++i) {
      input_row_[i] = row_of(i * 8 + lane() / 4);
      PTYNET_UNROLL
      for (int j = 0; j < kColumns; ++j) sums_[i][j] = 0;
    }
  }

  PTYNET_DEVICE void add_tap(const unsigned char* input, const unsigned char* weights) {
    PTYNET_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      Vector<float, 4> a[kRows];
      PTYNET_UNROLL
      for (int i = 0; i < kRows; ++i) a[i] = channels_at(input + input_row_[i], v);
      PTYNET_UNROLL
      for (int j = 0; j < kColumns; ++j) {
        const Vector<float, 4> b = channels_at(weights + channel_of(j) * row_pitch(kSteps), v);
        PTYNET_UNROLL
        for (int i = 0; i < kRows; ++i) {
          PTYNET_UNROLL
          for (int k = 0; k < 4; ++k) sums_[i][j] += a[i][k] * b[k];
        }
      }
    }
  }

  template <typename Write>
  PTYNET_DEVICE void for_each_pair(const Write& write) const {
    PTYNET_UNROLL
    for (int i = 0; i < kRows; ++i) {
      PTYNET_UNROLL
      for (int j = 0; j < kColumns; j += 2) {
        write(i * 8 + lane() / 4, channel_of(j), Vector<float, 2>{{sums_[i][j], sums_[i][j + 1]}});
      }
    }
  }

 private:
  // Of the lane's j-th sum: pairs, 8 channels apart.
  PTYNET_DEVICE static int channel_of(int j) { return j / 2 * 8 + lane() % 4 * 2 + j % 2; }

  PTYNET_DEVICE static Vector<float, 4> channels_at(const unsigned char* row, int vector) {
    return load(reinterpret_cast<const Vector<float, 4>*>(row) + vector);
  }

  float sums_[kRows][kColumns];
  int input_row_[kRows];
};

template <typename Math, int kPixels, int kChannels, int kSteps>
using ConvProduct =
    std::conditional_t<std::is_same_v<Math, float>, PlainProduct<kPixels, kChannels, kSteps>,
                       TensorProduct<Math, kPixels, kChannels, kSteps>>;

}  // namespace ptynet::cuda
