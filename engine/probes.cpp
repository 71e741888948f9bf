#include "engine/probes.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/cpu/fft.h"

namespace ptynet {

namespace {

using Complex = std::complex<double>;

constexpr double kPi = std::numbers::pi;
constexpr double kLeastInside = 0.5;  // share of the beam that a probe's frame must hold

void expect_positive(double value, std::string_view name) {
  if (!(value > 0 && value < 1e6)) {
    fail_input("expected a probe whose ", name, " is above 0 m, found ", value);
  }
}

void check(const ProbeModel& model, std::int64_t n) {
  if (n < 4 || n > 4096) fail_input("expected a probe of 4 to 4096 px a side, found ", n);
  expect_positive(model.wavelength_m, "wavelength");
  expect_positive(model.object_pixel_m, "object pixel");
  expect_positive(model.diameter_m, "diameter");
  if (!std::isfinite(model.defocus_m)) fail_input("expected a finite defocus of the probe");
  if (model.kind != ProbeKind::kFresnelZonePlate) return;
  expect_positive(model.outermost_zone_width_m, "outermost zone width");
  if (model.outermost_zone_width_m < model.object_pixel_m) {
    fail_input("a zone plate with zones of ", model.outermost_zone_width_m,
               " m lights more than the detector: expected zones as wide as an object pixel, ",
               model.object_pixel_m, " m, or wider");
  }
  if (!(model.central_stop_diameter_m >= 0 && model.central_stop_diameter_m < model.diameter_m)) {
    fail_input("expected a central stop narrower than the zone plate of ", model.diameter_m,
               " m, found ", model.central_stop_diameter_m, " m");
  }
}

// A square field with its middle at index 0 of both axes, as transforms have it.
class Field {
 public:
  Field(std::int64_t side, double pixel_m)
      : side_(side),
        pixel_m_(pixel_m),
        values_(static_cast<std::size_t>(side * side)),
        forward_(side, side, FftDirection::kForward),
        inverse_(side, side, FftDirection::kInverse) {}

  void transform() { forward_.run(values_.data(), values_.data()); }
  void transform_back() { inverse_.run(values_.data(), values_.data()); }

  double pixel_m() const { return pixel_m_; }
  double frequency_step() const { return 1 / (static_cast<double>(side_) * pixel_m_); }  // 1/m

  // value(radius squared) * what is there, radius in steps of `unit` from the middle.
  template <typename Value>
  void multiply_radially(double unit, const Value& value) {
    for (std::int64_t r = 0; r < side_; ++r) {
      for (std::int64_t c = 0; c < side_; ++c) {
        const double y = static_cast<double>(from_middle(r)) * unit;
        const double x = static_cast<double>(from_middle(c)) * unit;
        values_[static_cast<std::size_t>(r * side_ + c)] *= value(y * y + x * x);
      }
    }
  }
  void fill(Complex value) { std::fill(values_.begin(), values_.end(), value); }

  double energy() const {
    double sum = 0;
    for (const Complex& v : values_) sum += std::norm(v);
    return sum;
  }

  // At (row, column) from the middle.
  const Complex& at(std::int64_t row, std::int64_t column) const {
    return values_[static_cast<std::size_t>((row + side_) % side_ * side_ +
                                            (column + side_) % side_)];
  }
  void set(std::int64_t row, std::int64_t column, const Complex& value) {
    values_[static_cast<std::size_t>((row + side_) % side_ * side_ + (column + side_) % side_)] =
        value;
  }

 private:
  std::int64_t from_middle(std::int64_t index) const {
    return index < (side_ + 1) / 2 ? index : index - side_;
  }

