#include "kernels/cuda/diffraction.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr double kUnitRoundoff = 0x1p-24;
constexpr double kMostAmplitude = 1.2;

// n, modes, h, w. The last two have more modes than one launch sums probe derivatives of.
constexpr FarFieldShape kShapes[] = {{1, 1, 16, 16}, {5, 3, 9, 11}, {5, 1, 12, 20},
                                     {1, 3, 1, 24},  {2, 2, 17, 1}, {9, 1, 1, 1},
                                     {17, 3, 6, 22}, {1, 9, 4, 4},  {3, 17, 5, 7}};

struct Members {
  bool amplitude, phase, probe;
};
constexpr Members kMembers[] = {{true, true, true},   {true, true, false},  {true, false, false},
                                {false, true, false}, {false, false, true}, {false, false, false}};

std::string describe(const FarFieldShape& s, bool aligned) {
  return text("n", s.n, " ", s.h, "x", s.w, " m", s.modes, aligned ? "" : " unaligned");
}

std::int64_t pixels_of(const FarFieldShape& s) { return std::int64_t{s.h} * s.w; }

std::vector<double> doubles(const Array& y) {
  return y.empty() ? std::vector<double>()
                   : std::vector<double>(y.data<double>(), y.data<double>() + y.elements());
}

float* floats(const Placed& memory) { return static_cast<float*>(memory.data()); }

// In memory, and off its alignment by one element of so many bytes.
Placed put(const std::vector<float>& values, bool aligned, std::size_t element) {
  return placed(values, aligned ? 0 : element);
}

constexpr std::size_t kReal = sizeof(float);
constexpr std::size_t kPair = 2 * sizeof(float);

Outcome run_far_field_gradient(const FarFieldShape& s, bool aligned) {
  const std::int64_t pixels = pixels_of(s);
  const std::vector<float> field = random_values("far", pixels * 2 * s.n * s.modes, -9, 9);
  const std::vector<float> slopes = random_values("d_intensity", s.n * pixels, -1, 1);
  std::vector<double> expected(field.size());
  for (std::size_t i = 0; i < field.size(); ++i) {
    const auto pixel = static_cast<std::int64_t>(i) / 2 % pixels;
    const std::int64_t frame = static_cast<std::int64_t>(i) / (pixels * 2 * s.modes);
    const std::int64_t row = (pixel / s.w + s.h / 2) % s.h;  // where fftshift puts it
    const std::int64_t column = (pixel % s.w + s.w / 2) % s.w;
    const auto at = static_cast<std::size_t>(frame * pixels + row * s.w + column);
    expected[i] = 2 * double{field[i]} * double{slopes[at]};
  }
  const Placed far = put(field, aligned, kPair);
  const Placed d_intensity = put(slopes, aligned, kReal);
  far_field_gradient(s, floats(far), floats(d_intensity), nullptr);
  return compare(expected, values_of<float>(far), {0, kUnitRoundoff});
}

struct Operands {
  std::vector<float> amplitude, phase, probe, d_waves;
};

Operands make_operands(const FarFieldShape& s) {
  const std::int64_t pixels = pixels_of(s);
  return {random_values("amplitude", s.n * pixels, -0.2, kMostAmplitude),
          random_values("phase", s.n * pixels, -40, 40),
          random_values("probe", pixels * 2 * s.modes, -1, 1),
          random_values("d_waves", pixels * 2 * s.n * s.modes, -1, 1)};
}

