#include <omp.h>

#include <algorithm>
#include <cmath>
#include <complex>

#include "kernels/count_type.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/typed.h"
#include "kernels/phasor.h"
#include "kernels/poisson.h"
#include "kernels/probe_variation.h"

namespace ptynet::cpu {

namespace {

using Complex = std::complex<float>;

// The count as float, or 0 where there is none.
template <typename T>
float good_count(T v) {
  return is_count(v) ? static_cast<float>(v) : 0.0F;
}

// A run of pixels of one frame, so that one frame alone keeps all threads busy.
struct FramePart {
  std::int64_t first, last;  // of all pixels of all frames
  std::int64_t in_frame;     // where the run begins in its frame
};

constexpr std::int64_t kPartPixels = 4096;

template <typename T>
float largest_count(const T* counts, const std::uint8_t* mask, std::int64_t n) {
  float largest = 0.0F;
  if (mask == nullptr) {
#pragma omp simd reduction(max : largest)
    for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, good_count(counts[i]));
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      if (mask[i] != 0) largest = std::max(largest, good_count(counts[i]));
    }
  }
  return largest;
}

template <typename T, typename Out>
void normalise(const T* counts, const std::uint8_t* mask, std::int64_t n, InputQuantity quantity,
               float gain, float divisor, Out* out) {
  const bool root = quantity == InputQuantity::kAmplitude;
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    const float v = good_count(counts[i]) * gain;
    store(out[i], (root ? std::sqrt(v) : v) / divisor);
  }
  for (std::int64_t i = 0; mask != nullptr && i < n; ++i) {
    if (mask[i] == 0) store(out[i], 0.0F);
  }
}

// A head's channel of pixels [first, last) of to [pixels, c].
void add_head_gradient(const float* from, const OutputHead& head, std::int64_t first,
                       std::int64_t last, std::int64_t c, float* to) {
  if (from == nullptr || head.channel < 0) return;
  float* channel = to + head.channel;
  for (std::int64_t pixel = first; pixel < last; ++pixel) {
    channel[pixel * c] += from[pixel] * head.scale;
  }
}

// What the values of a frame are divided by.
float frame_divisor(float largest, const InputRule& rule) {
  if (rule.scale != InputScale::kFrameMax) return 1.0F;
  return (rule.quantity == InputQuantity::kAmplitude ? std::sqrt(largest) : largest) + rule.epsilon;
}

}  // namespace

void CpuBackend::input_rule(const Array& frames, const Array& mask, const InputRule& rule,
                            Array& y) {
  const std::int64_t n = frames.shape()[0];
  const std::int64_t pixels = frames.shape()[1] * frames.shape()[2];
  const std::int64_t parts = (pixels + kPartPixels - 1) / kPartPixels;  // of a frame
  const std::uint8_t* good = mask.empty() ? nullptr : mask.data<std::uint8_t>();
  const float gain =
      rule.scale == InputScale::kScanMax ? rule.factor / std::max(rule.scan_max, 1e-20F) : 1.0F;
  Array maxima = scratch({n * parts}, DType::kF32);
  with_count_type(frames.dtype(), [&](auto count) {
    with_float_type(y.dtype(), [&](auto value) {
      using T = decltype(count);
      using Out = decltype(value);
      submit("input_rule", y,
             [=, in = frames.data<T>(), out = y.data<Out>(), largest = maxima.data<float>()] {
               const auto run = [=](std::int64_t part) {
                 const std::int64_t first = part % parts * kPartPixels;
                 return FramePart{part / parts * pixels + first,
                                  part / parts * pixels + std::min(first + kPartPixels, pixels),
                                  first};
               };
#pragma omp parallel
               {
                 if (rule.scale == InputScale::kFrameMax) {
#pragma omp for
                   for (std::int64_t part = 0; part < n * parts; ++part) {
                     const FramePart r = run(part);
                     largest[part] =
                         largest_count(in + r.first, good == nullptr ? nullptr : good + r.in_frame,
                                       r.last - r.first);
                   }
                 }
#pragma omp for
                 for (std::int64_t part = 0; part < n * parts; ++part) {
                   const FramePart r = run(part);
                   const float* of_frame = largest + part / parts * parts;
                   const float divisor =
                       rule.scale == InputScale::kFrameMax
                           ? frame_divisor(*std::max_element(of_frame, of_frame + parts), rule)
                           : 1.0F;
                   normalise(in + r.first, good == nullptr ? nullptr : good + r.in_frame,
                             r.last - r.first, rule.quantity, gain, divisor, out + r.first);
                 }
               }
             });
    });
  });
}

