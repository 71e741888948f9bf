#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "kernels/random.h"
#include "layers/network.h"
#include "tests/catch.h"

using namespace ptynet;
using Json = nlohmann::json;

namespace {

Json golden(const std::string& name) {
  std::ifstream file(PTYNET_SOURCE_DIR "/tests/golden/networks/" + name + ".json");
  REQUIRE(file);
  return Json::parse(file);
}

Array golden_input(std::uint64_t seed, std::int64_t n, std::int64_t h, std::int64_t w) {
  const CounterRandom random(seed, "input");
  Array x = Array::host({n, h, w, 1}, DType::kF32);
  for (std::int64_t i = 0; i < x.elements(); ++i) {
    x.data<float>()[i] = static_cast<float>(random.uniform(static_cast<std::uint64_t>(i)));
  }
  return x;
}

// Golden files hold (N, C, H, W); ours is channels last.
float element(const Array& y, std::int64_t flat) {
  const Shape& s = y.shape();
  const std::int64_t w = flat % s[2];
  const std::int64_t h = flat / s[2] % s[1];
  const std::int64_t c = flat / (s[2] * s[1]) % s[3];
  const std::int64_t n = flat / (s[2] * s[1] * s[3]);
  return y.data<float>()[((n * s[1] + h) * s[2] + w) * s[3] + c];
}

struct Deviation {
  double worst = 0;  // over the largest magnitude
  double norm = 0;   // of the norm, relative
};

Deviation deviation(const Array& y, const Json& expected, std::uint64_t seed) {
  const double maximum = expected["maximum"];
  const CounterRandom picks(seed, "output.samples");
  Deviation d;
  const Json& samples = expected["samples"];
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto flat =
        static_cast<std::int64_t>(std::floor(picks.uniform(i) * static_cast<double>(y.elements())));
    const double difference = std::abs(double{element(y, flat)} - samples[i].get<double>());
    d.worst = std::max(d.worst, difference / maximum);
  }
  double squares = 0;
  for (std::int64_t i = 0; i < y.elements(); ++i) {
    squares += double{y.data<float>()[i]} * double{y.data<float>()[i]};
  }
  d.norm = std::abs(std::sqrt(squares) / expected["norm"].get<double>() - 1);
  return d;
}

void check_parity(const std::string& name) {
  const Json file = golden(name);
  const std::uint64_t seed = file["seed"];
  Context context;
  const Architecture architecture = built_in_architecture(name);
  const StateDict state = random_state(architecture, seed, file["gain"]);
  Network network(context, architecture, state);
  CHECK(file["cases"].size() == 6);
  for (const Json& c : file["cases"]) {
    const Array x = golden_input(seed, c["batch"], c["rows"], c["columns"]);
    const Tensor y = network.forward(context, Tensor(x));
    INFO(name << " " << to_string(x.shape()));
    REQUIRE(y.shape()[3] == c["channels"].get<std::int64_t>());
    const Deviation d = deviation(y.value(), c["output"], seed);
    CAPTURE(d.worst, d.norm);
    CHECK(d.worst <= 2e-5);
    CHECK(d.norm <= 2e-5);
  }
}

}  // namespace

TEST_CASE("ptynet-s computes what PyTorch computes") { check_parity("ptynet-s"); }
TEST_CASE("ptynet-b computes what PyTorch computes") { check_parity("ptynet-b"); }
TEST_CASE("ptychonn computes what PyTorch computes") { check_parity("ptychonn"); }
TEST_CASE("ptychonn-small-phase computes what PyTorch computes") {
  check_parity("ptychonn-small-phase");
}
TEST_CASE("ptychonet computes what PyTorch computes") { check_parity("ptychonet"); }

TEST_CASE("folding batch norm does not change what a network computes") {
  Context context;
  const Architecture architecture = built_in_architecture("ptychonet");
  const StateDict state = random_state(architecture, 4);
  Network folded(context, architecture, state);
  Network plain(context, architecture, state, {.fold_batch_norm = false});
  const Tensor x(golden_input(4, 1, 32, 32));
  const Array a = folded.forward(context, x).value();
  const Array b = plain.forward(context, x).value();
  double worst = 0;
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    worst = std::max(worst, std::abs(double{a.data<float>()[i]} - double{b.data<float>()[i]}));
  }
  CHECK(worst < 5e-6);  // outputs lie in (0, 1): the sigmoid's
}