// By the reference's diffract_gradient(), given the far field whose way back gives d_waves.
ExitWave reference(const FarFieldShape& s, const Operands& in, const Members& wanted) {
  const auto backend = make_reference_backend();
  const std::int64_t images = std::int64_t{s.n} * s.modes;
  Array far = Array::host({images, s.h, s.w, 2}, DType::kF64);
  backend->fft2(Array::copy_of(in.d_waves, far.shape()), FftDirection::kForward, far);
  std::vector<double> field = doubles(far);
  for (double& v : field) v /= static_cast<double>(pixels_of(s));
  far = Array::copy_of(field, {s.n, s.modes, s.h, s.w, 2});
  const Shape frames{s.n, s.h, s.w};
  const Shape probe{s.modes, s.h, s.w, 2};
  const auto room = [](bool is_wanted, const Shape& shape) {
    return is_wanted ? Array::host(shape, DType::kF64) : Array();
  };
  ExitWave d{room(wanted.amplitude, frames), room(wanted.phase, frames), room(wanted.probe, probe)};
  const std::vector<double> halves(in.amplitude.size(), 0.5);  // 2 far * 0.5
  backend->diffract_gradient({Array::copy_of(in.amplitude, frames),
                              Array::copy_of(in.phase, frames), Array::copy_of(in.probe, probe)},
                             far, Array::copy_of(halves, frames), d);
  return d;
}

struct Results {
  Placed amplitude, phase, probe;
};

Results run_kernel(const FarFieldShape& s, const Operands& in, const Members& wanted,
                   bool aligned) {
  const Placed amplitude = put(in.amplitude, aligned, kReal);
  const Placed phase = put(in.phase, aligned, kReal);
  const Placed probe = put(in.probe, aligned, kPair);
  const Placed d_waves = put(in.d_waves, aligned, kPair);
  const auto room = [&](bool is_wanted, const std::vector<float>& like, std::size_t element) {
    return unwritten(is_wanted ? like.size() * sizeof(float) : 0, aligned ? 0 : element);
  };
  Results out{room(wanted.amplitude, in.amplitude, kReal), room(wanted.phase, in.phase, kReal),
              room(wanted.probe, in.probe, kPair)};
  const WaveGradients d{wanted.amplitude ? floats(out.amplitude) : nullptr,
                        wanted.phase ? floats(out.phase) : nullptr,
                        wanted.probe ? floats(out.probe) : nullptr};
  exit_wave_gradient(s, {floats(amplitude), floats(phase)}, floats(probe), floats(d_waves), d,
                     nullptr);
  return out;
}

Outcome run_exit_wave_gradient(const FarFieldShape& s, const Members& wanted, bool aligned) {
  const Operands in = make_operands(s);
  const ExitWave expected = reference(s, in, wanted);
  const Results found = run_kernel(s, in, wanted, aligned);
  const Results again = run_kernel(s, in, wanted, aligned);
  // What meets in one element is at most the product of moduli, of the probe's sqrt 2 and the
  // wave's. On its way it is rounded in the phasor (2), in two products (6) and at each addition.
  const double of_object = (8 + s.modes) * kUnitRoundoff * kMostAmplitude * 2.0 * s.modes;
  const double of_probe = (6 + s.n) * kUnitRoundoff * kMostAmplitude * std::sqrt(2.0) * s.n;
  const auto against = [](const Array& values, const Placed& memory, double tolerance) {
    return compare(doubles(values), values_of<float>(memory), {tolerance, 0});
  };
  Outcome out = worse(against(expected.amplitude, found.amplitude, of_object),
                      against(expected.phase, found.phase, of_object));
  out = worse(out, against(expected.probe, found.probe, of_probe));
  out = worse(out, same_bytes(found.amplitude, again.amplitude));
  out = worse(out, same_bytes(found.phase, again.phase));
  return worse(out, same_bytes(found.probe, again.probe));
}

}  // namespace

std::vector<Case> diffraction_cases() {
  std::vector<Case> cases;
  for (const FarFieldShape& s : kShapes) {
    for (const bool aligned : {true, false}) {
      cases.push_back({"far_field_gradient", "", describe(s, aligned),
                       [=] { return run_far_field_gradient(s, aligned); }});
      for (const Members& wanted : kMembers) {
        cases.push_back({"exit_wave_gradient", "",
                         text(describe(s, aligned), wanted.amplitude ? " amplitude" : "",
                              wanted.phase ? " phase" : "", wanted.probe ? " probe" : ""),
                         [=] { return run_exit_wave_gradient(s, wanted, aligned); }});
      }
    }
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