void CpuBackend::output_heads(const Array& x, const OutputHead& amplitude_head,
                              const OutputHead& phase_head, Array& amplitude, Array& phase) {
  const std::int64_t c = x.shape()[3];
  const std::int64_t pixels = amplitude.elements();
  with_float_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    submit("output_heads", amplitude,
           [=, in = x.data<T>(), a = amplitude.data<float>(), p = phase.data<float>()] {
             const auto head = [in, c](const OutputHead& h, std::int64_t pixel) {
               return h.channel < 0 ? 1.0F : load(in[pixel * c + h.channel]) * h.scale + h.offset;
             };
#pragma omp parallel for
             for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
               a[pixel] = head(amplitude_head, pixel);
               p[pixel] = head(phase_head, pixel);
             }
           });
  });
}

void CpuBackend::output_heads_gradient(const Array& d_amplitude, const Array& d_phase,
                                       const OutputHead& amplitude_head,
                                       const OutputHead& phase_head, Array& dx) {
  const std::int64_t c = dx.shape()[3];
  const std::int64_t pixels = dx.elements() / c;
  submit("output_heads_gradient", dx,
         [=, a = data_or_null<float>(d_amplitude), p = data_or_null<float>(d_phase),
          out = dx.data<float>()] {
           for_each_run(pixels, [=](std::int64_t first, std::int64_t last) {
             std::fill(out + first * c, out + last * c, 0.0F);
             add_head_gradient(a, amplitude_head, first, last, c, out);
             add_head_gradient(p, phase_head, first, last, c, out);
           });
         });
}

void CpuBackend::compose_object(const Array& amplitude, const Array& phase, Array& object) {
  submit("compose_object", object,
         [a = amplitude.data<float>(), p = phase.data<float>(), out = object.data<Complex>(),
          count = object.elements()] {
           for_each_run(count, [=](std::int64_t first, std::int64_t last) {
             auto* parts = reinterpret_cast<float*>(out);
#pragma omp simd
             for (std::int64_t i = first; i < last; ++i) {
               const UnitPhasor u = unit_phasor(p[i]);
               parts[2 * i] = a[i] * u.cosine;
               parts[2 * i + 1] = a[i] * u.sine;
             }
           });
         });
}

void CpuBackend::fft2(const Array& x, FftDirection direction, Array& y) {
  const std::int64_t n = x.shape()[0];
  const std::int64_t pixels = x.shape()[1] * x.shape()[2];
  const Fft2<float>& transform = plan(x.shape()[1], x.shape()[2], direction);
  submit("fft2", y, [=, &transform, in = x.data<Complex>(), out = y.data<Complex>()] {
#pragma omp parallel for
    for (std::int64_t i = 0; i < n; ++i) transform.run(in + i * pixels, out + i * pixels);
  });
}

void CpuBackend::far_field_intensity(const Array& object, const Array& probe, Array& y) {
  const std::int64_t n = object.shape()[0];
  const std::int64_t h = object.shape()[1];
  const std::int64_t w = object.shape()[2];
  const bool of_each_frame = probe.shape().rank() == 4;
  const std::int64_t modes = probe.shape()[of_each_frame ? 1 : 0];
  const Fft2<float>& transform = plan(h, w, FftDirection::kForward);
  Array waves = scratch({threads_, h, w}, DType::kC64);  // one exit wave per thread
  submit("far_field_intensity", y,
         [=, &transform, in = object.data<Complex>(), illumination = probe.data<Complex>(),
          wave_memory = waves.data<Complex>(), out = y.data<float>()] {
#pragma omp parallel for
           for (std::int64_t i = 0; i < n; ++i) {
             Complex* wave = wave_memory + omp_get_thread_num() * h * w;
             float* intensity = out + i * h * w;
             std::fill_n(intensity, h * w, 0.0F);
             for (std::int64_t mode = 0; mode < modes; ++mode) {
               const Complex* light =
                   illumination + ((of_each_frame ? i * modes : 0) + mode) * h * w;
               const Complex* sample = in + i * h * w;
               for (std::int64_t p = 0; p < h * w; ++p) wave[p] = light[p] * sample[p];
               transform.run(wave, wave);
               for (std::int64_t r = 0; r < h; ++r) {  // zero frequency to the centre, N/2
                 float* to = intensity + (r + h / 2) % h * w;
                 for (std::int64_t c = 0; c < w; ++c)
                   to[(c + w / 2) % w] += std::norm(wave[r * w + c]);
               }
             }
           }
         });
}

