#include "io/pytorch.h"
#include "tests/io/weight_files.h"

namespace ptynet::io {

using namespace tests;          // NOLINT(google-build-using-namespace)
using namespace tests::pickle;  // NOLINT(google-build-using-namespace)
using Catch::Matchers::Contains;

namespace {

const std::string kSix = raw_all<float>({0, 1, 2, 3, 4, 5});

StateDict parse(const std::string& content) { return parse_pytorch(bytes_of(content), "x.pth"); }
std::string refused(const std::string& content) {
  return refusal([&] { parse(content); });
}
// The refusal of a file with one tensor, "w", over six floats.
std::string refused(const Tensor& t) {
  return refused(torch_file(dict({{"w", tensor(t)}}), {{"0", kSix}}));
}
std::vector<float> floats(const Array& array) {
  return {array.data<float>(), array.data<float>() + array.elements()};
}

}  // namespace

TEST_CASE("pytorch: a state dict, bare or under its usual names", "[pytorch]") {
  const std::string state = dict({{"a.weight", tensor({"Float", "0", 6, {2, 3}, {3, 1}})},
                                  {"a.bias", tensor({"Float", "0", 6, {}, {}, 4})}});
  const std::string epoch = integer(3);
  for (const std::string& value :
       {state, dict({{"state_dict", state}, {"epoch", epoch}}),
        dict({{"epoch", epoch}, {"model_state_dict", state}}), dict({{"model", state}})}) {
    const StateDict tensors = parse(torch_file(value, {{"0", kSix}}));
    REQUIRE(tensors.size() == 2);
    CHECK(tensors.at("a.weight").shape() == Shape{2, 3});
    CHECK(floats(tensors.at("a.weight")) == std::vector<float>{0, 1, 2, 3, 4, 5});
    CHECK(tensors.at("a.bias").shape() == Shape{});
    CHECK(floats(tensors.at("a.bias")) == std::vector<float>{4});
  }
  for (const std::string& value : {integer(3), dict({}), dict({{"model", epoch}})}) {
    CHECK_THAT(refused(torch_file(value, {})), Contains("expected a dict of tensors"));
  }
}

TEST_CASE("pytorch: views are gathered through their strides", "[pytorch]") {
  const StateDict tensors =
      parse(torch_file(dict({{"transposed", tensor({"Float", "0", 6, {3, 2}, {1, 3}})},
                             {"columns", tensor({"Float", "0", 6, {2, 2}, {3, 2}})},
                             {"tail", tensor({"Float", "0", 6, {2}, {2}, 3})},
                             // The stride of an extent of 1 means nothing.
                             {"one", tensor({"Float", "0", 6, {1, 3}, {1000, 1}, 3})},
                             {"none", tensor({"Float", "0", 6, {0, 5}, {5, 1}, 6})}}),
                       {{"0", kSix}}));
  CHECK(floats(tensors.at("transposed")) == std::vector<float>{0, 3, 1, 4, 2, 5});
  CHECK(floats(tensors.at("columns")) == std::vector<float>{0, 2, 3, 5});
  CHECK(floats(tensors.at("tail")) == std::vector<float>{3, 5});
  CHECK(floats(tensors.at("one")) == std::vector<float>{3, 4, 5});
  CHECK(tensors.at("none").shape() == Shape{0, 5});
}

TEST_CASE("pytorch: element types are widened or narrowed to float32, integers kept", "[pytorch]") {
  // 1.5, -2, the smallest subnormal and the largest half; the same upper halves for bfloat16.
  const std::string halves = raw_all<std::uint16_t>({0x3e00, 0xc000, 0x0001, 0x7bff});
  const std::string brains = raw_all<std::uint16_t>({0x3fc0, 0xc000, 0x3f80, 0x0000});
  const auto four = [](const char* kind, const char* member) {
    return tensor({kind, member, 4, {4}, {1}});
  };
  const StateDict tensors = parse(torch_file(dict({{"half", four("Half", "h")},
                                                   {"brain", four("BFloat16", "b")},
                                                   {"double", four("Double", "d")},
                                                   {"long", tensor({"Long", "l", 1, {}, {}})},
                                                   {"bool", tensor({"Bool", "o", 2, {2}, {1}})}}),
                                             {{"h", halves},
                                              {"b", brains},
                                              {"d", raw_all<double>({0.1, -1, 1e-300, 3})},
                                              {"l", raw(std::int64_t{-7})},
                                              {"o", std::string("\x00\x02", 2)}}));
  CHECK(floats(tensors.at("half")) == std::vector<float>{1.5F, -2, 5.9604644775390625e-8F, 65504});
  CHECK(floats(tensors.at("brain")) == std::vector<float>{1.5F, -2, 1, 0});
  CHECK(floats(tensors.at("double")) == std::vector<float>{0.1F, -1, 0, 3});
  CHECK(tensors.at("long").data<std::int32_t>()[0] == -7);
  CHECK(tensors.at("bool").data<std::uint8_t>()[1] == 1);
  CHECK_THAT(
      refused(torch_file(dict({{"w", tensor({"Double", "0", 1, {1}, {1}})}}), {{"0", raw(1e200)}})),
      Contains("'w'") && Contains("1e+200"));
}

TEST_CASE("pytorch: the byte order record is followed", "[pytorch]") {
  const std::string value = program(dict({{"w", tensor({"Float", "0", 1, {1}, {1}})}}));
  const auto file = [&](const std::string& order, const std::string& content) {
    return zip_of({{"m/data.pkl", value}, {"m/byteorder", order}, {"m/data/0", content}});
  };
  CHECK(floats(parse(file("little", raw(1.0F))).at("w")) == std::vector<float>{1});
  CHECK(floats(parse(file("big", std::string("\x3f\x80\x00\x00", 4))).at("w")) ==
        std::vector<float>{1});
  CHECK_THAT(refused(file("middle", raw(1.0F))), Contains("'middle'"));
}

TEST_CASE("pytorch: tensors that reach outside of their storage are refused", "[pytorch]") {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  const std::vector<Tensor> outside = {
      {"Float", "0", 6, {7}, {1}},
      {"Float", "0", 6, {6}, {1}, 1},
      {"Float", "0", 6, {1}, {1}, 6},
      {"Float", "0", 6, {2, 3}, {4, 1}},
      {"Float", "0", 6, {1}, {1}, kHuge},
      {"Float", "0", 6, {2}, {kHuge}},
      {"Float", "0", 6, {kHuge, kHuge}, {kHuge, 1}},
      {"Float", "0", 6, {kHuge}, {0}},  // expanded: few bytes, many elements
      {"Float", "0", 6, {4, 4}, {1, 0}},
  };
  for (const Tensor& t : outside) CHECK_THAT(refused(t), Contains("'w'") && Contains("outside"));
  for (const Tensor& t : {Tensor{"Float", "0", 6, {-1}, {1}}, Tensor{"Float", "0", 6, {2}, {-1}, 3},
                          Tensor{"Float", "0", 6, {2}, {1}, -1}}) {
    CHECK_THAT(refused(t), Contains("0 or more"));
  }
  CHECK_THAT(refused(Tensor{"Float", "0", 6, {1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1}}),
             Contains("at most 6"));
  CHECK_THAT(refused(Tensor{"Float", "0", 6, {2, 3}, {1}}), Contains("as many strides"));
  CHECK_THAT(refused(Tensor{"Float", "0", 7, {6}, {1}}), Contains("expected a storage of 7"));
  CHECK_THAT(refused(Tensor{"Double", "0", 6, {6}, {1}}), Contains("expected a storage of 6"));
  CHECK_THAT(refused(Tensor{"Float", "9", 6, {6}, {1}}), Contains("data/9"));
  CHECK_THAT(refused(Tensor{"Float", "../version", 6, {6}, {1}}), Contains("data/../version"));
  CHECK_THAT(refused(Tensor{"QInt8", "0", 6, {6}, {1}}), Contains("'torch.QInt8Storage'"));
}

TEST_CASE("pytorch: many tensors of one storage cannot fill the memory", "[pytorch]") {
  std::string storage(1 << 16, '\0');
  std::string value = "}(";
  for (int i = 0; i < 6000; ++i) {
    value += pickle::string("t" + std::to_string(i));
    value += i == 0 ? tensor({"Byte", "0", 1 << 16, {1 << 16}, {1}}) + "q\x01" : "h\x01";
  }
  CHECK_THAT(refused(torch_file(value + "u", {{"0", storage}})), Contains("share one storage"));
}

TEST_CASE("pytorch: a file that would run a command is refused and runs nothing", "[pytorch]") {
  const TemporaryFolder folder;
  const std::string command = "touch " + (folder / "executed").string();
  const std::string evil = call(global("os", "system"), {pickle::string(command)});
  CHECK_THAT(refused(torch_file(dict({{"state_dict", evil}}), {})),
             Contains("refuses 'os.system'"));
  CHECK_FALSE(std::filesystem::exists(folder / "executed"));
}

TEST_CASE("pytorch: other zip archives say what they are", "[pytorch]") {
  CHECK_THAT(refused(zip_of({{"m/constants.pkl", "."}, {"m/data.pkl", "N."}})),
             Contains("TorchScript") && Contains("state_dict()"));
  CHECK_THAT(refused(zip_of({{"data.npy", "x"}})), Contains("without data.pkl"));
  const std::string legacy("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  CHECK(is_legacy_pytorch(bytes_of(legacy)));
  CHECK_FALSE(is_legacy_pytorch(bytes_of(legacy.substr(0, 13))));
}

TEST_CASE("pytorch: a file cut short anywhere is refused", "[pytorch]") {
  const std::string good =
      torch_file(dict({{"w", tensor({"Float", "0", 6, {2, 3}, {3, 1}})}}), {{"0", kSix}});
  CHECK(parse(good).size() == 1);
  for (std::size_t length = 0; length < good.size(); ++length) {
    INFO(length);
    refused(good.substr(0, length));
  }
}

TEST_CASE("pytorch: published and demo weights as PyTorch reads them", "[pytorch]") {
  PTYNET_NEED_REFERENCE();
  const StateDict demo = read_pytorch(*reference_folder() / "weights/ptynet-s-demo.pth");
  std::int64_t parameters = 0;
  for (const auto& [name, tensor] : demo) parameters += tensor.elements();
  CHECK(demo.size() == 28);
  CHECK(parameters == 324452);
  CHECK(demo.at("encoder.0.conv.weight").shape() == Shape{16, 1, 3, 3});
  const std::vector<float> first = floats(demo.at("encoder.0.conv.weight"));
  CHECK(first.front() == 0x1.a7f24p-1F);
  CHECK(first.back() == 0x1.10c2ccp+0F);
  CHECK(floats(demo.at("decoder.12.bias")) == std::vector<float>{0x1.e8ac34p-3F, 0x1.252310p-3F});
  double sum = 0;
  for (const float weight : first) sum += weight;
  CHECK(sum == Approx(4.309303835500032).epsilon(1e-12));
  // Written on a GPU by an old PyTorch.
  const StateDict small = read_pytorch(*reference_folder() / "weights/ptychonn-small-phase.pth");
  CHECK(small.size() == 34);
  CHECK(floats(small.at("encoder.0.weight")).front() == 0x1.3ab24cp-3F);
  CHECK(floats(small.at("decoder2.20.bias")) == std::vector<float>{0x1.2c4da2p-5F});
}

TEST_CASE("pytorch: demo weights cut short at many lengths are refused", "[pytorch]") {
  PTYNET_NEED_REFERENCE();
  const std::string good = read_file(*reference_folder() / "weights/ptynet-s-demo.pth");
  for (std::size_t length = 0; length < good.size(); length += 9973) {
    INFO(length);
    refused(good.substr(0, length));
  }
  refused(good.substr(0, good.size() - 1));
}

}  // namespace ptynet::io
