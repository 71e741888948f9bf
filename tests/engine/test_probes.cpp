// Probes against the formulas of optics (Goodman, Introduction to Fourier Optics).
#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <thread>
#include <vector>

#include "engine/probes.h"
#include "engine/simulate.h"
#include "kernels/backend.h"
#include "kernels/probe_variation.h"
#include "tests/catch.h"

using namespace ptynet;
using Catch::Contains;

namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kWavelength = 1e-10;
constexpr double kPixel = 20e-9;

ProbeModel model_of(ProbeKind kind, double diameter_m, double defocus_m) {
  ProbeModel model = probe_model(kind);
  model.wavelength_m = kWavelength;
  model.object_pixel_m = kPixel;
  model.diameter_m = diameter_m;
  model.defocus_m = defocus_m;
  model.central_stop_diameter_m = 0;
  return model;
}

double intensity(const Array& probe, std::int64_t row, std::int64_t column) {
  const std::int64_t n = probe.shape()[1];
  return std::norm(
      std::complex<double>(probe.data<std::complex<float>>()[(n / 2 + row) * n + n / 2 + column]));
}

double energy(const Array& probe) {
  double sum = 0;
  for (std::int64_t k = 0; k < probe.elements(); ++k) {
    sum += std::norm(std::complex<double>(probe.data<std::complex<float>>()[k]));
  }
  return sum;
}

// Mean square distance from the middle along columns, px^2.
double spread(const Array& probe) {
  const std::int64_t n = probe.shape()[1];
  double sum = 0;
  for (std::int64_t r = -n / 2; r < n / 2; ++r) {
    for (std::int64_t c = -n / 2; c < n / 2; ++c) {
      sum += intensity(probe, r, c) * static_cast<double>(c * c);
    }
  }
  return sum / energy(probe);
}

// |a - b| / |a|
double difference(const Array& a, const Array& b) {
  double sum = 0;
  for (std::int64_t k = 0; k < a.elements(); ++k) {
    sum += std::norm(std::complex<double>(a.data<std::complex<float>>()[k]) -
                     std::complex<double>(b.data<std::complex<float>>()[k]));
  }
  return std::sqrt(sum / energy(a));
}

Array rolled(const Array& probe, std::int64_t rows, std::int64_t columns) {
  Array out = Array::host(probe.shape(), DType::kC64);
  const std::int64_t n = probe.shape()[1];
  for (std::int64_t k = 0; k < n * n; ++k) {
    const std::int64_t to = (k / n + rows + n) % n * n + (k % n + columns + n) % n;
    out.data<std::complex<float>>()[to] = probe.data<std::complex<float>>()[k];
  }
  return out;
}

// Element by element, as kernels/probe_variation.h says.
Array varied(const Array& probe, const ProbeVariation& variation) {
  const auto backend = make_cpu_backend(1);
  const Shape& s = probe.shape();
  Array out = Array::host(s, DType::kC64);
  backend->fft2(probe, FftDirection::kForward, out);
  for (std::int64_t k = 0; k < out.elements(); ++k) {
    const SpectrumFactor row = row_factor(variation, k / s[2] % s[1], s[1]);
    const SpectrumFactor column = column_factor(variation, k % s[2], s[2]);
    out.data<std::complex<float>>()[k] *=
        std::complex<float>(row.re, row.im) * std::complex<float>(column.re, column.im);
  }
  backend->fft2(out, FftDirection::kInverse, out);
  return out;
}

}  // namespace

