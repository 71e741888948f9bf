#include <algorithm>

#include "kernels/cuda/block_sums.h"
#include "kernels/cuda/complex.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/losses.h"
#include "kernels/cuda/vectors.h"
#include "kernels/phasor.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 4;  // pixels of a thread at once
constexpr int kMostParts =
    512;  // of a batch, where frames have more than one: each block sums them

// Into how many parts, a block each, a frame of so many is cut.
int parts_of_frame(int n, int pixels) {
  const int useful = blocks_for("loss", pixels, kThreads * kVector);
  return std::clamp(kMostParts / n, 1, useful);
}

int pixels_of(const PatchShape& shape) { return shape.h * shape.w; }

// What sums and derivatives are divided by: the sum of parts, or what the host knows.
struct Divisor {
  const double* parts;  // null: known
  int count;
  double known;

  // Every kStep-th part from `first` on.
  template <int kStep>
  PTYNET_DEVICE double share(int first) const {
    double sum = 0;
    for (int i = first; i < count; i += kStep) sum += load_readonly(parts + i);
    return sum;
  }
  PTYNET_DEVICE double of_block() const {
    if (parts == nullptr) return known;
    double sums[1] = {share<kThreads>(thread())};
    constexpr int kOwnMemory = 1;
    sum_block<kThreads, 1, kOwnMemory>(sums);
    return sums[0];
  }
  PTYNET_DEVICE double of_warp() const {
    return parts == nullptr ? known : sum_lanes(share<kWarpLanes>(lane()));
  }
};

// Kinds of pixels: add() adds to kColumns sums what N pixels from `pixel` of a frame give, of all
// frames from `at`, and writes their derivatives times `scale` where they are wanted.

struct GoodPixels {
  static constexpr int kColumns = 1;
  const float* measured;

  PTYNET_HOST_DEVICE bool writes() const { return false; }

  template <int N>
  PTYNET_DEVICE void add(std::int64_t at, int, float, double (&sums)[kColumns]) const {
    const auto counts = load_floats<N>(measured + at);
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) sums[0] += is_count(counts[i]) ? 1 : 0;
  }
};

struct Weights {
  static constexpr int kColumns = 1;
  const float* weight;

  PTYNET_HOST_DEVICE bool writes() const { return false; }

  // Ones without a map.
  template <int N>
  PTYNET_DEVICE Vector<float, N> at(int pixel) const {
    if (weight != nullptr) return load_floats<N>(weight + pixel);
    Vector<float, N> ones;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) ones[i] = 1;
    return ones;
  }

  template <int N>
  PTYNET_DEVICE void add(std::int64_t, int pixel, float, double (&sums)[kColumns]) const {
    const auto weights = at<N>(pixel);
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) sums[0] += double{weights[i]};
  }
};

struct IntensityPixels {
  static constexpr int kColumns = 4;
  IntensityComparison of;

  PTYNET_HOST_DEVICE bool writes() const { return of.d_predicted != nullptr; }

  template <int N>
  PTYNET_DEVICE void add(std::int64_t at, int, float scale, double (&sums)[kColumns]) const {
    const auto model = load_floats<N>(of.predicted + at);
    const auto data = load_floats<N>(of.measured + at);
    Vector<float, N> slopes;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      const JudgedPixel<float> pixel = judge_pixel(of.kind, model[i], data[i]);
      sums[0] += double{pixel.loss.value};
      sums[1] += pixel.good ? 1 : 0;
      sums[2] += double{pixel.root_difference};
      sums[3] += double{pixel.root};
      slopes[i] = pixel.good ? pixel.loss.slope * scale : 0.0F;
    }
    if (writes()) store_floats(of.d_predicted + at, slopes);
  }
};

struct PatchPixels {
  static constexpr int kColumns = 2;
  PolarPatches patches;
  PolarPatches target;
  Weights weights;
  PolarGradients d;

  PTYNET_HOST_DEVICE bool writes() const { return d.amplitude != nullptr || d.phase != nullptr; }

  template <int N>
  PTYNET_DEVICE void add(std::int64_t at, int pixel, float scale, double (&sums)[kColumns]) const {
    const auto weight = weights.at<N>(pixel);
    sums[0] += error<N>(patches.amplitude + at, target.amplitude + at, weight, scale,
                        d.amplitude == nullptr ? nullptr : d.amplitude + at);
    sums[1] += error<N>(patches.phase + at, target.phase + at, weight, scale,
                        d.phase == nullptr ? nullptr : d.phase + at);
  }

