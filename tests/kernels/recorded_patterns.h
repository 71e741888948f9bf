// Patterns that a recording makes, held against those that the reference makes one by one.
#pragma once

#include "kernels/probe_variation.h"
#include "tests/catch.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"

namespace ptynet::tests {

inline void check_recorded_patterns(Backend& backend) {
  const Shape frames{2, 5, 6};
  // One mean after the other, from no light to what no detector counts.
  Array means = Array::host(frames, DType::kF32);
  for (std::int64_t i = 0; i < means.elements(); ++i) {
    means.data<float>()[i] = i < 4 ? 0.0F : 1e-3F * static_cast<float>(std::pow(1.8, i));
  }
  means.data<float>()[3] = NAN;
  const Array spectrum = random_complex("spectrum", {3, 5, 6});
  const ProbeSeries series{4, {2, 1, 0.1}, 2, 3};
  Array first = Array::zeros({1}, DType::kF64);
  Array counts = Array::host(frames, DType::kF32);
  Array spectra = Array::host({2, 3, 5, 6}, DType::kC64);
  const auto work = [&](Backend& on) {
    on.photon_noise(means, 8, first, counts);
    on.vary_spectra(spectrum, series, first, spectra);
  };
  const auto replay = backend.record([&] { work(backend); });
  CHECK(replay->steps().size() == 2);
  std::vector<Array> found;
  for (const double number : {0.0, 1.0, 3e15}) {
    first.data<double>()[0] = number;
    replay->run();
    found.push_back(counts.clone());
    const Array varied = spectra.clone();
    work(*make_reference_backend());
    CHECK(std::memcmp(found.back().data(), counts.data(), counts.bytes()) == 0);
    CHECK(difference(varied, spectra) <= tolerance_of(4));
  }
  const std::size_t bytes = means.bytes() / 2;
  const auto* second_frame = static_cast<const unsigned char*>(found[0].data()) + bytes;
  CHECK(std::memcmp(second_frame, found[1].data(), bytes) != 0);  // of other means
  CHECK(std::memcmp(found[1].data(), found[2].data(), bytes) != 0);
}

}  // namespace ptynet::tests
