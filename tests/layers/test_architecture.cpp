#include <nlohmann/json.hpp>

#include "layers/state_dict.h"
#include "tests/catch.h"

using namespace ptynet;
using Catch::Contains;
using Json = nlohmann::json;

namespace {

// A small network with every kind of layer, to be broken in one place.
Json small_network() {
  return Json::parse(R"({
    "name": "small",
    "input": {"quantity": "amplitude", "scale": "frame_max", "epsilon": 1e-6},
    "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1, "scale": 3.14}},
    "layers": [
      {"type": "conv2d", "name": "a", "in": 1, "out": 4, "kernel": 3, "stride": 2, "padding": 1,
       "groups": 1, "bias": true},
      {"type": "batch_norm2d", "name": "bn", "channels": 4, "eps": 1e-5, "momentum": 0.1},
      {"type": "leaky_relu", "slope": 0.2},
      {"type": "dropout", "p": 0.5},
      {"type": "residual",
       "main": [{"type": "conv2d", "name": "m", "in": 4, "out": 4, "kernel": 3, "stride": 1,
                 "padding": 1, "groups": 2, "bias": false}],
       "shortcut": []},
      {"type": "branches", "branches": [
        [{"type": "conv_transpose2d", "name": "u", "in": 4, "out": 1, "kernel": 2, "stride": 2,
          "padding": 0, "groups": 1, "bias": true}, {"type": "sigmoid"}],
        [{"type": "upsample_bilinear2d", "scale": 2}, {"type": "max_pool2d", "kernel": 1},
         {"type": "conv2d", "name": "v", "in": 4, "out": 1, "kernel": 1, "stride": 1,
          "padding": 0, "groups": 1, "bias": true}, {"type": "tanh"}]]}]})");
}

}  // namespace

TEST_CASE("the built-in networks have the published number of parameters") {
  CHECK(parameter_count(built_in_architecture("ptynet-s")) == 324452);
  CHECK(parameter_count(built_in_architecture("ptynet-b")) == 20657522);
  CHECK(parameter_count(built_in_architecture("ptychonn")) == 1247074);
  CHECK(parameter_count(built_in_architecture("ptychonet")) == 5512322);
  CHECK(built_in_architectures().size() == 5);
  CHECK_THROWS_WITH(built_in_architecture("ptynet"), Contains("ptynet-s"));
}

TEST_CASE("an architecture of one's own is read and traced") {
  const Architecture a = parse_architecture(small_network().dump());
  CHECK(a.name == "small");
  const auto steps = trace(a, 64, 48);
  CHECK(steps.front().name == "a");
  CHECK(steps.front().output == Shape{1, 32, 24, 4});
  CHECK(steps.front().flops == 2.0 * 9 * 4 * 32 * 24);
  CHECK(steps.back().output == Shape{1, 64, 48, 2});
  // Where strides do not divide the frame, the last layer gives another size.
  CHECK_THROWS_WITH(trace(a, 63, 48), Contains("63x48") && Contains("64x48"));
}

TEST_CASE("errors name the layer") {
  const auto broken = [](const auto& change) {
    Json j = small_network();
    change(j);
    return j.dump();
  };
  CHECK_THROWS_WITH(parse_architecture(broken([](Json& j) { j["layers"][0]["type"] = "conv3d"; })),
                    Contains("'a'") && Contains("unknown type 'conv3d'"));
  CHECK_THROWS_WITH(parse_architecture(broken([](Json& j) { j["layers"][0].erase("kernel"); })),
                    Contains("'a'") && Contains("lacks 'kernel'"));
  CHECK_THROWS_WITH(parse_architecture(broken([](Json& j) { j["layers"][1]["name"] = "a"; })),
                    Contains("'a' is used twice"));
  CHECK_THROWS_WITH(
      parse_architecture(broken([](Json& j) { j["layers"][0]["out"] = 99999999999; })),
      Contains("'out' of layer 'a'"));
  CHECK_THROWS_WITH(parse_architecture(broken([](Json& j) { j["layers"][0]["in"] = -1; })),
                    Contains("'in' of layer 'a'"));
  CHECK_THROWS_WITH(
      parse_architecture(broken([](Json& j) { j["layers"][4]["main"][0]["groups"] = 3; })),
      Contains("layer 'm'") && Contains("3 groups"));
  CHECK_THROWS_WITH(parse_architecture(broken([](Json& j) { j["layers"] = Json::array(); })),
                    Contains("no layers"));
  CHECK_THROWS_WITH(parse_architecture("{"), Contains("not JSON"));
  CHECK_THROWS_WITH(parse_architecture("[1]"), Contains("not an object"));

  const auto traced = [&](const auto& change) {
    return trace(parse_architecture(broken(change)), 64, 64);
  };
  CHECK_THROWS_WITH(traced([](Json& j) { j["layers"][1]["channels"] = 5; }),
                    Contains("'bn' takes 5 channels, but 4"));
  CHECK_THROWS_WITH(traced([](Json& j) { j["layers"][4]["main"][0]["padding"] = 0; }),
                    Contains("'residual'") && Contains("do not fit together"));
  CHECK_THROWS_WITH(traced([](Json& j) { j["output"]["phase"]["channel"] = 2; }),
                    Contains("reads channel 2"));
}

