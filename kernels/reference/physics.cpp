#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/poisson.h"
#include "kernels/probe_variation.h"
#include "kernels/reference/reference_backend.h"

namespace ptynet::reference {

namespace {

// One-dimensional DFT of `count` elements `step` apart, by its definition.
void dft(std::vector<Complex>& data, std::size_t first, std::size_t step, std::size_t count,
         double sign) {
  std::vector<Complex> out(count);
  for (std::size_t k = 0; k < count; ++k) {
    for (std::size_t i = 0; i < count; ++i) {
      const double turn = static_cast<double>(k * i % count) / static_cast<double>(count);
      out[k] += data[first + i * step] * std::polar(1.0, sign * 2 * std::numbers::pi * turn);
    }
  }
  for (std::size_t k = 0; k < count; ++k) data[first + k * step] = out[k];
}

void dft2(std::vector<Complex>& image, std::size_t rows, std::size_t columns,
          FftDirection direction) {
  const double sign = direction == FftDirection::kForward ? -1.0 : 1.0;
  for (std::size_t r = 0; r < rows; ++r) dft(image, r * columns, 1, columns, sign);
  for (std::size_t c = 0; c < columns; ++c) dft(image, c, columns, rows, sign);
  if (direction == FftDirection::kInverse) {
    for (Complex& v : image) v /= static_cast<double>(rows * columns);
  }
}

// Where fftshift puts element i of an image.
std::size_t shifted(std::size_t i, std::size_t rows, std::size_t columns) {
  // Extents are above 0. NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
  return (i / columns + rows / 2) % rows * columns + (i % columns + columns / 2) % columns;
}

// exp(i phase). Not std::polar with the amplitude: a network's may be negative.
Complex turned(double phase) { return {std::cos(phase), std::sin(phase)}; }

// The product of two complex numbers as real vectors.
double dot(Complex a, Complex b) { return a.real() * b.real() + a.imag() * b.imag(); }

}  // namespace

void ReferenceBackend::compose_object(const Array& amplitude, const Array& phase, Array& object) {
  submit("compose_object", [=]() mutable {
    const std::vector<double> a = values_of(amplitude);
    const std::vector<double> p = values_of(phase);
    std::vector<Complex> out(a.size());
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = a[i] * turned(p[i]);
    store(out, object);
  });
}

void ReferenceBackend::fft2(const Array& x, FftDirection direction, Array& y) {
  submit("fft2", [=]() mutable {
    const auto rows = static_cast<std::size_t>(x.shape()[1]);
    const auto columns = static_cast<std::size_t>(x.shape()[2]);
    const std::vector<Complex> in = complex_values_of(x);
    std::vector<Complex> out;
    for (std::size_t first = 0; first < in.size(); first += rows * columns) {
      const auto from = in.begin() + static_cast<std::ptrdiff_t>(first);
      std::vector<Complex> image(from, from + static_cast<std::ptrdiff_t>(rows * columns));
      dft2(image, rows, columns, direction);
      out.insert(out.end(), image.begin(), image.end());
    }
    store(out, y);
  });
}

void ReferenceBackend::far_field_intensity(const Array& object, const Array& probe, Array& y) {
  submit("far_field_intensity", [=]() mutable {
    const auto h = static_cast<std::size_t>(object.shape()[1]);
    const auto w = static_cast<std::size_t>(object.shape()[2]);
    const std::vector<Complex> sample = complex_values_of(object);
    const std::vector<Complex> light = complex_values_of(probe);
    const bool of_each_frame = probe.shape().rank() == 4;
    const auto modes = static_cast<std::size_t>(probe.shape()[of_each_frame ? 1 : 0]);
    std::vector<double> out(sample.size());
    for (std::size_t first = 0; first < sample.size(); first += h * w) {
      const std::size_t of_frame = of_each_frame ? first * modes : 0;
      for (std::size_t mode = 0; mode < modes; ++mode) {
        const Complex* mode_light = light.data() + of_frame + mode * h * w;
        std::vector<Complex> wave(h * w);
        for (std::size_t i = 0; i < h * w; ++i) wave[i] = mode_light[i] * sample[first + i];
        dft2(wave, h, w, FftDirection::kForward);
        for (std::size_t i = 0; i < h * w; ++i) {
          out[first + shifted(i, h, w)] += std::norm(wave[i]);
        }
      }
    }
    store(out, y);
  });
}

void ReferenceBackend::photon_noise(const Array& expected, std::uint64_t seed, const Array& first,
                                    Array& counts) {
  submit("photon_noise", [=]() mutable {
    std::vector<double> out = values_of(expected);
    const auto pixels = static_cast<std::uint64_t>(counts.shape()[1] * counts.shape()[2]);
    const auto number = static_cast<std::uint64_t>(first.data<double>()[0]);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const CounterRandom random = photon_stream(seed, number + i / pixels);
      out[i] = poisson_sample(out[i], random, i % pixels, pixels);
    }
    store(out, counts);
  });
}