TEST_CASE("a Gaussian beam widens as w(z) says") {
  const double waist_m = 0.2e-6 / std::sqrt(2 * std::numbers::ln2);
  const double rayleigh_m = kPi * waist_m * waist_m / kWavelength;
  for (const double z : {0.0, 0.5e-3, -1e-3, 2e-3}) {
    const Array probe = make_probe(model_of(ProbeKind::kGaussian, 0.2e-6, z), 128);
    const double width_m = waist_m * std::sqrt(1 + z * z / (rayleigh_m * rayleigh_m));
    // <x^2> = w^2 / 4
    CHECK(std::sqrt(spread(probe)) * kPixel == Approx(width_m / 2).epsilon(1e-3));
    // 1 - exp(-2 r^2 / w^2) of its energy lie within r
    const double diameter_m = 2 * width_m * std::sqrt(std::log(10.0) / 2);
    CHECK(probe_diameter_px(probe) == Approx(diameter_m / kPixel).margin(0.7));
  }
}

TEST_CASE("the phase of a Gaussian beam curves as R(z) says, and diverges behind the waist") {
  const double waist_m = 0.2e-6 / std::sqrt(2 * std::numbers::ln2);
  const double rayleigh_m = kPi * waist_m * waist_m / kWavelength;
  const double z = 1e-3;
  const Array probe = make_probe(model_of(ProbeKind::kGaussian, 0.2e-6, z), 128);
  const double radius_m = z * (1 + rayleigh_m * rayleigh_m / (z * z));
  const auto* v = probe.data<std::complex<float>>() + 64 * 128 + 64;
  const double phase = double{std::arg(v[12] * std::conj(v[0]))};
  CHECK(phase == Approx(kPi * 144 * kPixel * kPixel / (kWavelength * radius_m)).epsilon(1e-3));
}

TEST_CASE("a pinhole is a disc behind itself, and an Airy pattern far away") {
  const Array near = make_probe(model_of(ProbeKind::kPinhole, 1.2e-6, 0), 128);
  CHECK(probe_diameter_px(near) == Approx(60 * std::sqrt(0.9)).margin(0.7));
  CHECK(intensity(near, 25, 0) == Approx(intensity(near, 0, 0)).epsilon(1e-5));
  CHECK(intensity(near, 35, 0) < 1e-9 * intensity(near, 0, 0));

  // Fresnel number a^2 / (wavelength z) = 37: still a disc with fringes. 0.1: the far field.
  const Array fringes = make_probe(model_of(ProbeKind::kPinhole, 1.2e-6, 1e-4), 128);
  CHECK(probe_diameter_px(fringes) == Approx(60 * std::sqrt(0.9)).margin(1.5));
  const double z = 1e-3;
  const double diameter_m = 0.2e-6;
  const Array far = make_probe(model_of(ProbeKind::kPinhole, diameter_m, z), 128);
  const double zero_px = 1.2197 * kWavelength * z / diameter_m / kPixel;  // 30.5
  std::int64_t darkest = 5;
  for (std::int64_t r = 5; r < 45; ++r) {
    if (intensity(far, r, 0) < intensity(far, darkest, 0)) darkest = r;
  }
  CHECK(static_cast<double>(darkest) == Approx(zero_px).margin(1));
  CHECK(intensity(far, darkest, 0) < 2e-3 * intensity(far, 0, 0));
}

TEST_CASE("far behind a pinhole the field is the single transform of Fresnel's integral") {
  // On the axis the field behind a disc is exactly 1 - exp(i pi a^2 / (wavelength z)): zero light
  // where the Fresnel number is even, four times the disc's where it is odd.
  const double a = 0.6e-6;
  const double disc = intensity(make_probe(model_of(ProbeKind::kPinhole, 2 * a, 0), 256), 0, 0);
  const auto on_axis = [&](double number) {
    const double z = a * a / (kWavelength * number);
    return intensity(make_probe(model_of(ProbeKind::kPinhole, 2 * a, z), 256), 0, 0) / disc;
  };
  CHECK(on_axis(1) == Approx(4).epsilon(0.03));
  CHECK(on_axis(2) < 0.05);
  CHECK(on_axis(3) == Approx(4).epsilon(0.06));
}

