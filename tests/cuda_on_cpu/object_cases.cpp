#include <complex>

#include "kernels/backend.h"
#include "kernels/cuda/object.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

using Complex = std::complex<double>;

constexpr OutputHead kAmplitude{0, 1.5F, 0.25F};
constexpr OutputHead kPhase{1, 3.14159265F, 0};
constexpr OutputHead kNone{};
constexpr PatchShape kShapes[] = {{1, 16, 16}, {5, 9, 11}, {2, 1, 40}, {1, 33, 1}, {1, 20, 24}};

enum class From : std::uint8_t { kNetwork, kPolar, kObject };

struct Variant {
  From from;
  PatchShape shape;
  Precision precision;
  int channels;
  OutputHead amplitude, phase;
  int modes;  // 0: no waves
  bool aligned;
  bool probe_of_each_frame = false;
};

std::vector<double> doubles(const Array& y) {
  return {y.data<double>(), y.data<double>() + y.elements()};
}

struct Expected {
  std::vector<double> amplitude, phase;
  std::vector<Complex> object, waves;
};

struct Input {
  std::vector<float> x;  // the network's output, or the object
  std::vector<float> amplitude, phase;
  std::vector<float> probe;
};

std::int64_t pixels_of(const PatchShape& s) { return std::int64_t{s.h} * s.w; }

Input make_input(const Variant& v) {
  const std::int64_t all = v.shape.n * pixels_of(v.shape);
  const int channels = v.from == From::kNetwork ? v.channels : 2;
  return {rounded(random_values("x", all * channels, -1, 1), v.precision),
          random_values("amplitude", all, -0.2, 2), random_values("phase", all, -40, 40),
          random_values("probe",
                        (v.probe_of_each_frame ? v.shape.n : 1) * v.modes * pixels_of(v.shape) * 2,
                        -1, 1)};
}

std::vector<Complex> complex_of(const std::vector<float>& pairs) {
  std::vector<Complex> out;
  for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) out.emplace_back(pairs[i], pairs[i + 1]);
  return out;
}

std::vector<double> parts_of(const std::vector<Complex>& values) {
  std::vector<double> out;
  for (const Complex& v : values) out.insert(out.end(), {v.real(), v.imag()});
  return out;
}

Expected reference(const Variant& v, const Input& in) {
  const PatchShape& s = v.shape;
  const auto backend = make_reference_backend();
  Array amplitude = Array::copy_of(in.amplitude, {s.n, s.h, s.w});
  Array phase = Array::copy_of(in.phase, {s.n, s.h, s.w});
  if (v.from == From::kNetwork) {
    amplitude = Array::host({s.n, s.h, s.w}, DType::kF64);
    phase = Array::host({s.n, s.h, s.w}, DType::kF64);
    backend->output_heads(Array::copy_of(in.x, {s.n, s.h, s.w, v.channels}), v.amplitude, v.phase,
                          amplitude, phase);
  }
  Array object = Array::host({s.n, s.h, s.w, 2}, DType::kF64);
  backend->compose_object(amplitude, phase, object);
  Expected out;
  if (v.from == From::kNetwork) out = {doubles(amplitude), doubles(phase), {}, {}};
  const std::vector<double> parts = doubles(object);
  for (std::size_t i = 0; i < parts.size(); i += 2) out.object.emplace_back(parts[i], parts[i + 1]);
  if (v.from == From::kObject) out.object = complex_of(in.x);
  const std::vector<Complex> probe = complex_of(in.probe);
  const auto pixels = static_cast<std::size_t>(pixels_of(s));
  const std::size_t of_frame = static_cast<std::size_t>(v.modes) * pixels;
  for (std::size_t first = 0; first < out.object.size(); first += pixels) {
    const std::size_t probe_of_frame = v.probe_of_each_frame ? first / pixels * of_frame : 0;
    for (std::size_t i = 0; i < of_frame; ++i) {
      out.waves.push_back(probe[probe_of_frame + i] * out.object[first + i % pixels]);
    }
  }
  return out;
}

float* floats(const Placed& memory) { return static_cast<float*>(memory.data()); }

