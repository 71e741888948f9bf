#include "kernels/cuda/block_sums.h"
#include "kernels/cuda/complex.h"
#include "kernels/cuda/far_field.h"
#include "kernels/cuda/frame_reader.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kPartPixels = 2048;  // of a frame, per block

// Intensities of N pixels of a row, zero frequency in the middle.
template <int N>
struct FromFarField {
  const float* far;
  int modes, h, w;

  PTYNET_DEVICE Vector<float, N> intensity(int frame, int row, int column) const {
    const std::int64_t pixels = std::int64_t{h} * w;
    const std::int64_t from = frame * modes * pixels + place_before_shift(row, column, h, w);
    Vector<float, N> out{};
    for (int mode = 0; mode < modes; ++mode) {
      const Complexes<N> field = load_readonly(complex_at<N>(far, from + mode * pixels));
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) {
        out[i] += field[2 * i] * field[2 * i] + field[2 * i + 1] * field[2 * i + 1];
      }
    }
    return out;
  }
};

template <int N>
struct FromIntensity {
  const float* predicted;
  int h, w;

  PTYNET_DEVICE Vector<float, N> intensity(int frame, int row, int column) const {
    const std::int64_t at = (std::int64_t{frame} * h + row) * w + column;
    return load_readonly(reinterpret_cast<const Vector<float, N>*>(predicted + at));
  }
};

struct Differences {
  double absolute = 0;
  double total = 0;

  template <typename T>
  PTYNET_DEVICE void add(T measured, float predicted) {
    if (!is_count(measured)) return;
    const float root = std::sqrt(static_cast<float>(measured));
    absolute += std::fabs(root - std::sqrt(std::fmax(predicted, 0.0F)));
    total += root;
  }

  // The block's sums to `to`, [2]. All threads call it, once.
  PTYNET_DEVICE void write_block(double* to) {
    double sums[2] = {absolute, total};
    sum_block<kThreads>(sums);
    if (thread() > 0) return;
    store(to, sums[0]);
    store(to + 1, sums[1]);
  }
};

struct Wanted {
  float* intensity;  // or null
  double* parts;     // or null
};

// A block: one part of a frame.
// One block per multiprocessor is all that is asked for: else ptxas spills to fit in more.
template <typename T, int N, typename Source>
PTYNET_KERNEL(kThreads, 1)
far_field_kernel(Source source, DetectorFrames measured, Wanted wanted) {
  const int frame = block().x;
  const int pixels = source.h * source.w;
  const int end = (block().y + 1) * kPartPixels;
  Differences differences;
  for (int pixel = block().y * kPartPixels + thread() * N; pixel < pixels && pixel < end;
       pixel += kThreads * N) {
    const int row = pixel / source.w;
    const int column = pixel - row * source.w;
    const Vector<float, N> predicted = source.intensity(frame, row, column);
    if (wanted.intensity != nullptr) {
      store_floats(wanted.intensity + std::int64_t{frame} * pixels + pixel, predicted);
    }
    if (wanted.parts == nullptr) continue;
    const FrameReader<T, N> reader(measured, frame);
    const Vector<T, N> counts = reader.read(reader.place(row, column));
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) differences.add(counts[i], predicted[i]);
  }
  if (wanted.parts == nullptr) return;
  differences.write_block(wanted.parts + 2 * (std::int64_t{frame} * grid().y + block().y));
}

PTYNET_KERNEL(kThreads)
sum_parts_kernel(const double* parts, int count, int frames, double* sums) {
  const int i = block().x * kThreads + thread();
  if (i >= 2 * frames) return;
  const double* of_frame = parts + std::int64_t{i / 2} * count * 2 + i % 2;
  double sum = 0;
  for (int part = 0; part < count; ++part) sum += load_readonly(of_frame + 2 * part);
  store(sums + i, sum);
}

template <typename T, int N, typename Source>
void launch_far_field(const char* name, const Source& source, const DetectorFrames& measured,
                      const Wanted& wanted, Stream stream) {
  const LaunchShape shape{grid_of(name, measured.n, residual_parts(source.h, source.w)), kThreads};
  launch(name, far_field_kernel<T, N, Source>, shape, stream, source, measured, wanted);
}

void sum_parts(int n, int h, int w, const ResidualSums& residual, Stream stream) {
  const int blocks = blocks_for("residual", 2 * std::int64_t{n}, kThreads);
  launch("residual", sum_parts_kernel, LaunchShape{{blocks}, kThreads}, stream, residual.parts,
         residual_parts(h, w), n, residual.sums);
}

// Two pixels at once stay together through the shift.
bool in_pairs(const DetectorFrames& measured) {
  return measured.window.w % 4 == 0 && reads_together(measured, 2);
}

void run_far_field(const char* name, const FarFieldShape& s, const float* far,
                   const DetectorFrames& measured, const Wanted& wanted, Stream stream) {
  const FrameWindow& window = measured.window;
  if (window.h != s.h || window.w != s.w || measured.n != s.n) {
    fail_runtime(name, " takes measured frames of the far field's ", s.n, " x ", s.h, " x ", s.w,
                 ", found ", measured.n, " x ", window.h, " x ", window.w);
  }
  with_count_type(measured.type, [&](auto count) {
    using T = decltype(count);
    if (in_pairs(measured) && are_aligned(16, far) && are_aligned(8, wanted.intensity)) {
      launch_far_field<T, 2>(name, FromFarField<2>{far, s.modes, s.h, s.w}, measured, wanted,
                             stream);
    } else {
      launch_far_field<T, 1>(name, FromFarField<1>{far, s.modes, s.h, s.w}, measured, wanted,
                             stream);
    }
  });
}

}  // namespace

int residual_parts(int h, int w) {
  return blocks_for("residual", std::int64_t{h} * w, kPartPixels);
}

void far_field_intensity(const FarFieldShape& s, const float* far, float* intensity,
                         Stream stream) {
  const DetectorFrames nothing{nullptr, DType::kF32, nullptr, FrameWindow::whole(s.h, s.w), s.n};
  run_far_field("far_field_intensity", s, far, nothing, {intensity, nullptr}, stream);
}

void far_field_residual(const FarFieldShape& s, const float* far, const DetectorFrames& measured,
                        float* intensity, const ResidualSums& residual, Stream stream) {
  run_far_field("far_field_residual", s, far, measured, {intensity, residual.parts}, stream);
  sum_parts(s.n, s.h, s.w, residual, stream);
}

void intensity_residual(const float* predicted, const DetectorFrames& measured,
                        const ResidualSums& residual, Stream stream) {
  const int h = measured.window.h;
  const int w = measured.window.w;
  const Wanted wanted{nullptr, residual.parts};
  with_count_type(measured.type, [&](auto count) {
    using T = decltype(count);
    if (in_pairs(measured) && are_aligned(8, predicted)) {
      launch_far_field<T, 2>("intensity_residual", FromIntensity<2>{predicted, h, w}, measured,
                             wanted, stream);
    } else {
      launch_far_field<T, 1>("intensity_residual", FromIntensity<1>{predicted, h, w}, measured,
                             wanted, stream);
    }
  });
  sum_parts(measured.n, h, w, residual, stream);
}

}  // namespace ptynet::cuda