TEST_CASE("an activation is fused into the convolution or the batch norm before it") {
  const Architecture architecture = parse_architecture(R"({"name": "small",
    "input": {"quantity": "amplitude", "scale": "none"},
    "layers": [
      {"type": "batch_norm2d", "name": "norm0", "channels": 1, "eps": 1e-5},
      {"type": "relu"},
      {"type": "conv2d", "name": "conv1", "in": 1, "out": 2, "kernel": 1, "stride": 1,
       "padding": 0, "groups": 1, "bias": true},
      {"type": "batch_norm2d", "name": "norm1", "channels": 2, "eps": 1e-5},
      {"type": "dropout", "p": 0.5},
      {"type": "leaky_relu", "slope": 0.1},
      {"type": "upsample_bilinear2d", "scale": 1},
      {"type": "sigmoid"}],
    "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1}}})");
  Context context;
  const StateDict state = random_state(architecture, 1);
  const Tensor x(golden_input(1, 2, 4, 4));
  // The first word of each step.
  const auto steps = [&](bool fold, const Pass& pass) {
    Network network(context, architecture, state, {.fold_batch_norm = fold});
    std::vector<std::string> out;
    for (const std::string& step :
         context.backend().record([&] { network.forward(context, x, pass); })->steps()) {
      out.push_back(step.substr(0, step.find(' ')));
    }
    return out;
  };
  using Steps = std::vector<std::string>;
  CHECK(steps(true, {}) == Steps{"batch_norm", "conv2d", "upsample_bilinear2d", "activation"});
  CHECK(steps(false, {}) ==
        Steps{"batch_norm", "conv2d", "batch_norm", "upsample_bilinear2d", "activation"});
  CHECK(steps(false, {.training = true, .fixed_weights = false}) ==
        Steps{"batch_norm_training", "conv2d", "batch_norm_training", "upsample_bilinear2d",
              "activation"});
}

TEST_CASE("a batch norm of other channels than its convolution is refused, not overread") {
  Architecture architecture = built_in_architecture("ptychonet");
  auto& layers = architecture.layers;
  const auto follows = [](const LayerSpec& a, const LayerSpec& b) {
    return a.type == LayerType::kConv2d && b.type == LayerType::kBatchNorm2d;
  };
  // Within the first block of the network, or at its top.
  std::function<LayerSpec*(std::vector<LayerSpec>&)> find = [&](std::vector<LayerSpec>& list) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (i > 0 && follows(list[i - 1], list[i])) return &list[i];
      for (auto& part : list[i].parts) {
        if (LayerSpec* found = find(part)) return found;
      }
    }
    return static_cast<LayerSpec*>(nullptr);
  };
  LayerSpec* norm = find(layers);
  REQUIRE(norm != nullptr);
  norm->in = norm->out = norm->in / 2;
  Context context;
  CHECK_THROWS_WITH(Network(context, architecture, random_state(architecture, 0)),
                    Catch::Contains("layer '" + norm->name + "' takes"));
}

TEST_CASE("parts of different element types do not meet") {
  Context context;
  const Tensor a(Array::zeros({1, 2, 2, 1}, DType::kF32));
  const Tensor b(Array::zeros({1, 2, 2, 1}, DType::kBf16));
  CHECK_THROWS_WITH(add(context, a, b), Catch::Contains("element types"));
  const std::vector<Tensor> parts{a, b};
  CHECK_THROWS_WITH(concat_channels(context, parts), Catch::Contains("element type"));
}

TEST_CASE("f16 flows through every layer, and the last one gives f32") {
  Context context(make_reference_backend());
  // Pooling and upsampling; residuals, transposed convolutions and batch norm.
  for (const std::string name : {"ptychonn", "ptychonet"}) {
    const Architecture architecture = built_in_architecture(name);
    const StateDict state = random_state(architecture, 1);
    Network network(context, architecture, state, {.fold_batch_norm = false});
    const Array x = golden_input(1, 1, 32, 32);
    Array half = Array::host(x.shape(), DType::kF16);
    std::transform(x.data<float>(), x.data<float>() + x.elements(), half.data<Half>(), narrow_f16);
    const Array exact = network.forward(context, Tensor(x)).value();
    const Array found = network.forward(context, Tensor(half)).value();
    REQUIRE(found.dtype() == DType::kF32);
    double worst = 0;
    double largest = 0;
    for (std::int64_t i = 0; i < exact.elements(); ++i) {
      const double expected{exact.data<float>()[i]};
      worst = std::max(worst, std::abs(double{found.data<float>()[i]} - expected));
      largest = std::max(largest, std::abs(expected));
    }
    CAPTURE(name, worst, largest);
    CHECK(worst > 0);  // it does round
    // Some 15 layers, each rounding its output at 2^-11 of it.
    CHECK(worst <= 15 * 0x1p-11 * largest);
    Context cpu;
    Network on_cpu(cpu, architecture, state);
    CHECK_THROWS_WITH(on_cpu.forward(cpu, Tensor(half)),
                      Catch::Contains("computes in f32 and bf16, found f16"));
  }
}

TEST_CASE("a whole network passes the check backend, operation by operation") {
  Context context(make_check_backend(make_cpu_backend(2), make_reference_backend(), 4e-6));
  const Architecture architecture = built_in_architecture("ptynet-s");
  Network network(context, architecture, random_state(architecture, 1));
  CHECK_NOTHROW(network.forward(context, Tensor(golden_input(1, 1, 16, 24))));
}