  template <int N>
  PTYNET_DEVICE static double error(const float* values, const float* aims,
                                    const Vector<float, N>& weight, float scale, float* to) {
    const auto value = load_floats<N>(values);
    const auto aim = load_floats<N>(aims);
    Vector<float, N> slopes;
    double sum = 0;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      const float apart = value[i] - aim[i];
      const float weighted = weight[i] * apart;
      sum += double{weighted * apart};
      slopes[i] = 2.0F * scale * weighted;
    }
    if (to != nullptr) store_floats(to, slopes);
    return sum;
  }
};

struct ObjectPixels {
  static constexpr int kColumns = 1;
  PolarPatches patches;
  const float* target;
  Weights weights;
  PolarGradients d;

  PTYNET_HOST_DEVICE bool writes() const { return d.amplitude != nullptr || d.phase != nullptr; }

  template <int N>
  PTYNET_DEVICE void add(std::int64_t at, int pixel, float scale, double (&sums)[kColumns]) const {
    const auto weight = weights.at<N>(pixel);
    const auto amplitude = load_floats<N>(patches.amplitude + at);
    const auto phase = load_floats<N>(patches.phase + at);
    const Complexes<N> aim = load_readonly(complex_at<N>(target, at));
    Vector<float, N> d_amplitude;
    Vector<float, N> d_phase;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      const UnitPhasor u = unit_phasor(phase[i]);
      const float re = amplitude[i] * u.cosine - aim[2 * i];
      const float im = amplitude[i] * u.sine - aim[2 * i + 1];
      const PolarSlopes slopes = polar_slopes(amplitude[i], u, re, im);
      const float gain = 2.0F * scale * weight[i];
      sums[0] += double{weight[i] * (re * re + im * im)};
      d_amplitude[i] = gain * slopes.amplitude;
      d_phase[i] = gain * slopes.phase;
    }
    if (d.amplitude != nullptr) store_floats(d.amplitude + at, d_amplitude);
    if (d.phase != nullptr) store_floats(d.phase + at, d_phase);
  }
};

// A block: every grid().y-th run of a frame's pixels. parts [kColumns, grid().x, grid().y].
template <int N, typename Pixels>
PTYNET_KERNEL(kThreads)
parts_kernel(Pixels work, int pixels, double factor, Divisor divisor, double* parts) {
  const std::int64_t frame = block().x;
  const float scale = work.writes() ? static_cast<float>(factor / divisor.of_block()) : 0.0F;
  double sums[Pixels::kColumns] = {};
  for (int pixel = (block().y * kThreads + thread()) * N; pixel < pixels;
       pixel += grid().y * kThreads * N) {
    work.template add<N>(frame * pixels + pixel, pixel, scale, sums);
  }
  sum_block<kThreads>(sums);
  if (thread() > 0) return;
  PTYNET_UNROLL
  for (int i = 0; i < Pixels::kColumns; ++i) {
    store(parts + (i * grid().x + frame) * grid().y + block().y, sums[i]);
  }
}

// A block: a frame; a warp: one of its columns. sums [frames, columns].
PTYNET_KERNEL(kThreads)
finish_kernel(const double* parts, int of_frame, Divisor divisor, double* sums) {
  const int columns = threads() / kWarpLanes;
  const double* from = parts + (std::int64_t{warp()} * grid().x + block().x) * of_frame;
  double sum = 0;
  for (int i = lane(); i < of_frame; i += kWarpLanes) sum += load_readonly(from + i);
  sum = sum_lanes(sum) / divisor.of_warp();
  if (lane() == 0) store(sums + std::int64_t{block().x} * columns + warp(), sum);
}

struct Parts {
  const char* loss;
  int n;       // frames
  int pixels;  // of a frame
  Stream stream;

  int of_frame() const { return parts_of_frame(n, pixels); }