TEST_CASE("a zone plate's focus has its first zero at 1.22 outermost zones") {
  ProbeModel model = model_of(ProbeKind::kFresnelZonePlate, 500e-6, 0);
  model.outermost_zone_width_m = 8 * kPixel;
  const Array focus = make_probe(model, 256);
  // (2 J1(x) / x)^2 with x = pi r / dr: zero at 9.757 px, 0.0175 at 13.08 px
  CHECK(intensity(focus, 10, 0) < 2e-3 * intensity(focus, 0, 0));
  CHECK(intensity(focus, 13, 0) / intensity(focus, 0, 0) == Approx(0.0175).epsilon(0.03));
  CHECK(intensity(focus, 4, 0) / intensity(focus, 0, 0) == Approx(0.5211).epsilon(0.01));
}

TEST_CASE("out of focus a zone plate lights a disc of wavelength * defocus / zone, stop and all") {
  ProbeModel model = model_of(ProbeKind::kFresnelZonePlate, 500e-6, 1.2e-3);
  model.outermost_zone_width_m = 80e-9;  // 1.5 um, 75 px
  const Array full = make_probe(model, 128);
  // Its edge is blurred over sqrt(wavelength * defocus) = 17 px.
  CHECK(probe_diameter_px(full) == Approx(75 * std::sqrt(0.9)).margin(3));
  model.central_stop_diameter_m = 250e-6;  // 37 px there
  const Array stopped = make_probe(model, 128);
  const auto inside = [](const Array& probe) {
    double sum = 0;
    for (std::int64_t r = -12; r <= 12; ++r) {
      for (std::int64_t c = -12; c <= 12; ++c) sum += intensity(probe, r, c);
    }
    return sum;
  };
  // A square of 25 px in a disc of 75 px
  CHECK(inside(full) == Approx(625 / (kPi * 37.5 * 37.5)).epsilon(0.15));
  CHECK(inside(stopped) < inside(full) / 3);
}

TEST_CASE("behind the focus the far field is an upright shadow, before it one upside down") {
  const FrameSimulator simulator(128, 128);
  Array object = Array::host({128, 128}, DType::kC64);
  for (std::int64_t k = 0; k < object.elements(); ++k) {
    // Bright below and, less so, to the right
    const float v = (k / 128 >= 64 ? 1.0F : 0.3F) * (k % 128 >= 64 ? 1.0F : 0.7F);
    object.data<std::complex<float>>()[k] = v;
  }
  for (const double sign : {1.0, -1.0}) {
    ProbeModel model = probe_model(ProbeKind::kFresnelZonePlate);
    model.defocus_m *= sign;
    const Array probe = make_probe(model, 128);
    std::vector<float> frame(128 * 128);
    simulator.expected(object, 0, 0, probe, 0, frame.data());
    double row = 0, column = 0, sum = 0;
    for (std::size_t k = 0; k < frame.size(); ++k) {
      row += double{frame[k]} * (static_cast<double>(k / 128) - 64);
      column += double{frame[k]} * (static_cast<double>(k % 128) - 64);
      sum += double{frame[k]};
    }
    CHECK(sign * row / sum > 5);
    CHECK(sign * column / sum > 2);
  }
}

TEST_CASE("counts of a frame without a sample are those asked for") {
  const FrameSimulator simulator(64, 64);
  Array clear = Array::host({64, 64}, DType::kC64);
  std::fill_n(clear.data<std::complex<float>>(), clear.elements(), std::complex<float>(1, 0));
  const Array made = make_probe(model_of(ProbeKind::kPinhole, 0.6e-6, 1e-4), 64);
  CHECK(energy(made) == Approx(1).epsilon(1e-5));
  Array modes = Array::host({2, 64, 64}, DType::kC64);
  std::copy_n(made.data<std::complex<float>>(), 4096, modes.data<std::complex<float>>());
  std::copy_n(made.data<std::complex<float>>(), 4096, modes.data<std::complex<float>>() + 4096);
  for (const Array& probe : {made, modes}) {
    const Array scaled = scale_to_photons(probe, 12345);
    CHECK(counts_of(scaled) == Approx(12345).epsilon(1e-5));
    std::vector<float> frame(4096);
    simulator.expected(clear, 0, 0, scaled, 0, frame.data());
    double sum = 0;
    for (const float v : frame) sum += double{v};
    CHECK(sum == Approx(12345).epsilon(1e-5));
  }
  CHECK_THROWS_WITH(scale_to_photons(made, 0), Contains("photons"));
  CHECK_THROWS_WITH(scale_to_photons(made, -5), Contains("photons"));
  CHECK_THROWS_WITH(scale_to_photons(Array::zeros({1, 8, 8}, DType::kC64), 1), Contains("all 0"));
}

