#include <limits>

#include "kernels/probe_variation.h"
#include "tests/kernels/cases.h"

namespace ptynet::tests {

namespace {

template <typename T>
void add_input_rules(OperationCases& cases, T bad) {
  const InputRule rules[] = {{},
                             {InputQuantity::kIntensity, InputScale::kNone},
                             {InputQuantity::kAmplitude, InputScale::kScanMax, 0, 1e4F, 190.0F}};
  for (const InputRule& rule : rules) {
    for (const bool masked : {false, true}) {
      const std::string name =
          text("input_rule ", name_of(DTypeOf<T>::kValue), " ", static_cast<int>(rule.scale),
               " bad ", +bad, masked ? " masked" : "");
      cases.push_back({name, [rule, masked, bad, name](Backend& backend) {
                         Array frames = random_counts<T>(name, {3, 6, 5}, bad);
                         // One frame without a single good count.
                         std::fill_n(frames.data<T>() + 30, 30, T{0});
                         Array mask;
                         if (masked) mask = random_counts<std::uint8_t>("mask", {6, 5}, 0);
                         Array y = Array::host({3, 6, 5, 1}, DType::kF32);
                         backend.input_rule(frames, mask, rule, y);
                         return std::vector<Output>{{y}};
                       }});
    }
  }
}

void add_output_heads(OperationCases& cases) {
  struct Heads {
    const char* name;
    std::int64_t channels;
    OutputHead amplitude;
    OutputHead phase;
    bool d_amplitude;
    bool d_phase;
  };
  const OutputHead half{0, 0.5F, 0.5F};
  const OutputHead turn{1, 3.14F, 0};
  const Heads all[] = {{"both", 2, half, turn, true, true},
                       {"only phase", 1, {}, {0, 3.14F, 0}, true, true},
                       {"swapped, one channel unread", 3, {2, 2, 0}, {0, 3.14F, 0}, true, true},
                       {"one channel for both", 2, {1, 0.5F, 0}, turn, true, true},
                       {"nothing on amplitude", 2, half, turn, false, true},
                       {"nothing on phase", 2, half, turn, true, false}};
  const Shape frames{2, 4, 3};
  for (const Heads& h : all) {
    const Shape channels{2, 4, 3, h.channels};
    if (h.d_amplitude && h.d_phase) {
      cases.push_back({text("output_heads ", h.name), [=](Backend& backend) {
                         Array amplitude = Array::host(frames, DType::kF32);
                         Array phase = Array::host(frames, DType::kF32);
                         backend.output_heads(random_array("heads", channels), h.amplitude, h.phase,
                                              amplitude, phase);
                         return std::vector<Output>{{amplitude}, {phase}};
                       }});
    }
    cases.push_back({text("output_heads_gradient ", h.name), [=](Backend& backend) {
                       Array dx = Array::host(channels, DType::kF32);
                       backend.output_heads_gradient(
                           h.d_amplitude ? random_array("heads da", frames) : Array(),
                           h.d_phase ? random_array("heads dp", frames) : Array(), h.amplitude,
                           h.phase, dx);
                       return std::vector<Output>{{dx, 2}};
                     }});
  }
}

void add_transforms(OperationCases& cases) {
  cases.push_back({"compose_object", [](Backend& backend) {
                     Array object = Array::host({2, 4, 3}, DType::kC64);
                     backend.compose_object(random_array("amplitude", {2, 4, 3}),
                                            random_array("phase", {2, 4, 3}, -4, 4), object);
                     return std::vector<Output>{{object}};
                   }});
  for (const FftDirection direction : {FftDirection::kForward, FftDirection::kInverse}) {
    for (const Shape& shape : {Shape{2, 8, 8}, Shape{1, 5, 12}}) {
      cases.push_back({text("fft2 ", static_cast<int>(direction), to_string(shape)),
                       [direction, shape](Backend& backend) {
                         Array y = Array::host(shape, DType::kC64);
                         backend.fft2(random_complex("fft", shape), direction, y);
                         return std::vector<Output>{{y, shape[1] * shape[2]}};
                       }});
    }
  }
  for (const Shape& probe : {Shape{1, 8, 7}, Shape{3, 8, 7}, Shape{3, 2, 8, 7}}) {
    cases.push_back({text("far_field_intensity ", to_string(probe)), [probe](Backend& backend) {
                       Array y = Array::host({3, 8, 7}, DType::kF32);
                       backend.far_field_intensity(random_complex("object", {3, 8, 7}),
                                                   random_complex("probe", probe), y);
                       return std::vector<Output>{{y, 56}};
                     }});
  }
  cases.push_back(
      {"r_factor_sums", [](Backend& backend) {
         Array sums = Array::host({3, 2}, DType::kF64);
         Array measured = random_array("measured", {3, 6, 5}, -1, 9);
         measured.data<float>()[7] = std::numeric_limits<float>::infinity();
         measured.data<float>()[31] = std::numeric_limits<float>::quiet_NaN();
         backend.r_factor_sums(random_array("predicted", {3, 6, 5}, 0, 9), measured, sums);
         return std::vector<Output>{{sums, 30}};
       }});
  cases.push_back({"random_uniform", [](Backend& backend) {
                     Array y = Array::host({1000}, DType::kF32);
                     backend.random_uniform(3, "noise", -2, 5, y);
                     return std::vector<Output>{{y}};
                   }});
}

void add_simulation(OperationCases& cases) {
  // Counts are the same to the last, but each row is compared with its largest.
  for (const double mean : {0.01, 2.0, 30.0, 1e4, 1e9}) {
    for (const double first : {0.0, 5e9}) {
      cases.push_back({text("photon_noise ", mean, " from ", first), [=](Backend& backend) {
                         const Array means = random_array("means", {3, 6, 35}, 0, 2 * mean);
                         Array counts = Array::host(means.shape(), DType::kF32);
                         backend.photon_noise(means, 3, Array::copy_of<double>({first}, {1}),
                                              counts);
                         return std::vector<Output>{{counts}};
                       }});
    }
  }
  struct Spectra {
    Shape y;
    double first;
    ProbeSeries series;
  };
  const Spectra all[] = {{{1, 1, 8, 8}, 0, {1, {2, 0, 0}}},
                         {{5, 3, 7, 9}, 17, {2, {2, 9, 0.3}, 0.5, 20}},
                         {{2, 2, 1, 12}, 0x1p52 + 1, {3, {0, 12, 0}, 1, 3}}};
  for (const Spectra& v : all) {
    cases.push_back(
        {text("vary_spectra ", to_string(v.y), " from ", v.first), [v](Backend& backend) {
           Array y = Array::host(v.y, DType::kC64);
           backend.vary_spectra(random_complex("spectrum", {v.y[1], v.y[2], v.y[3]}), v.series,
                                Array::copy_of<double>({v.first}, {1}), y);
           return std::vector<Output>{{y, 4}};  // two complex products
         }});
  }
}

// The object's amplitude may be negative, as a network's.
ExitWave exit_wave(const Shape& frames, std::int64_t modes) {
  return {random_array("wave amplitude", frames, -0.2, 1.2),
          random_array("wave phase", frames, -4, 4),
          random_array("wave probe", {modes, frames[1], frames[2], 2})};
}

void add_diffraction(OperationCases& cases, const Shape& frames, std::int64_t modes) {
  const std::string about = text(to_string(frames), " modes ", modes);
  const Shape fields{frames[0], modes, frames[1], frames[2], 2};
  const std::int64_t pixels = frames[1] * frames[2];
  cases.push_back({text("diffract ", about), [=](Backend& backend) {
                     Array far = Array::host(fields, DType::kF32);
                     Array intensity = Array::host(frames, DType::kF32);
                     backend.diffract(exit_wave(frames, modes), far, intensity);
                     return std::vector<Output>{{intensity, pixels * modes}};
                   }});
  for (const std::string wanted : {"amplitude phase probe", "amplitude", "phase", "probe"}) {
    cases.push_back({text("diffract_gradient ", wanted, " ", about), [=](Backend& backend) {
                       const ExitWave wave = exit_wave(frames, modes);
                       Array far = Array::host(fields, DType::kF32);
                       Array intensity = Array::host(frames, DType::kF32);
                       backend.diffract(wave, far, intensity);
                       std::vector<Output> outputs;
                       const auto room = [&](const char* member, const Shape& shape,
                                             std::int64_t terms) {
                         if (wanted.find(member) == std::string::npos) return Array();
                         outputs.push_back({Array::host(shape, DType::kF32), pixels * terms});
                         return outputs.back().value;
                       };
                       ExitWave d{room("amplitude", frames, modes), room("phase", frames, modes),
                                  room("probe", wave.probe.shape(), frames[0])};
                       backend.diffract_gradient(wave, far, random_array("dI", frames), d);
                       return outputs;
                     }});
  }
}

}  // namespace

void add_physics_cases(OperationCases& cases) {
  add_input_rules<std::uint8_t>(cases, 255);
  add_input_rules<std::uint16_t>(cases, 65535);
  add_input_rules<std::uint32_t>(cases, 4294967295U);
  for (const std::int32_t bad : {-1, std::numeric_limits<std::int32_t>::max()}) {
    add_input_rules<std::int32_t>(cases, bad);
  }
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, -1.0F}) {
    add_input_rules<float>(cases, bad);
  }
  add_output_heads(cases);
  add_transforms(cases);
  add_simulation(cases);
  for (const std::int64_t modes : {1, 3}) {
    for (const Shape& frames : {Shape{3, 8, 7}, Shape{2, 5, 9}, Shape{5, 16, 16}}) {
      add_diffraction(cases, frames, modes);
    }
  }
}

}  // namespace ptynet::tests
