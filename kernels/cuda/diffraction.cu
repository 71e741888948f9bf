#include <algorithm>

#include "kernels/cuda/complex.h"
#include "kernels/cuda/diffraction.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/vectors.h"
#include "kernels/phasor.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kProbeModes = kWarps;  // whose derivatives one launch sums

// A thread: N pixels of a row of one frame, in all modes.
template <int N>
PTYNET_KERNEL(kThreads)
far_field_gradient_kernel(FarFieldShape s, float* far, const float* d_intensity) {
  const int pixels = s.h * s.w;
  const int pixel = (block().y * kThreads + thread()) * N;
  if (pixel >= pixels) return;
  const std::int64_t frame = block().x;
  const int row = pixel / s.w;
  const auto slope = load_floats<N>(d_intensity + frame * pixels + pixel);
  const std::int64_t first =
      frame * s.modes * pixels + place_before_shift(row, pixel - row * s.w, s.h, s.w);
  for (int mode = 0; mode < s.modes; ++mode) {
    auto* at = complex_at<N>(far, first + std::int64_t{mode} * pixels);
    Complexes<N> field = load(at);
    PTYNET_UNROLL
    for (int i = 0; i < 2 * N; ++i) field[i] *= 2.0F * slope[i / 2];
    store(at, field);
  }
}

struct WaveGradientWork {
  FarFieldShape shape;
  PolarPatches patches;
  const float* probe;
  const float* d_waves;
  WaveGradients d;
  int first_mode, end_mode;  // of those whose derivatives are summed, at most kProbeModes

  PTYNET_HOST_DEVICE bool of_object() const { return d.amplitude != nullptr || d.phase != nullptr; }
  PTYNET_HOST_DEVICE int summed() const { return end_mode - first_mode; }
};

// N pixels of one frame, in all modes. `sums`: this thread's for the probe, kThreads apart.
template <int N, bool kOfProbe>
PTYNET_DEVICE void add_frame(const WaveGradientWork& work, std::int64_t frame, int pixel,
                             Complexes<N>* sums) {
  const int modes = work.shape.modes;
  const std::int64_t pixels = std::int64_t{work.shape.h} * work.shape.w;
  const std::int64_t at = frame * pixels + pixel;
  const auto amplitude = load_floats<N>(work.patches.amplitude + at);
  const auto phase = load_floats<N>(work.patches.phase + at);
  UnitPhasor turn[N];
  Complexes<N> object;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) {
    turn[i] = unit_phasor(phase[i]);
    object[2 * i] = amplitude[i] * turn[i].cosine;
    object[2 * i + 1] = amplitude[i] * turn[i].sine;
  }
  Complexes<N> d_object{};
  const int end = work.of_object() ? modes : work.end_mode;
  for (int mode = work.first_mode; mode < end; ++mode) {
    const Complexes<N> d_wave =
        load_readonly(complex_at<N>(work.d_waves, (frame * modes + mode) * pixels + pixel));
    if (work.of_object()) {
      const Complexes<N> light = load_readonly(complex_at<N>(work.probe, mode * pixels + pixel));
      add_conjugate_product(light, d_wave, d_object);
    }
    if constexpr (kOfProbe) {
      if (mode >= work.end_mode) continue;
      Complexes<N>* sum = sums + (mode - work.first_mode) * kThreads;
      Complexes<N> so_far = load(sum);
      add_conjugate_product(object, d_wave, so_far);
      store(sum, so_far);
    }
  }
  Vector<float, N> d_amplitude;
  Vector<float, N> d_phase;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) {
    const PolarSlopes slopes =
        polar_slopes(amplitude[i], turn[i], d_object[2 * i], d_object[2 * i + 1]);
    d_amplitude[i] = slopes.amplitude;
    d_phase[i] = slopes.phase;
  }
  if (work.d.amplitude != nullptr) store_floats(work.d.amplitude + at, d_amplitude);
  if (work.d.phase != nullptr) store_floats(work.d.phase + at, d_phase);
}