TEST_CASE("models that make no probe are refused") {
  const auto fails = [](ProbeModel model, const char* words) {
    CHECK_THROWS_WITH(make_probe(model, 64), Contains(words));
  };
  ProbeModel plate = probe_model(ProbeKind::kFresnelZonePlate);
  ProbeModel changed = plate;
  changed.defocus_m = 50e-3;
  fails(changed, "holds");
  changed = plate;
  changed.central_stop_diameter_m = plate.diameter_m;
  fails(changed, "central stop");
  changed = plate;
  changed.outermost_zone_width_m = plate.object_pixel_m / 2;
  fails(changed, "zones");
  changed = plate;
  changed.diameter_m = -1;
  fails(changed, "diameter");
  changed = plate;
  changed.wavelength_m = std::nan("");
  fails(changed, "wavelength");
  changed = plate;
  changed.defocus_m = std::nan("");
  fails(changed, "defocus");
  CHECK_THROWS_WITH(make_probe(plate, 2), Contains("found 2"));
}

TEST_CASE("a probe is shifted, moved along the beam and scaled") {
  const Array probe = make_probe(model_of(ProbeKind::kGaussian, 0.2e-6, 0.5e-3), 128);
  CHECK(difference(probe, varied(probe, {})) < 1e-6);
  CHECK(difference(rolled(probe, 3, -2), varied(probe, {3, -2, 0, 1})) < 1e-5);
  const Array half = varied(probe, {0.5, 0.25, 0, 1});
  CHECK(difference(rolled(probe, 1, 0), varied(half, {0.5, -0.25, 0, 1})) < 1e-5);
  CHECK(energy(varied(probe, {1.3, 0.4, 2, 0.64})) == Approx(0.64).epsilon(1e-4));

  const double further_m = 0.4e-3;
  const double natural = kWavelength * further_m / (kPixel * kPixel);
  const Array direct = make_probe(model_of(ProbeKind::kGaussian, 0.2e-6, 0.9e-3), 128);
  CHECK(difference(direct, varied(probe, {0, 0, natural, 1})) < 1e-3);
}

TEST_CASE("a probe is propagated as the model is, and refused where the light leaves the frame") {
  const Array probe = make_probe(model_of(ProbeKind::kGaussian, 0.2e-6, 0.5e-3), 128);
  const Array direct = make_probe(model_of(ProbeKind::kGaussian, 0.2e-6, 1.5e-3), 128);
  const Array moved = propagate_probe(probe, kWavelength, kPixel, 1e-3);
  CHECK(difference(direct, moved) < 1e-3);
  CHECK(difference(probe, propagate_probe(moved, kWavelength, kPixel, -1e-3)) < 1e-3);
  CHECK(difference(probe, propagate_probe(probe, kWavelength, kPixel, 0)) < 1e-6);
  CHECK_THROWS_WITH(propagate_probe(probe, kWavelength, kPixel, 0.1), Contains("holds"));
  CHECK_THROWS_WITH(propagate_probe(probe, kWavelength, kPixel, -0.1), Contains("holds"));
  CHECK_THROWS_WITH(propagate_probe(Array::zeros({1, 8, 8}, DType::kC64), kWavelength, kPixel, 0),
                    Contains("all 0"));
  // Light near an edge does not come in at the other one.
  const Array near_edge = rolled(probe, 0, 40);
  const Array spread = propagate_probe(near_edge, kWavelength, kPixel, 2e-3);
  const auto energy_of_columns = [&](std::int64_t first, std::int64_t last) {
    double sum = 0;
    for (std::int64_t k = 0; k < spread.elements(); ++k) {
      if (k % 128 < first || k % 128 >= last) continue;
      sum += std::norm(spread.data<std::complex<float>>()[k]);
    }
    return sum;
  };
  CHECK(energy_of_columns(0, 40) < 1e-4 * energy_of_columns(88, 128));
  CHECK(energy(spread) < 0.99);
}