TEST_CASE("numbers that must be above 0") {
  const auto input = [](const Json& rule) {
    Json j = small_network();
    j["input"] = rule;
    return j.dump();
  };
  for (const double wrong : {0.0, -1.0}) {
    CHECK_THROWS_WITH(parse_architecture(input(
                          {{"quantity", "amplitude"}, {"scale", "frame_max"}, {"epsilon", wrong}})),
                      Contains("'epsilon' of 'input' must be > 0"));
    CHECK_THROWS_WITH(parse_architecture(input(
                          {{"quantity", "amplitude"}, {"scale", "scan_max"}, {"factor", wrong}})),
                      Contains("'factor' of 'input' must be > 0"));
  }
}

TEST_CASE("lists within lists without end are refused, not followed") {
  constexpr std::size_t kDepth = 200000;
  const std::string nest = std::string(kDepth, '[') + std::string(kDepth, ']');
  const std::string whole = small_network().dump();
  for (const std::string key : {"\"in\":", "\"slope\":", "\"bias\":", "\"main\":", "\"type\":"}) {
    std::string text = whole;
    const std::size_t place = text.find(key) + key.size();
    const std::size_t end = key == "\"main\":" ? place : text.find_first_of(",}", place);
    // The old value of 'main' becomes that of another key.
    text.replace(place, end - place, key == "\"main\":" ? nest + ",\"old\":" : nest);
    INFO(key);
    CHECK_THROWS_WITH(parse_architecture(text), Contains("architecture: "));
  }
  CHECK_THROWS_WITH(parse_architecture(nest), Contains("not an object"));
  std::string text = whole;
  const std::size_t place = text.find("\"in\":") + 5;
  text.replace(place, 1, nest);
  CHECK_THROWS_WITH(parse_architecture(text), Contains("found an array"));
}

TEST_CASE("a tree that nests without end is refused") {
  Json inner = Json::array({{{"type", "relu"}}});
  for (int depth = 0; depth < 40; ++depth) {
    inner = Json::array({{{"type", "branches"}, {"branches", Json::array({inner})}}});
  }
  Json j = small_network();
  j["layers"] = inner;
  CHECK_THROWS_WITH(parse_architecture(j.dump()), Contains("deeper than 32"));
}

TEST_CASE("weights that do not fit are listed") {
  const Architecture a = parse_architecture(small_network().dump());
  StateDict state = random_state(a, 0);
  CHECK(check_state(a, state).empty());
  state["last_layer.0.weight"] = Array::zeros({1}, DType::kF32);
  state["bn.num_batches_tracked"] = Array::zeros({1}, DType::kF32);
  CHECK(check_state(a, state) == std::vector<std::string>{"last_layer.0.weight"});

  StateDict missing = state;
  missing.erase("m.weight");
  missing["a.bias"] = Array::zeros({5}, DType::kF32);
  CHECK_THROWS_WITH(check_state(a, missing),
                    Contains("missing m.weight") && Contains("a.bias (expected [4], found [5])"));

  StateDict poisoned = state;
  poisoned["v.bias"] = Array::copy_of<float>({std::numeric_limits<float>::quiet_NaN()}, {1});
  CHECK_THROWS_WITH(check_state(a, poisoned), Contains("NaN") && Contains("v.bias"));

  StateDict negative = state;
  negative["bn.running_var"] = Array::copy_of<float>({1, 1, -1e-3F, 1}, {4});
  CHECK_THROWS_WITH(check_state(a, negative), Contains("negative") && Contains("bn.running_var"));
}

TEST_CASE("input rules have names") {
  CHECK(named_input_rule("ptynet") == built_in_architecture("ptynet-s").input);
  CHECK(named_input_rule("ptychonn") == built_in_architecture("ptychonn").input);
  CHECK(named_input_rule("hxn").factor == 1e4F);
  CHECK_THROWS_WITH(named_input_rule("root"), Contains("ptynet, ptychonn or hxn"));
}