  // N: at once, where `together`.
  template <int N, typename Pixels>
  void sum(const Pixels& work, bool together, double factor, const Divisor& divisor,
           double* parts) const {
    const LaunchShape shape{grid_of(loss, n, of_frame()), kThreads};
    const auto kernel = together ? parts_kernel<N, Pixels> : parts_kernel<1, Pixels>;
    launch(loss, kernel, shape, stream, work, pixels, factor, divisor, parts);
  }

  void finish(int columns, const double* parts, const Divisor& divisor, double* sums) const {
    const LaunchShape shape{{n}, columns * kWarpLanes};
    launch(loss, finish_kernel, shape, stream, parts, of_frame(), divisor, sums);
  }
};

Divisor known(double value) { return {nullptr, 0, value}; }

// The sum of a frame's weights; its parts go to `scratch`.
Divisor sum_weights(const Parts& parts, const float* weight, double* scratch) {
  if (weight == nullptr) return known(parts.pixels);
  const Parts one{parts.loss, 1, parts.pixels, parts.stream};
  one.sum<kVector>(Weights{weight}, parts.pixels % kVector == 0 && are_aligned(16, weight), 0,
                   known(1), scratch);
  return {scratch, one.of_frame(), 0};
}

// Sums of `work` per frame over the sum of the weights.
template <int N, typename Pixels>
void weighted_error(const Parts& parts, const Pixels& work, bool together, double factor,
                    const LossSums& out) {
  double* of_weights = out.scratch + std::int64_t{Pixels::kColumns} * parts.n * parts.of_frame();
  const Divisor divisor = sum_weights(parts, work.weights.weight, of_weights);
  parts.sum<N>(work, together, factor / parts.n, divisor, out.scratch);
  parts.finish(Pixels::kColumns, out.scratch, divisor, out.sums);
}

}  // namespace

std::int64_t loss_scratch(const PatchShape& s) {
  const std::int64_t parts = std::int64_t{s.n} * parts_of_frame(s.n, pixels_of(s));
  const std::int64_t of_divisor = std::max<std::int64_t>(parts, parts_of_frame(1, pixels_of(s)));
  return IntensityPixels::kColumns * parts + of_divisor;
}

void intensity_loss(const PatchShape& s, const IntensityComparison& compared, const LossSums& out,
                    Stream stream) {
  const Parts parts{"intensity_loss", s.n, pixels_of(s), stream};
  const IntensityPixels work{compared};
  const bool together =
      parts.pixels % kVector == 0 &&
      are_aligned(16, compared.predicted, compared.measured, compared.d_predicted);
  const int all = s.n * parts.of_frame();
  double* of_good = out.scratch + std::int64_t{IntensityPixels::kColumns} * all;
  if (work.writes()) {
    parts.sum<kVector>(GoodPixels{compared.measured}, together, 0, known(1), of_good);
  }
  // Without a good pixel the quotient is infinite, and nobody's slope.
  parts.sum<kVector>(work, together, compared.factor, {of_good, all, 0}, out.scratch);
  parts.finish(IntensityPixels::kColumns, out.scratch, known(1), out.sums);
}

void patch_error(const PatchShape& s, const PolarPatches& patches, const PolarPatches& target,
                 const PatchErrorOptions& options, const LossSums& out, Stream stream) {
  const Parts parts{"patch_error", s.n, pixels_of(s), stream};
  const PolarGradients& d = options.d;
  const bool together = parts.pixels % kVector == 0 &&
                        are_aligned(16, patches.amplitude, patches.phase, target.amplitude,
                                    target.phase, options.weight, d.amplitude, d.phase);
  weighted_error<kVector>(parts, PatchPixels{patches, target, {options.weight}, d}, together,
                          options.factor, out);
}

void object_error(const PatchShape& s, const PolarPatches& patches, const float* target,
                  const PatchErrorOptions& options, const LossSums& out, Stream stream) {
  constexpr int kPair = 2;  // complex pixels in 16 bytes
  const Parts parts{"object_error", s.n, pixels_of(s), stream};
  const PolarGradients& d = options.d;
  const bool together =
      parts.pixels % kPair == 0 && are_aligned(16, target) &&
      are_aligned(8, patches.amplitude, patches.phase, options.weight, d.amplitude, d.phase);
  weighted_error<kPair>(parts, ObjectPixels{patches, target, {options.weight}, d}, together,
                        options.factor, out);
}

}  // namespace ptynet::cuda