  std::int64_t side_;
  double pixel_m_;
  std::vector<Complex> values_;
  Fft2<double> forward_;
  Fft2<double> inverse_;
};

// How much of a pixel lies within the disc of that radius, edges at right angles taken for granted.
double inside(double distance, double radius, double pixel) {
  return std::clamp((radius - distance) / pixel + 0.5, 0.0, 1.0);
}

// The spectrum in the plane from which defocus counts.
void make_source(const ProbeModel& model, Field& field) {
  field.fill(1);
  switch (model.kind) {
    case ProbeKind::kPinhole:
      field.multiply_radially(field.pixel_m(), [&](double squared) {
        return inside(std::sqrt(squared), model.diameter_m / 2, field.pixel_m());
      });
      field.transform();
      return;
    case ProbeKind::kGaussian: {
      // exp(-x^2 / w^2) has the intensity's half width at half maximum at w sqrt(ln 2 / 2).
      const double w = model.diameter_m / std::sqrt(2 * std::numbers::ln2);
      field.multiply_radially(field.frequency_step(), [w](double squared) {
        return std::exp(-kPi * kPi * w * w * squared);
      });
      return;
    }
    case ProbeKind::kFresnelZonePlate: {
      // A thin lens shows the transform of its pupil in its focal plane, at x = wavelength * focal
      // length * f, under a quadratic phase (Goodman, eq. 5-14). Diffraction order 1 alone.
      const double focal_m = model.diameter_m * model.outermost_zone_width_m / model.wavelength_m;
      const double edge = 1 / (2 * model.outermost_zone_width_m);
      const double stop = edge * model.central_stop_diameter_m / model.diameter_m;
      const double step = field.frequency_step();
      field.multiply_radially(step, [=](double squared) {
        const double f = std::sqrt(squared);
        return inside(f, edge, step) - (stop > 0 ? inside(f, stop, step) : 0);
      });
      field.transform_back();
      const double curvature = kPi / (model.wavelength_m * focal_m);
      field.multiply_radially(field.pixel_m(), [curvature](double squared) {
        return std::polar(1.0, curvature * squared);
      });
      field.transform();
      return;
    }
  }
}

// The spectrum `defocus_m` further along the beam.
void propagate(double wavelength_m, double defocus_m, Field& field) {
  if (defocus_m == 0) return;
  const double phase = -kPi * wavelength_m * defocus_m;
  const double limit = 1 / (field.frequency_step() * 2 * wavelength_m * std::abs(defocus_m));
  field.multiply_radially(field.frequency_step(), [=](double squared) {
    return squared <= limit * limit ? std::polar(1.0, phase * squared) : Complex(0);
  });
}

// Of a field for frames of n pixels: what leaves the frame does not come back on the other side.
std::int64_t padded_side(std::int64_t n) { return n < 512 ? 4 * n : 2 * n; }

void expect_inside(double kept, double all, double frame_m) {
  if (kept >= kLeastInside * all) return;
  fail_input("the frame of ", frame_m, " m holds ", std::round(kept / all * 1000) / 10,
             " % of the probe: expected half of it or more; lower the defocus or the diameter");
}

const Array& checked(const Array& probe) {
  if (probe.empty() || probe.dtype() != DType::kC64 || probe.shape().rank() != 3) {
    fail_input("expected a probe as c64[modes, rows, columns], found ",
               probe.empty() ? "nothing" : describe(probe));
  }
  return probe;
}

double energy_of(const Array& probe) {
  const auto* values = checked(probe).data<std::complex<float>>();
  double sum = 0;
  for (std::int64_t k = 0; k < probe.elements(); ++k) sum += std::norm(Complex(values[k]));
  if (!(sum > 0) || !std::isfinite(sum)) {
    fail_input("expected a probe of finite values, not all 0, found a summed intensity of ", sum);
  }
  return sum;
}

std::complex<float> narrow(const Complex& v) {
  return {static_cast<float>(v.real()), static_cast<float>(v.imag())};
}

}  // namespace

ProbeModel probe_model(ProbeKind kind) {
  ProbeModel model;
  model.kind = kind;
  model.wavelength_m = 1.2398419843320025e-6 / 8000;
  model.object_pixel_m = model.wavelength_m * 2.0 / (128 * 75e-6);
  switch (kind) {
    case ProbeKind::kPinhole:
      model.diameter_m = 2e-6;
      model.defocus_m = 2e-3;
      break;
    case ProbeKind::kFresnelZonePlate:
      model.diameter_m = 180e-6;
      model.outermost_zone_width_m = 50e-9;
      model.central_stop_diameter_m = 45e-6;
      model.defocus_m = 0.8e-3;
      break;
    case ProbeKind::kGaussian:
      model.diameter_m = 0.3e-6;
      model.defocus_m = 5e-3;
      break;
  }
  return model;
}

Array make_probe(const ProbeModel& model, std::int64_t n) {
  check(model, n);
  const std::int64_t side = padded_side(n);
  Field field(side, model.object_pixel_m);
  make_source(model, field);
  // By Parseval; the transform is not normalised.
  const double all = field.energy() / (static_cast<double>(side) * static_cast<double>(side));
  propagate(model.wavelength_m, model.defocus_m, field);
  field.transform_back();
  double kept = 0;
  for (std::int64_t r = 0; r < n; ++r) {
    for (std::int64_t c = 0; c < n; ++c) kept += std::norm(field.at(r - n / 2, c - n / 2));
  }
  expect_inside(kept, all, static_cast<double>(n) * model.object_pixel_m);
  const double scale = 1 / std::sqrt(kept);
  Array out = Array::host({1, n, n}, DType::kC64);
  for (std::int64_t r = 0; r < n; ++r) {
    for (std::int64_t c = 0; c < n; ++c) {
      out.data<std::complex<float>>()[r * n + c] = narrow(field.at(r - n / 2, c - n / 2) * scale);
    }
  }
  return out;
}

Array propagate_probe(const Array& probe, double wavelength_m, double object_pixel_m,
                      double defocus_m) {
  const double all = energy_of(probe);
  const std::int64_t n = probe.shape()[1];
  if (probe.shape()[2] != n) fail_input("expected a square probe, found ", describe(probe));
  expect_positive(wavelength_m, "wavelength");
  expect_positive(object_pixel_m, "object pixel");
  if (!std::isfinite(defocus_m)) fail_input("expected a finite defocus of the probe");
  Array out = Array::host(probe.shape(), DType::kC64);
  Field field(padded_side(n), object_pixel_m);
  for (std::int64_t m = 0; m < probe.shape()[0]; ++m) {
    const auto* from = probe.data<std::complex<float>>() + m * n * n;
    auto* to = out.data<std::complex<float>>() + m * n * n;
    field.fill(0);
    for (std::int64_t k = 0; k < n * n; ++k) field.set(k / n - n / 2, k % n - n / 2, from[k]);
    field.transform();
    propagate(wavelength_m, defocus_m, field);
    field.transform_back();
    for (std::int64_t k = 0; k < n * n; ++k) to[k] = narrow(field.at(k / n - n / 2, k % n - n / 2));
  }
  double kept = 0;
  for (std::int64_t k = 0; k < out.elements(); ++k) {
    kept += std::norm(Complex(out.data<std::complex<float>>()[k]));
  }
  expect_inside(kept, all, static_cast<double>(n) * object_pixel_m);
  return out;
}

double probe_diameter_px(const Array& probe) {
  constexpr double kShare = 0.9;
  const double total = energy_of(probe);
  const std::int64_t h = probe.shape()[1];
  const std::int64_t w = probe.shape()[2];
  std::vector<double> intensity(static_cast<std::size_t>(h * w));
  double row = 0;
  double column = 0;
  for (std::int64_t k = 0; k < probe.elements(); ++k) {
    const double v = std::norm(Complex(probe.data<std::complex<float>>()[k]));
    const std::int64_t p = k % (h * w);
    const std::int64_t at_row = p / w;
    intensity[static_cast<std::size_t>(p)] += v;
    row += v * static_cast<double>(at_row) / total;
    column += v * static_cast<double>(p % w) / total;
  }
  std::vector<std::pair<double, double>> by_distance;  // distance, intensity
  for (std::int64_t p = 0; p < h * w; ++p) {
    const std::int64_t at_row = p / w;
    by_distance.emplace_back(
        std::hypot(static_cast<double>(at_row) - row, static_cast<double>(p % w) - column),
        intensity[static_cast<std::size_t>(p)]);
  }
  std::sort(by_distance.begin(), by_distance.end());
  double held = 0;
  std::size_t k = 0;
  while (k + 1 < by_distance.size() && held + by_distance[k].second < kShare * total) {
    held += by_distance[k++].second;
  }
  // A pixel that lies at a distance is half within the disc of that radius; a probe of one pixel
  // has its own width.
  return std::max(1.0, 2 * by_distance[k].first);
}

double counts_of(const Array& probe) {
  const double energy = energy_of(probe);
  return energy * static_cast<double>(probe.shape()[1] * probe.shape()[2]);
}

Array scale_to_photons(const Array& probe, double photons) {
  if (!(photons > 0 && photons <= kMostPhotons)) {
    fail_input("expected a number of photons above 0 and up to ", kMostPhotons, ", found ",
               photons);
  }
  const double scale = std::sqrt(photons / counts_of(probe));
  Array out = probe.clone();
  auto* values = out.data<std::complex<float>>();
  for (std::int64_t k = 0; k < out.elements(); ++k) values[k] = narrow(Complex(values[k]) * scale);
  return out;
}

}  // namespace ptynet
