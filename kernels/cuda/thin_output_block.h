// The block that computes a few output channels, for the kernels that write them (thin_output.cu)
// or go on with them (fused_thin.cu).
#pragma once

#include "kernels/cuda/activate_all.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

inline constexpr int kTileSide = 16;  // of the input that a block reads, px
inline constexpr int kTilePixels = kTileSide * kTileSide;
inline constexpr int kOutputThreads = 128;  // that compute one output channel
// Between the products of two output channels, so that lanes which alternate between the two read
// from different banks.
inline constexpr int kPlaneGap = 16;

// Where a tile of the output begins. It may begin and end outside of the output.
struct OutputPlace {
  int image, row, column;
};

struct OutputProblem {
  int h, w, ci;
  int oh, ow, co;
  int ci_group, co_group;
  int padding;
  Activation activation;
  int group_vectors;  // of 16 bytes, that hold one group's channels of a pixel
  int vectors;        // of all groups
  int vector_pitch;   // between the same pixel's vectors in shared memory, vectors
  int outputs;        // computed at once: 1 or 2
  bool aligned;       // x and w may be read in whole vectors
  int tiles_across, tiles_down;
};

// Taps as channels: a block multiplies each pixel of its input with the weights of every tap, which
// takes one read of the pixel and leaves one plane of products per tap. An output is then the sum
// of the planes, each shifted by its tap.
template <typename Element, int kTaps>
class OutputBlock {
 public:
  static constexpr int kShare = kTilePixels / kOutputThreads;  // pixels of a thread
  static constexpr int kVector = kPerAccess<Element>;
  static constexpr int kPlanes = kTaps * kTaps;
  static constexpr int kTile = kTileSide - kTaps + 1;  // rows and columns of output
  static constexpr int kPlanePitch = kPlanes * kTilePixels + kPlaneGap;

  PTYNET_DEVICE OutputBlock(const OutputProblem& p, const ConvOperands& operands,
                            const OutputPlace& at)
      : p_(p),
        operands_(operands),
        at_(at),
        input_(dynamic_shared<Element>()),
        weights_(reinterpret_cast<float*>(input_ + p.vectors * p.vector_pitch * kVector)),
        planes_(weights_ + p.co * p.group_vectors * kPlanes * kVector) {}

  // Calls use(row, column, output, value) for every output of the tile, activated; successive
  // threads in the order of y.
  template <typename Use>
  PTYNET_DEVICE void run(const Use& use) {
    fetch_input();
    commit_copies();
    fetch_weights();
    wait_copies<0>();
    PTYNET_NO_UNROLL
    for (int first = 0; first < p_.co; first += p_.outputs) {
      barrier();  // the input is there, the planes of the outputs before are read
      multiply(first + thread() / kOutputThreads,
               planes_ + thread() / kOutputThreads * kPlanePitch);
      barrier();
      add_up(first, use);
    }
  }

 private:
  // To [vector][pixel], so that lanes read neighbouring pixels one after the other.
  PTYNET_DEVICE void fetch_input() {
    const auto* x = static_cast<const Element*>(operands_.x);
    PTYNET_NO_UNROLL
    for (int i = thread(); i < kTilePixels * p_.vectors; i += threads()) {
      const int pixel = i / p_.vectors;
      const int vector = i % p_.vectors;
      const int row = at_.row - p_.padding + pixel / kTileSide;
      const int column = at_.column - p_.padding + pixel % kTileSide;
      const bool inside = row >= 0 && row < p_.h && column >= 0 && column < p_.w;
      const int channel = vector % p_.group_vectors * kVector;  // of the group
      const std::int64_t pixel_at =
          (static_cast<std::int64_t>(at_.image) * p_.h + row) * p_.w + column;
      const int start = vector / p_.group_vectors * p_.ci_group + channel;
      const Element* from = inside ? x + pixel_at * p_.ci + start : x;
      Element* to = input_ + (vector * p_.vector_pitch + pixel) * kVector;
      if (p_.aligned) {
        copy_async<16>(to, from, inside);
      } else {
        store(reinterpret_cast<Vector<Element, kVector>*>(to),
              gather(from, inside ? p_.ci_group - channel : 0));
      }
    }
  }

