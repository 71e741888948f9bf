#include <algorithm>
#include <cmath>

#include "layers/state_dict.h"
#include "tests/catch.h"

using namespace ptynet;

namespace {

struct Moments {
  double mean = 0;
  double deviation = 0;
  double largest = 0;  // magnitude
};

Moments moments_of(const Array& values) {
  Moments m;
  const auto n = static_cast<double>(values.elements());
  for (std::int64_t i = 0; i < values.elements(); ++i) {
    const double v = values.data<float>()[i];
    m.mean += v / n;
    m.deviation += v * v / n;
    m.largest = std::max(m.largest, std::abs(v));
  }
  m.deviation = std::sqrt(m.deviation - m.mean * m.mean);
  return m;
}

}  // namespace

TEST_CASE("convolutions begin uniform within sqrt(6 / (fan_in + fan_out)) of the stored weight") {
  const StateDict state = initial_state(built_in_architecture("ptynet-s"), 3);
  // [128, 64, 3, 3], and [64, 32, 3, 3] of two groups: PyTorch's fans are those of the tensor.
  for (const auto& [name, fans] : {std::pair{"encoder.5.conv.weight", (64.0 + 128.0) * 9},
                                   std::pair{"decoder.1.depthwise.weight", (32.0 + 64.0) * 9}}) {
    CAPTURE(name);
    const double bound = std::sqrt(6.0 / fans);
    const Moments m = moments_of(state.at(name));
    CHECK(m.largest <= bound);
    CHECK(m.largest > 0.999 * bound);
    // Of 18 432 values and more: five standard errors.
    CHECK(std::abs(m.mean) < 5 * bound / std::sqrt(3.0 * 18432));
    CHECK(m.deviation == Approx(bound / std::sqrt(3.0)).epsilon(0.02));
  }
}

TEST_CASE("transposed convolutions begin normal with standard deviation 0.02, biases at 0") {
  const StateDict state = initial_state(built_in_architecture("ptynet-s"), 3);
  const Array& weight = state.at("decoder.2.weight");  // 64 * 32 * 16 values
  const Moments m = moments_of(weight);
  CHECK(std::abs(m.mean) < 5 * 0.02 / std::sqrt(32768.0));
  CHECK(m.deviation == Approx(0.02).epsilon(0.02));
  // A normal series of this length reaches past 3.5 deviations and not past 6.
  CHECK(m.largest > 0.07);
  CHECK(m.largest < 0.12);
  const auto* v = weight.data<float>();
  const auto within =
      std::count_if(v, v + weight.elements(), [](float value) { return std::abs(value) < 0.02F; });
  CHECK(static_cast<double>(within) / 32768 == Approx(0.6827).margin(0.013));
  CHECK(moments_of(state.at("decoder.2.bias")).largest == 0);
}

TEST_CASE("batch norms begin as the identity, and seeds tell states apart") {
  const Architecture b = built_in_architecture("ptynet-b");
  const StateDict state = initial_state(b, 1);
  CHECK(check_state(b, state).empty());
  std::size_t norms = 0;
  for (const auto& [name, values] : state) {
    if (!name.ends_with(".running_var")) continue;
    ++norms;
    const std::string layer = name.substr(0, name.size() - 12);
    for (const auto& [suffix, value] :
         {std::pair{".weight", 1.0F}, std::pair{".bias", 0.0F}, std::pair{".running_mean", 0.0F},
          std::pair{".running_var", 1.0F}}) {
      const Array& found = state.at(layer + suffix);
      CHECK(std::all_of(found.data<float>(), found.data<float>() + found.elements(),
                        [&](float v) { return v == value; }));
    }
  }
  CHECK(norms > 0);
  const Architecture s = built_in_architecture("ptynet-s");
  const auto first = [&](std::uint64_t seed) {
    const Array weight = initial_state(s, seed).at("encoder.0.conv.weight");
    return std::vector<float>(weight.data<float>(), weight.data<float>() + weight.elements());
  };
  CHECK(first(1) == first(1));
  CHECK(first(1) != first(2));
}
