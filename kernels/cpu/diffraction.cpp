// The step from the network's object to the detector and back, one frame per thread.

#include <omp.h>

#include <algorithm>
#include <complex>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/typed.h"
#include "kernels/phasor.h"

namespace ptynet::cpu {

namespace {

using Complex = std::complex<float>;

// One frame's way from exit wave to intensity. Complex arrays are read as (re, im) pairs of floats.
struct Diffraction {
  std::int64_t h, w, modes;
  const float* amplitude;  // [n, h, w]
  const float* phase;      // [n, h, w]
  const float* probe;      // [modes, h, w, 2]
  float* far;              // [n, modes, h, w, 2]
  const Fft2<float>* transform;

  std::int64_t pixels() const { return h * w; }
  float* far_of(std::int64_t frame, std::int64_t mode) const {
    return far + (frame * modes + mode) * 2 * pixels();
  }
  void run_transform(float* wave) const {
    auto* image = reinterpret_cast<Complex*>(wave);
    transform->run(image, image);
  }

  // exp(i phase) of a frame; times the amplitude it is the object.
  void find_phasors(std::int64_t frame, float* phasors) const {
    const float* angle = phase + frame * pixels();
#pragma omp simd
    for (std::int64_t p = 0; p < pixels(); ++p) {
      const UnitPhasor u = unit_phasor(angle[p]);
      phasors[2 * p] = u.cosine;
      phasors[2 * p + 1] = u.sine;
    }
  }

  void exit_wave(std::int64_t frame, std::int64_t mode, const float* phasors) const {
    const float* a = amplitude + frame * pixels();
    const float* light = probe + mode * 2 * pixels();
    float* wave = far_of(frame, mode);
#pragma omp simd
    for (std::int64_t p = 0; p < pixels(); ++p) {
      const float re = a[p] * phasors[2 * p];
      const float im = a[p] * phasors[2 * p + 1];
      wave[2 * p] = light[2 * p] * re - light[2 * p + 1] * im;
      wave[2 * p + 1] = light[2 * p] * im + light[2 * p + 1] * re;
    }
  }

  // Runs body(first in the far field, first in the intensity, count) over runs of pixels that stay
  // side by side when zero frequency goes from the corner to the centre, N / 2.
  template <typename Body>
  void for_each_run(Body&& body) const {
    for (std::int64_t r = 0; r < h; ++r) {
      const std::int64_t to = (r + h / 2) % h * w;
      body(r * w, to + w / 2, w - w / 2);
      body(r * w + w - w / 2, to, w / 2);
    }
  }

  void add_intensity(std::int64_t frame, std::int64_t mode, float* intensity) const {
    const float* wave = far_of(frame, mode);
    for_each_run([=](std::int64_t from, std::int64_t to, std::int64_t count) {
      const float* in = wave + 2 * from;
      float* out = intensity + to;
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) {
        out[i] += in[2 * i] * in[2 * i] + in[2 * i + 1] * in[2 * i + 1];
      }
    });
  }

  // From the far field to the derivative by the exit wave, in its place. The adjoint of the
  // transform F is conj(F(conj(.))): this leaves the conjugate of the derivative.
  void conjugate_wave_gradient(std::int64_t frame, std::int64_t mode,
                               const float* d_intensity) const {
    float* wave = far_of(frame, mode);
    for_each_run([=](std::int64_t from, std::int64_t to, std::int64_t count) {
      const float* slope = d_intensity + to;
      float* field = wave + 2 * from;
#pragma omp simd
      for (std::int64_t i = 0; i < count; ++i) {
        field[2 * i] *= 2.0F * slope[i];
        field[2 * i + 1] *= -2.0F * slope[i];
      }
    });
    run_transform(wave);
  }

  // Adds conj(probe) * derivative by the exit wave, which is the derivative by the object.
  void add_object_gradient(std::int64_t frame, std::int64_t mode, float* d_object) const {
    const float* light = probe + mode * 2 * pixels();
    const float* back = far_of(frame, mode);  // conjugated
#pragma omp simd
    for (std::int64_t p = 0; p < pixels(); ++p) {
      d_object[2 * p] += light[2 * p] * back[2 * p] - light[2 * p + 1] * back[2 * p + 1];
      d_object[2 * p + 1] -= light[2 * p] * back[2 * p + 1] + light[2 * p + 1] * back[2 * p];
    }
  }

  // Leaves conj(object) * derivative by the exit wave: this frame's share of the probe's.
  void multiply_by_object(std::int64_t frame, std::int64_t mode, const float* phasors) const {
    const float* a = amplitude + frame * pixels();
    float* back = far_of(frame, mode);
#pragma omp simd
    for (std::int64_t p = 0; p < pixels(); ++p) {
      const float re = a[p] * phasors[2 * p];
      const float im = a[p] * phasors[2 * p + 1];
      const float back_re = back[2 * p];
      const float back_im = back[2 * p + 1];
      back[2 * p] = re * back_re - im * back_im;
      back[2 * p + 1] = -(re * back_im + im * back_re);
    }
  }

