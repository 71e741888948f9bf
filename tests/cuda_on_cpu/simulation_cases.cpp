#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/backend.h"
#include "kernels/cuda/photon_noise.h"
#include "kernels/cuda/vary_spectra.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr double kFirsts[] = {0, 7, 0x1p52 + 3};

struct Frames {
  int n, h, w;
};
constexpr Frames kFrames[] = {{1, 16, 16}, {5, 9, 11}, {5, 1, 40}, {2, 33, 1}, {1, 25, 31}};

struct NoiseVariant {
  Frames frames;
  double first;
  bool in_place;
};

// Every way to draw, side by side: no light, by inversion, by rejection, and what is no count.
Array expected_counts(const Frames& f) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> means{0,        -1,        1e-30F,     0.02F, 0.7F,  3,    9.99F,
                                 10,       12,        80.5F,      5000,  3e6F,  1e9F, 4.2e9F,
                                 4.294e9F, 4.295e9F,  1e30F,      -0.0F, 1e-3F, 6.5F, 20,
                                 300,      kInfinity, -kInfinity, NAN};
  const std::vector<float> places =
      random_values("means", std::int64_t{f.n} * f.h * f.w, 0, static_cast<double>(means.size()));
  std::vector<float> out;
  for (const float place : places) {
    out.push_back(means[std::min(static_cast<std::size_t>(place), means.size() - 1)]);
  }
  return Array::copy_of(out, {f.n, f.h, f.w});
}

Outcome run_noise(const NoiseVariant& v) {
  constexpr std::uint64_t kSeed = 0xFEDCBA9876543210U;
  const Array means = expected_counts(v.frames);
  Array counts = Array::host(means.shape(), DType::kF64);
  make_reference_backend()->photon_noise(means, kSeed, Array::copy_of<double>({v.first}, {1}),
                                         counts);
  std::vector<double> expected(counts.data<double>(), counts.data<double>() + counts.elements());
  for (double& count : expected) count = double{static_cast<float>(count)};
  const Placed on_means = placed(means.data(), means.bytes(), sizeof(float));
  const Placed other = unwritten(means.bytes());
  const Placed& to = v.in_place ? on_means : other;
  const Placed first = placed(std::vector<double>{v.first});
  photon_noise({v.frames.n, v.frames.h * v.frames.w, static_cast<float*>(on_means.data()),
                static_cast<float*>(to.data())},
               kSeed, static_cast<double*>(first.data()), nullptr);
  return compare_exactly(expected, values_of<float>(to));
}

struct SpectraVariant {
  Frames frames;
  int modes;
  double first;
  ProbeSeries series;
  bool aligned;
};

Outcome run_spectra(const SpectraVariant& v) {
  const auto [n, h, w] = v.frames;
  const std::vector<float> pairs =
      random_values("spectrum", std::int64_t{2} * v.modes * h * w, -1, 1);
  Array spectrum = Array::host({v.modes, h, w}, DType::kC64);
  std::memcpy(spectrum.data(), pairs.data(), spectrum.bytes());
  Array varied = Array::host({n, v.modes, h, w, 2}, DType::kF64);
  make_reference_backend()->vary_spectra(spectrum, v.series, Array::copy_of<double>({v.first}, {1}),
                                         varied);
  const std::vector<double> expected(varied.data<double>(),
                                     varied.data<double>() + varied.elements());
  const std::size_t offset = v.aligned ? 0 : 2 * sizeof(float);
  const Placed from = placed(pairs, offset);
  const Placed first = placed(std::vector<double>{v.first});
  const Placed factors =
      unwritten(static_cast<std::size_t>(n) * static_cast<std::size_t>(h + w) * 2 * sizeof(float));
  const Placed y = unwritten(expected.size() * sizeof(float), offset);
  const auto floats = [](const Placed& memory) { return static_cast<float*>(memory.data()); };
  vary_spectra({n, v.modes, h, w, floats(from), floats(factors), floats(y)}, v.series,
               static_cast<double*>(first.data()), nullptr);
  // Two complex products, of three roundings each.
  double largest = 0;
  for (const double value : expected) largest = std::max(largest, std::abs(value));
  return compare(expected, values_of<float>(y), {largest * 0x1p-22, 0x1p-22});
}

}  // namespace

std::vector<Case> simulation_cases() {
  const ProbeSeries all{5, {3, 20, 0.2}, 0.01, 100};
  const ProbeSeries shifts{6, {1.5, 0, 0}};
  std::vector<Case> cases;
  int i = 0;
  for (const Frames& frames : kFrames) {
    const std::string shape = text("n", frames.n, " ", frames.h, "x", frames.w);
    for (const double first : kFirsts) {
      for (const bool aside : {false, true}) {
        const NoiseVariant noise{frames, first, aside};
        cases.push_back({"photon_noise", "", text(shape, " from ", first, aside ? " in place" : ""),
                         [noise] { return run_noise(noise); }});
        const SpectraVariant spectra{frames, 1 + i % 3, first, i % 4 == 3 ? shifts : all, !aside};
        cases.push_back(
            {"vary_spectra", "",
             text(shape, " m", spectra.modes, " from ", first, aside ? " unaligned" : ""),
             [spectra] { return run_spectra(spectra); }});
        ++i;
      }
    }
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