Outcome run_variant(const Variant& v) {
  const Input in = make_input(v);
  const Expected expected = reference(v, in);
  const std::size_t off_real = v.aligned ? 0 : sizeof(float);
  const std::size_t off_pair = 2 * off_real;
  const std::size_t off_x = v.from == From::kObject ? off_pair
                            : v.aligned             ? 0
                                                    : element_bytes(v.precision);
  const Placed probe = placed(in.probe, off_pair);
  const Placed x = placed(in.x, v.precision, off_x);
  const Placed polar[] = {placed(in.amplitude, off_real), placed(in.phase, off_real)};
  const auto room = [](std::size_t count) { return unwritten(count * sizeof(float)); };
  const Placed amplitude = room(expected.amplitude.size());
  const Placed phase = room(expected.phase.size());
  const Placed object = room(2 * expected.object.size());
  const Placed waves = room(2 * expected.waves.size());
  const ProbeModes modes{floats(probe), v.modes, v.probe_of_each_frame};
  PatchResults results{floats(amplitude), floats(phase), floats(object),
                       v.modes > 0 ? floats(waves) : nullptr};
  if (v.from == From::kObject) {
    exit_waves(v.shape, floats(x), modes, results.waves, nullptr);
  } else if (v.from == From::kPolar) {
    compose_patches(v.shape, PolarPatches{floats(polar[0]), floats(polar[1])}, modes, results,
                    nullptr);
  } else {
    compose_patches(v.shape, {x.data(), v.precision, v.channels, v.amplitude, v.phase}, modes,
                    results, nullptr);
  }
  const auto against = [](const std::vector<double>& values, const Placed& found) {
    return compare(values, values_of<float>(found), {0x1p-21, 0x1p-21});
  };
  Outcome out = worse(against(expected.amplitude, amplitude), against(expected.phase, phase));
  if (v.from != From::kObject) out = worse(out, against(parts_of(expected.object), object));
  return worse(out, against(parts_of(expected.waves), waves));
}

void add_case(const Variant& v, std::vector<Case>& cases) {
  const PatchShape& s = v.shape;
  const std::string from =
      v.from == From::kPolar ? " polar"
      : v.from == From::kObject
          ? " object"
          : text(" ", v.channels, " channels ", v.amplitude.channel, ",", v.phase.channel);
  cases.push_back(
      {v.from == From::kObject ? "exit_waves" : "compose_patches",
       v.from == From::kNetwork ? std::string(name_of(v.precision)) : "",
       text("n", s.n, " ", s.h, "x", s.w, from, " m", v.modes, v.aligned ? "" : " unaligned",
            v.probe_of_each_frame ? " a probe each" : ""),
       [v] { return run_variant(v); }});
}

}  // namespace

std::vector<Case> object_cases() {
  std::vector<Case> cases;
  for (const PatchShape& shape : kShapes) {
    for (const Precision precision : {Precision::kF32, Precision::kBf16, Precision::kF16}) {
      add_case({From::kNetwork, shape, precision, 2, kAmplitude, kPhase, 1, true}, cases);
      add_case({From::kNetwork, shape, precision, 2, {1, 1, 0}, {0, 2, 1}, 0, true}, cases);
      add_case({From::kNetwork, shape, precision, 2, kAmplitude, kPhase, 3, false}, cases);
      add_case({From::kNetwork, shape, precision, 3, kAmplitude, {2, 1, 0.5F}, 2, true}, cases);
      add_case({From::kNetwork, shape, precision, 1, kNone, {0, 1, 0}, 2, true}, cases);
    }
    for (const bool aligned : {true, false}) {
      add_case({From::kPolar, shape, Precision::kF32, 0, kNone, kNone, 0, aligned}, cases);
      add_case({From::kPolar, shape, Precision::kF32, 0, kNone, kNone, 4, aligned}, cases);
      add_case({From::kObject, shape, Precision::kF32, 0, kNone, kNone, 2, aligned}, cases);
      add_case({From::kObject, shape, Precision::kF32, 0, kNone, kNone, 3, aligned, true}, cases);
    }
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