  void split_object_gradient(std::int64_t frame, const float* phasors, const float* d_object,
                             float* d_amplitude, float* d_phase) const {
    const auto slopes = [=, a = amplitude + frame * pixels()](std::int64_t p) {
      return polar_slopes(a[p], {phasors[2 * p], phasors[2 * p + 1]}, d_object[2 * p],
                          d_object[2 * p + 1]);
    };
    if (d_amplitude != nullptr) {
      float* out = d_amplitude + frame * pixels();
#pragma omp simd
      for (std::int64_t p = 0; p < pixels(); ++p) out[p] = slopes(p).amplitude;
    }
    if (d_phase != nullptr) {
      float* out = d_phase + frame * pixels();
#pragma omp simd
      for (std::int64_t p = 0; p < pixels(); ++p) out[p] = slopes(p).phase;
    }
  }

  // d_probe of one mode's row: the shares of all frames, first to last.
  void sum_probe_row(std::int64_t n, std::int64_t mode, std::int64_t row, float* d_probe) const {
    const std::int64_t first = row * 2 * w;
    float* out = d_probe + mode * 2 * pixels() + first;
    std::copy_n(far_of(0, mode) + first, 2 * w, out);
    for (std::int64_t frame = 1; frame < n; ++frame) {
      const float* share = far_of(frame, mode) + first;
#pragma omp simd
      for (std::int64_t i = 0; i < 2 * w; ++i) out[i] += share[i];
    }
  }
};

}  // namespace

void CpuBackend::diffract(const ExitWave& wave, Array& far, Array& intensity) {
  const Shape& s = intensity.shape();
  const Diffraction diffraction{s[1],
                                s[2],
                                wave.probe.shape()[0],
                                wave.amplitude.data<float>(),
                                wave.phase.data<float>(),
                                wave.probe.data<float>(),
                                far.data<float>(),
                                &plan(s[1], s[2], FftDirection::kForward)};
  Array room = scratch({threads_, s[1], s[2], 2}, DType::kF32);  // one object per thread
  submit(
      "diffract", far,
      [diffraction, n = s[0], phasor_memory = room.data<float>(), out = intensity.data<float>()] {
        const std::int64_t pixels = diffraction.pixels();
#pragma omp parallel for
        for (std::int64_t frame = 0; frame < n; ++frame) {
          float* phasors = phasor_memory + omp_get_thread_num() * (2 * pixels);
          float* counts = out + frame * pixels;
          diffraction.find_phasors(frame, phasors);
          std::fill_n(counts, pixels, 0.0F);
          for (std::int64_t mode = 0; mode < diffraction.modes; ++mode) {
            diffraction.exit_wave(frame, mode, phasors);
            diffraction.run_transform(diffraction.far_of(frame, mode));
            diffraction.add_intensity(frame, mode, counts);
          }
        }
      });
}

void CpuBackend::diffract_gradient(const ExitWave& wave, Array& far, const Array& d_intensity,
                                   ExitWave& d) {
  const Shape& s = d_intensity.shape();
  const Diffraction diffraction{s[1],
                                s[2],
                                wave.probe.shape()[0],
                                wave.amplitude.data<float>(),
                                wave.phase.data<float>(),
                                wave.probe.data<float>(),
                                far.data<float>(),
                                &plan(s[1], s[2], FftDirection::kForward)};
  Array room = scratch({threads_, 2, s[1], s[2], 2}, DType::kF32);  // phasors, d_object
  submit("diffract_gradient", far,
         [diffraction, n = s[0], memory = room.data<float>(), slopes = d_intensity.data<float>(),
          d_amplitude = data_or_null<float>(d.amplitude), d_phase = data_or_null<float>(d.phase),
          d_probe = data_or_null<float>(d.probe)] {
           const std::int64_t pixels = diffraction.pixels();
           const bool object_wanted = d_amplitude != nullptr || d_phase != nullptr;
#pragma omp parallel for
           for (std::int64_t frame = 0; frame < n; ++frame) {
             float* phasors = memory + omp_get_thread_num() * (4 * pixels);
             float* d_object = phasors + 2 * pixels;
             diffraction.find_phasors(frame, phasors);
             std::fill_n(d_object, 2 * pixels, 0.0F);
             for (std::int64_t mode = 0; mode < diffraction.modes; ++mode) {
               diffraction.conjugate_wave_gradient(frame, mode, slopes + frame * pixels);
               if (object_wanted) diffraction.add_object_gradient(frame, mode, d_object);
               if (d_probe != nullptr) diffraction.multiply_by_object(frame, mode, phasors);
             }
             diffraction.split_object_gradient(frame, phasors, d_object, d_amplitude, d_phase);
           }
           if (d_probe == nullptr) return;
#pragma omp parallel for
           for (std::int64_t row = 0; row < diffraction.modes * diffraction.h; ++row) {
             diffraction.sum_probe_row(n, row / diffraction.h, row % diffraction.h, d_probe);
           }
         });
}

}  // namespace ptynet::cpu
