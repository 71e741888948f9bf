#include "kernels/cuda/complex.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/vary_spectra.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;

// A thread: one row's or one column's factor of one frame. (A pixel each would take as many sines
// in fp64 as there are pixels.)
PTYNET_KERNEL(kThreads)
factor_kernel(VariedSpectra s, ProbeSeries series, const double* first) {
  const int i = block().y * kThreads + thread();
  if (i >= s.h + s.w) return;
  const int frame = block().x;
  const ProbeVariation v = draw_variation(
      series, static_cast<std::uint64_t>(load_readonly(first)) + static_cast<std::uint64_t>(frame));
  const SpectrumFactor factor = i < s.h ? row_factor(v, i, s.h) : column_factor(v, i - s.h, s.w);
  store(complex_at<1>(s.factors, std::int64_t{frame} * (s.h + s.w) + i), {factor.re, factor.im});
}

// A thread: N pixels of a row of one frame, in all modes. Neighbouring blocks take the same pixels
// of different frames, so that the spectrum stays in the caches.
template <int N>
PTYNET_KERNEL(kThreads)
vary_kernel(VariedSpectra s) {
  const int pixels = s.h * s.w;
  const int pixel = (block().y * kThreads + thread()) * N;
  if (pixel >= pixels) return;
  const std::int64_t frame = block().x;
  const int row = pixel / s.w;
  const int column = pixel - row * s.w;
  const std::int64_t factors = frame * (s.h + s.w);
  const Complexes<1> of_row = load_readonly(complex_at<1>(s.factors, factors + row));
  Complexes<N> rows;
  Complexes<N> columns;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) {
    const Complexes<1> of_column =
        load_readonly(complex_at<1>(s.factors, factors + s.h + column + i));
    rows[2 * i] = of_row[0];
    rows[2 * i + 1] = of_row[1];
    columns[2 * i] = of_column[0];
    columns[2 * i + 1] = of_column[1];
  }
  for (int mode = 0; mode < s.modes; ++mode) {
    const Complexes<N> value =
        load_readonly(complex_at<N>(s.spectrum, std::int64_t{mode} * pixels + pixel));
    store(complex_at<N>(s.y, (frame * s.modes + mode) * pixels + pixel),
          product(product(value, rows), columns));
  }
}

}  // namespace

void vary_spectra(const VariedSpectra& s, const ProbeSeries& series, const double* first,
                  Stream stream) {
  constexpr const char* kName = "vary_spectra";
  const LaunchShape axes{grid_of(kName, s.n, blocks_for(kName, std::int64_t{s.h} + s.w, kThreads)),
                         kThreads};
  launch(kName, factor_kernel, axes, stream, s, series, first);
  const bool in_pairs = s.w % 2 == 0 && are_aligned(16, s.spectrum, s.y);
  const int blocks = blocks_for(kName, std::int64_t{s.h} * s.w, kThreads * (in_pairs ? 2 : 1));
  const LaunchShape pixels{grid_of(kName, s.n, blocks), kThreads};
  launch(kName, in_pairs ? vary_kernel<2> : vary_kernel<1>, pixels, stream, s);
}

}  // namespace ptynet::cuda