void CpuBackend::photon_noise(const Array& expected, std::uint64_t seed, const Array& first,
                              Array& counts) {
  const std::int64_t h = counts.shape()[1];
  const std::int64_t w = counts.shape()[2];
  submit("photon_noise", counts,
         [=, n = counts.shape()[0], from = expected.data<float>(),
          first_number = first.data<double>(), to = counts.data<float>()] {
           const auto number = static_cast<std::uint64_t>(*first_number);
           const auto pixels = static_cast<std::uint64_t>(h * w);
    // Bright rows take longer.
#pragma omp parallel for schedule(dynamic)
           for (std::int64_t row = 0; row < n * h; ++row) {
             const CounterRandom random =
                 photon_stream(seed, number + static_cast<std::uint64_t>(row / h));
             for (std::int64_t c = 0; c < w; ++c) {
               const auto pixel = static_cast<std::uint64_t>(row % h * w + c);
               to[row * w + c] = static_cast<float>(
                   poisson_sample(double{from[row * w + c]}, random, pixel, pixels));
             }
           }
         });
}

void CpuBackend::vary_spectra(const Array& spectrum, const ProbeSeries& series, const Array& first,
                              Array& y) {
  const std::int64_t modes = spectrum.shape()[0];
  const std::int64_t h = spectrum.shape()[1];
  const std::int64_t w = spectrum.shape()[2];
  Array factors = scratch({threads_, h + w}, DType::kC64);  // one frame's per thread
  submit("vary_spectra", y,
         [=, n = y.shape()[0], from = spectrum.data<Complex>(), first_number = first.data<double>(),
          factor_memory = factors.data<Complex>(), out = y.data<Complex>()] {
           const auto number = static_cast<std::uint64_t>(*first_number);
#pragma omp parallel for
           for (std::int64_t i = 0; i < n; ++i) {
             const ProbeVariation v =
                 draw_variation(series, number + static_cast<std::uint64_t>(i));
             Complex* rows = factor_memory + omp_get_thread_num() * (h + w);
             Complex* columns = rows + h;
             for (std::int64_t r = 0; r < h; ++r) {
               const SpectrumFactor factor = row_factor(v, r, h);
               rows[r] = {factor.re, factor.im};
             }
             for (std::int64_t c = 0; c < w; ++c) {
               const SpectrumFactor factor = column_factor(v, c, w);
               columns[c] = {factor.re, factor.im};
             }
             for (std::int64_t row = 0; row < modes * h; ++row) {
               const Complex* of_probe = from + row * w;
               Complex* to = out + (i * modes * h + row) * w;
               for (std::int64_t c = 0; c < w; ++c)
                 to[c] = of_probe[c] * rows[row % h] * columns[c];
             }
           }
         });
}

void CpuBackend::r_factor_sums(const Array& predicted, const Array& measured, Array& sums) {
  const std::int64_t n = measured.shape()[0];
  const std::int64_t pixels = measured.shape()[1] * measured.shape()[2];
  submit("r_factor_sums", sums,
         [=, model = predicted.data<float>(), data = measured.data<float>(),
          out = sums.data<double>()] {
#pragma omp parallel for
           for (std::int64_t i = 0; i < n; ++i) {
             double difference = 0;
             double total = 0;
             for (std::int64_t p = i * pixels; p < (i + 1) * pixels; ++p) {
               if (!is_count(data[p])) continue;
               const double root = std::sqrt(double{data[p]});
               difference += std::abs(root - std::sqrt(std::max(0.0, double{model[p]})));
               total += root;
             }
             out[2 * i] = difference;
             out[2 * i + 1] = total;
           }
         });
}

}  // namespace ptynet::cpu