TEST_CASE("every backend varies a probe's spectrum as the host varies the probe") {
  // A probe that is not square, in two modes.
  Array probe = Array::host({2, 12, 9}, DType::kC64);
  for (std::int64_t k = 0; k < probe.elements(); ++k) {
    const auto i = static_cast<float>(k);
    probe.data<std::complex<float>>()[k] = {std::sin(i * i), std::cos(3 * i * i)};
  }
  const ProbeSeries series{11, {2, 3, 0.2}, 1e-3, 1e3};
  const Array first = Array::copy_of<double>({40}, {1});
  for (const auto& backend : {make_cpu_backend(2), make_reference_backend()}) {
    Array spectrum = Array::host(probe.shape(), DType::kC64);
    backend->fft2(probe, FftDirection::kForward, spectrum);
    Array spectra = Array::host({5, 2, 12, 9}, DType::kC64);
    backend->vary_spectra(spectrum, series, first, spectra);
    for (std::int64_t i = 0; i < 5; ++i) {
      const Array one = Array::view(spectra.data<std::complex<float>>() + i * probe.elements(),
                                    probe.shape(), DType::kC64);
      Array found = Array::host(probe.shape(), DType::kC64);
      backend->fft2(one, FftDirection::kInverse, found);
      const auto number = static_cast<std::uint64_t>(40 + i);
      CHECK(difference(varied(probe, draw_variation(series, number)), found) < 1e-6);
    }
  }
}

TEST_CASE("photons are drawn evenly in the logarithm, beside the jitter") {
  const ProbeJitter jitter{0, 0, 0.2};
  double mean = 0;
  for (std::uint64_t k = 0; k < 1000; ++k) {
    const double scale = draw_variation({7, jitter, 0.1, 1000}, k).scale;
    const double share = CounterRandom(7, "photons of a pattern").uniform(k);
    CHECK(scale == Approx(draw_variation({7, jitter}, k).scale * std::pow(10, 4 * share - 1)));
    mean += std::log10(scale) / 1000;
  }
  CHECK(std::abs(mean - 1) < 0.15);
}

TEST_CASE("variations are pure, uniform, and stay within what was asked") {
  const ProbeJitter jitter{2, 5, 0.2};
  double least = 0, most = 0, mean = 0;
  for (std::uint64_t k = 0; k < 1000; ++k) {
    const ProbeVariation v = draw_variation({7, jitter}, k);
    CHECK(draw_variation({7, jitter}, k).defocus == v.defocus);
    REQUIRE(v.defocus == 5 * (2 * CounterRandom(7, "probe-jitter").uniform(4 * k + 2) - 1));
    REQUIRE(std::abs(v.shift_row_px) <= 2);
    REQUIRE(std::abs(v.shift_column_px) <= 2);
    REQUIRE(std::abs(v.scale - 1) <= 0.2);
    least = std::min(least, v.defocus);
    most = std::max(most, v.defocus);
    mean += v.defocus / 1000;
  }
  CHECK(least < -4.9);
  CHECK(most > 4.9);
  CHECK(std::abs(mean) < 0.3);
  const ProbeVariation none = draw_variation({7, {}}, 3);
  CHECK(none.scale == 1);
  CHECK(none.shift_row_px == 0);
}