void ReferenceBackend::vary_spectra(const Array& spectrum, const ProbeSeries& series,
                                    const Array& first, Array& y) {
  submit("vary_spectra", [=]() mutable {
    const std::int64_t h = spectrum.shape()[1];
    const std::int64_t w = spectrum.shape()[2];
    const std::vector<Complex> of_probe = complex_values_of(spectrum);
    const auto number = static_cast<std::uint64_t>(first.data<double>()[0]);
    std::vector<Complex> out;
    for (std::int64_t frame = 0; frame < y.shape()[0]; ++frame) {
      const ProbeVariation v = draw_variation(series, number + static_cast<std::uint64_t>(frame));
      for (std::int64_t i = 0; i < spectrum.elements(); ++i) {
        const SpectrumFactor row = row_factor(v, i / w % h, h);
        const SpectrumFactor column = column_factor(v, i % w, w);
        out.push_back(of_probe[static_cast<std::size_t>(i)] * Complex(row.re, row.im) *
                      Complex(column.re, column.im));
      }
    }
    store(out, y);
  });
}

void ReferenceBackend::r_factor_sums(const Array& predicted, const Array& measured, Array& sums) {
  submit("r_factor_sums", [=]() mutable {
    const std::vector<double> model = values_of(predicted);
    const std::vector<double> data = values_of(measured);
    const auto pixels = static_cast<std::size_t>(measured.shape()[1] * measured.shape()[2]);
    std::vector<double> out(static_cast<std::size_t>(sums.elements()), 0.0);
    for (std::size_t i = 0; i < data.size(); ++i) {
      if (!is_count(data[i])) continue;
      out[2 * (i / pixels)] += std::abs(std::sqrt(data[i]) - std::sqrt(std::max(0.0, model[i])));
      out[2 * (i / pixels) + 1] += std::sqrt(data[i]);
    }
    store(out, sums);
  });
}

void ReferenceBackend::diffract(const ExitWave& wave, Array& far, Array& intensity) {
  submit("diffract", [=]() mutable {
    const auto h = static_cast<std::size_t>(wave.amplitude.shape()[1]);
    const auto w = static_cast<std::size_t>(wave.amplitude.shape()[2]);
    const std::vector<Complex> light = complex_values_of(wave.probe);
    const std::vector<double> amplitude = values_of(wave.amplitude);
    const std::vector<double> phase = values_of(wave.phase);
    std::vector<Complex> fields;
    std::vector<double> out(amplitude.size());
    for (std::size_t first = 0; first < amplitude.size(); first += h * w) {
      for (std::size_t mode = 0; mode < light.size(); mode += h * w) {
        std::vector<Complex> field(h * w);
        for (std::size_t i = 0; i < h * w; ++i) {
          field[i] = light[mode + i] * amplitude[first + i] * turned(phase[first + i]);
        }
        dft2(field, h, w, FftDirection::kForward);
        for (std::size_t i = 0; i < h * w; ++i) {
          out[first + shifted(i, h, w)] += std::norm(field[i]);
        }
        fields.insert(fields.end(), field.begin(), field.end());
      }
    }
    store(fields, far);
    store(out, intensity);
  });
}

// Derivatives of the real loss by a complex number are kept as (by its real part) + i (by its
// imaginary part): then that of |z|^2 is 2 z, and what went through z' = a z comes back times
// conj(a), so that a transform comes back as its conjugate: the inverse one without 1 / (h w).
void ReferenceBackend::diffract_gradient(const ExitWave& wave, Array& far, const Array& d_intensity,
                                         ExitWave& d) {
  submit("diffract_gradient", [=]() mutable {
    const auto h = static_cast<std::size_t>(wave.amplitude.shape()[1]);
    const auto w = static_cast<std::size_t>(wave.amplitude.shape()[2]);
    const std::vector<Complex> light = complex_values_of(wave.probe);
    const std::vector<double> amplitude = values_of(wave.amplitude);
    const std::vector<double> phase = values_of(wave.phase);
    const std::vector<double> upstream = values_of(d_intensity);
    const std::vector<Complex> fields = complex_values_of(far);
    std::vector<double> d_amplitude(amplitude.size());
    std::vector<double> d_phase(amplitude.size());
    std::vector<Complex> d_probe(light.size());
    std::size_t field = 0;
    for (std::size_t first = 0; first < amplitude.size(); first += h * w) {
      for (std::size_t mode = 0; mode < light.size(); mode += h * w, field += h * w) {
        std::vector<Complex> d_wave(h * w);
        for (std::size_t i = 0; i < h * w; ++i) {
          d_wave[i] = 2.0 * fields[field + i] * upstream[first + shifted(i, h, w)];
        }
        dft2(d_wave, h, w, FftDirection::kInverse);
        for (std::size_t i = 0; i < h * w; ++i) {
          d_wave[i] *= static_cast<double>(h * w);
          const Complex turn = turned(phase[first + i]);
          const Complex object = amplitude[first + i] * turn;
          const Complex d_object = std::conj(light[mode + i]) * d_wave[i];
          d_probe[mode + i] += std::conj(object) * d_wave[i];
          d_amplitude[first + i] += dot(turn, d_object);
          d_phase[first + i] += dot(Complex(0, 1) * object, d_object);
        }
      }
    }
    store(d_amplitude, d.amplitude);
    store(d_phase, d.phase);
    store(d_probe, d.probe);
  });
}

}  // namespace ptynet::reference
