#include "io/safetensors.h"
#include "tests/io/weight_files.h"

namespace ptynet::io {

using namespace tests;  // NOLINT(google-build-using-namespace)
using Catch::Matchers::Contains;

namespace {

std::string file_of(const std::string& header, const std::string& data) {
  return raw(static_cast<std::uint64_t>(header.size())) + header + data;
}
std::string entry(const std::string& dtype, const std::string& shape, std::uint64_t begin,
                  std::uint64_t end) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}
StateDict parse(const std::string& content) {
  return parse_safetensors(bytes_of(content), "x.safetensors");
}
std::string refused(const std::string& content) {
  return refusal([&] { parse(content); });
}
// The refusal of one tensor, "w".
std::string refused(const std::string& described, const std::string& data) {
  return refused(file_of(R"({"w":)" + described + "}", data));
}
std::vector<float> floats(const Array& array) {
  return {array.data<float>(), array.data<float>() + array.elements()};
}

}  // namespace

TEST_CASE("safetensors: tensors of several types, padded header, metadata", "[safetensors]") {
  const std::string data = raw_all<float>({1, 2, 3, 4}) + raw_all<std::uint16_t>({0x3e00, 0xc000}) +
                           raw_all<std::uint16_t>({0x3fc0}) + raw(2.5) + raw(std::int64_t{7});
  const StateDict tensors = parse(file_of(
      R"({"__metadata__":{"format":"pt"},"w":)" + entry("F32", "[2,2]", 0, 16) + R"(,"h":)" +
          entry("F16", "[2]", 16, 20) + R"(,"b":)" + entry("BF16", "[1]", 20, 22) + R"(,"d":)" +
          entry("F64", "[]", 22, 30) + R"(,"n":)" + entry("I64", "[]", 30, 38) + R"(,"z":)" +
          entry("F32", "[0,5]", 38, 38) + "}   ",
      data));
  REQUIRE(tensors.size() == 6);
  CHECK(tensors.at("w").shape() == Shape{2, 2});
  CHECK(floats(tensors.at("w")) == std::vector<float>{1, 2, 3, 4});
  CHECK(floats(tensors.at("h")) == std::vector<float>{1.5F, -2});
  CHECK(floats(tensors.at("b")) == std::vector<float>{1.5F});
  CHECK(floats(tensors.at("d")) == std::vector<float>{2.5F});
  CHECK(tensors.at("n").data<std::int32_t>()[0] == 7);
  CHECK(tensors.at("z").shape() == Shape{0, 5});
}

TEST_CASE("safetensors: headers that do not describe the data are refused", "[safetensors]") {
  const std::string twelve(12, '\0');
  CHECK_THAT(refused(file_of(R"({"a":)" + entry("F32", "[2]", 0, 8) + R"(,"b":)" +
                                 entry("F32", "[2]", 4, 12) + "}",
                             twelve)),
             Contains("overlap"));
  CHECK_THAT(refused(file_of(R"({"a":)" + entry("F32", "[1]", 0, 4) + R"(,"b":)" +
                                 entry("F32", "[1]", 8, 12) + "}",
                             twelve)),
             Contains("gap"));
  CHECK_THAT(refused(entry("F32", "[2]", 0, 8), twelve), Contains("expected 8 bytes"));
  CHECK_THAT(refused(entry("F32", "[4]", 0, 16), twelve), Contains("expected 16 bytes"));
  CHECK_THAT(refused(entry("F32", "[2]", 0, 12), twelve), Contains("does not match"));
  CHECK_THAT(refused(entry("F32", "[4611686018427387904,4611686018427387904]", 0, 12), twelve),
             Contains("does not match"));
  CHECK_THAT(refused(entry("F32", "[9223372036854775808,0]", 0, 0), ""),
             Contains("cannot be held"));
  CHECK_THAT(refused(entry("F32", "[1152921504606846976]", 0, std::uint64_t{1} << 62), twelve),
             Contains("expected 4611686018427387904 bytes"));
  CHECK_THAT(refused(entry("F32", "[-1]", 0, 12), twelve), Contains("0 or more"));
  CHECK_THAT(refused(entry("F32", "[1.5]", 0, 12), twelve), Contains("0 or more"));
  CHECK_THAT(refused(entry("F32", "[3]", 12, 0), twelve), Contains("before they begin"));
  CHECK_THAT(refused(entry("F32", "[1,1,1,1,1,1,3]", 0, 12), twelve), Contains("at most 6"));
  CHECK_THAT(refused(entry("F8_E4M3", "[12]", 0, 12), twelve), Contains("'F8_E4M3'"));
  CHECK_THAT(refused("{}", twelve), Contains("expected dtype"));
  CHECK_THAT(refused("7", twelve), Contains("expected dtype"));
}

TEST_CASE("safetensors: damaged headers are refused", "[safetensors]") {
  refused("");
  CHECK_THAT(refused(raw(std::uint64_t{1} << 60) + "{}"), Contains("claims 1152921504606846976"));
  CHECK_THAT(refused(file_of("{'a': 1}", "")), Contains("no JSON object"));
  CHECK_THAT(refused(file_of("[1]", "")), Contains("no JSON object"));
  CHECK_THAT(refused(file_of(std::string(1000000, '['), "")), Contains("nested too deeply"));
  const std::string good =
      file_of(R"({"w":)" + entry("F32", "[3]", 0, 12) + "}", std::string(12, '\0'));
  CHECK(parse(good).size() == 1);
  for (std::size_t length = 0; length < good.size(); ++length) {
    INFO(length);
    refused(good.substr(0, length));
  }
  CHECK(is_safetensors(bytes_of(good), good.size()));
  CHECK_FALSE(is_safetensors(bytes_of(good), 20));
}

}  // namespace ptynet::io