  // To floats, [output][vector][tap][channel].
  PTYNET_DEVICE void fetch_weights() {
    const auto* w = static_cast<const Element*>(operands_.w);
    PTYNET_NO_UNROLL
    for (int i = thread(); i < p_.co * kPlanes * p_.group_vectors; i += threads()) {
      const int vector = i % p_.group_vectors;
      const int tap = i / p_.group_vectors;  // of all outputs
      const Element* from = w + tap * p_.ci_group + vector * kVector;
      const Vector<Element, kVector> in =
          p_.aligned ? load_readonly(reinterpret_cast<const Vector<Element, kVector>*>(from))
                     : gather(from, p_.ci_group - vector * kVector);
      const int place = tap / kPlanes * p_.group_vectors + vector;
      float* to = weights_ + (place * kPlanes + tap % kPlanes) * kVector;
      PTYNET_UNROLL
      for (int c = 0; c < kVector; c += 4) {
        store_floats<4>(to + c, {{to_float(in[c]), to_float(in[c + 1]), to_float(in[c + 2]),
                                  to_float(in[c + 3])}});
      }
    }
  }

  // The first `count` elements, up to a vector, then zeros.
  PTYNET_DEVICE static Vector<Element, kVector> gather(const Element* from, int count) {
    Vector<Element, kVector> out;
    PTYNET_UNROLL
    for (int c = 0; c < kVector; ++c) {
      out[c] = c < count ? load_readonly(from + c) : from_float<Element>(0);
    }
    return out;
  }

  // The products of this thread's pixels with every tap of an output, to `planes` [tap][pixel].
  PTYNET_DEVICE void multiply(int output, float* planes) const {
    const int first = output / p_.co_group * p_.group_vectors;
    const int pixel = thread() % kOutputThreads;
    const Element* input = input_ + (first * p_.vector_pitch + pixel) * kVector;
    const float* weights = weights_ + output * p_.group_vectors * kPlanes * kVector;
    float sums[kShare][kPlanes] = {};
    PTYNET_NO_UNROLL
    for (int vector = 0; vector < p_.group_vectors; ++vector) {
      Vector<float, kVector> x[kShare];
      PTYNET_UNROLL
      for (int i = 0; i < kShare; ++i) {
        x[i] = load_floats<kVector>(input + i * kOutputThreads * kVector);
      }
      add_products(x, weights, sums);
      input += p_.vector_pitch * kVector;
      weights += kPlanes * kVector;
    }
    PTYNET_UNROLL
    for (int tap = 0; tap < kPlanes; ++tap) {
      PTYNET_UNROLL
      for (int i = 0; i < kShare; ++i) {
        store(planes + tap * kTilePixels + i * kOutputThreads + pixel, sums[i][tap]);
      }
    }
  }

  PTYNET_DEVICE static void add_products(const Vector<float, kVector> (&x)[kShare],
                                         const float* weights, float (&sums)[kShare][kPlanes]) {
    PTYNET_UNROLL
    for (int tap = 0; tap < kPlanes; ++tap) {
      PTYNET_UNROLL
      for (int c = 0; c < kVector; c += 4) {
        const auto w = load(reinterpret_cast<const Vector<float, 4>*>(weights + tap * kVector + c));
        PTYNET_UNROLL
        for (int i = 0; i < kShare; ++i) {
          PTYNET_UNROLL
          for (int j = 0; j < 4; ++j) sums[i][tap] += x[i][c + j] * w[j];
        }
      }
    }
  }

  // The outputs from `first` on.
  template <typename Use>
  PTYNET_DEVICE void add_up(int first, const Use& use) const {
    PTYNET_UNROLL
    for (int i = 0; i < kShare; ++i) {
      const int element = thread() + i * threads();
      const int pixel = element / p_.outputs;
      const int part = element % p_.outputs;
      const int row = pixel / kTileSide;
      const int column = pixel % kTileSide;
      if (row >= kTile || column >= kTile) continue;
      const int output = first + part;
      Vector<float, 1> sum{{operands_.b != nullptr ? load_readonly(operands_.b + output) : 0.0F}};
      const float* plane = planes_ + part * kPlanePitch + pixel;
      PTYNET_UNROLL
      for (int tap = 0; tap < kPlanes; ++tap) {
        sum[0] += load(plane + tap * kTilePixels + tap / kTaps * kTileSide + tap % kTaps);
      }
      activate_all(sum, p_.activation);
      use(at_.row + row, at_.column + column, output, sum[0]);
    }
  }

  const OutputProblem& p_;
  const ConvOperands& operands_;
  OutputPlace at_;
  Element* input_;
  float* weights_;
  float* planes_;
};

// Without the extents of the grid.
OutputProblem output_problem(const ConvShape& shape, Precision precision,
                             const ConvOperands& operands);
std::size_t output_shared_bytes(const OutputProblem& p, int taps, Precision precision);

}  // namespace ptynet::cuda