// A block: the same kWarpLanes * N pixels of many frames, a warp taking every kWarps-th of them.
// Those of one column of blocks are all frames where the probe's derivative is wanted.
template <int N, bool kOfProbe>
PTYNET_KERNEL(kThreads)
wave_gradient_kernel(WaveGradientWork work) {
  const int pixels = work.shape.h * work.shape.w;
  const int pixel = (block().x * kWarpLanes + lane()) * N;
  Complexes<N>* sums = nullptr;  // this thread's, of each mode
  if constexpr (kOfProbe) {
    sums = dynamic_shared<Complexes<N>>() + thread();
    for (int i = 0; i < work.summed(); ++i) store(sums + i * kThreads, Complexes<N>{});
  }
  if (pixel < pixels) {
    for (int frame = block().y * kWarps + warp(); frame < work.shape.n;
         frame += grid().y * kWarps) {
      add_frame<N, kOfProbe>(work, frame, pixel, sums);
    }
  }
  if constexpr (kOfProbe) {
    barrier();
    if (warp() >= work.summed() || pixel >= pixels) return;
    // This warp's mode, from all warps.
    const Complexes<N>* parts = dynamic_shared<Complexes<N>>() + warp() * kThreads + lane();
    Complexes<N> total{};
    PTYNET_UNROLL
    for (int from = 0; from < kWarps; ++from) {
      const Complexes<N> part = load(parts + from * kWarpLanes);
      PTYNET_UNROLL
      for (int i = 0; i < 2 * N; ++i) total[i] += part[i];
    }
    const std::int64_t mode = work.first_mode + warp();
    store(complex_at<N>(work.d.probe, mode * pixels + pixel), total);
  }
}

template <int N>
void launch_wave_gradient(WaveGradientWork work, Stream stream) {
  constexpr const char* kName = "exit_wave_gradient";
  const FarFieldShape& s = work.shape;
  const int columns = blocks_for(kName, std::int64_t{s.h} * s.w, kWarpLanes * N);
  if (work.d.probe == nullptr) {
    const Index3 grid{columns, grid_of(kName, 1, blocks_for(kName, s.n, kWarps)).y};
    return launch(kName, wave_gradient_kernel<N, false>, LaunchShape{grid, kThreads}, stream, work);
  }
  for (; work.first_mode < s.modes; work.first_mode = work.end_mode) {
    work.end_mode = std::min(work.first_mode + kProbeModes, s.modes);
    const auto sums = static_cast<std::size_t>(work.summed()) * kThreads;
    const LaunchShape shape{{columns}, kThreads, sums * sizeof(Complexes<N>)};
    launch(kName, wave_gradient_kernel<N, true>, shape, stream, work);
    work.d.amplitude = work.d.phase = nullptr;  // done, over all modes
  }
}

}  // namespace

void far_field_gradient(const FarFieldShape& s, float* far, const float* d_intensity,
                        Stream stream) {
  constexpr const char* kName = "far_field_gradient";
  // Two pixels at once stay together through the shift.
  const bool in_pairs = s.w % 4 == 0 && are_aligned(16, far) && are_aligned(8, d_intensity);
  const int blocks = blocks_for(kName, std::int64_t{s.h} * s.w, kThreads * (in_pairs ? 2 : 1));
  const LaunchShape shape{grid_of(kName, s.n, blocks), kThreads};
  launch(kName, in_pairs ? far_field_gradient_kernel<2> : far_field_gradient_kernel<1>, shape,
         stream, s, far, d_intensity);
}

void exit_wave_gradient(const FarFieldShape& s, const PolarPatches& patches, const float* probe,
                        const float* d_waves, const WaveGradients& d, Stream stream) {
  const WaveGradientWork work{s, patches, probe, d_waves, d, 0, 0};
  const bool in_pairs = s.h * s.w % 2 == 0 && are_aligned(16, probe, d_waves, d.probe) &&
                        are_aligned(8, patches.amplitude, patches.phase, d.amplitude, d.phase);
  if (in_pairs) return launch_wave_gradient<2>(work, stream);
  launch_wave_gradient<1>(work, stream);
}

}  // namespace ptynet::cuda
