#include <array>

#include "io/pickle.h"
#include "tests/io/weight_files.h"

namespace ptynet::io {

using namespace tests;  // NOLINT(google-build-using-namespace)
using Catch::Matchers::Contains;

namespace {

constexpr std::array<std::string_view, 3> kPermitted = {"collections.OrderedDict", "torch.Size",
                                                        "torch._utils._rebuild_tensor_v2"};

Pickle parse(const std::string& content) { return {bytes_of(content), "x.pkl", kPermitted}; }
std::string refused(const std::string& content) {
  return refusal([&] { parse(content); });
}
// The seeds of the fuzz target were written by Python's pickle.
std::string by_python(const std::string& name) {
  return read_file(std::filesystem::path(PTYNET_SOURCE_DIR "/tests/fuzz/corpus/pickle") / name);
}

}  // namespace

TEST_CASE("pickle: plain data in every protocol of Python", "[pickle]") {
  for (int protocol = 0; protocol <= 5; ++protocol) {
    INFO(protocol);
    const Pickle pickle = parse(by_python("plain_protocol_" + std::to_string(protocol)));
    const PickleValue& root = pickle.root();
    REQUIRE(root.is(PickleKind::kDict));
    REQUIRE(root.items.size() == 6);
    CHECK(root.items[4]->integer == 7);
    const PickleValue* list = root.find("a");
    REQUIRE(list != nullptr);
    REQUIRE(list->items.size() == 10);
    const std::vector<std::int64_t> integers = {1, -2, 1 << 20, std::int64_t{1} << 40,
                                                -9223372036854775807 - 1};
    for (std::size_t i = 0; i < integers.size(); ++i) {
      CHECK(list->items[i]->is(PickleKind::kInteger));
      CHECK(list->items[i]->integer == integers[i]);
    }
    CHECK(list->items[5]->is(PickleKind::kBigInteger));
    CHECK(list->items[6]->number == 0.5);
    CHECK((list->items[7]->is(PickleKind::kBool) && list->items[7]->integer == 1));
    CHECK((list->items[8]->is(PickleKind::kBool) && list->items[8]->integer == 0));
    CHECK(list->items[9]->is(PickleKind::kNone));
    const PickleValue* tuple = root.find("b");
    REQUIRE(tuple != nullptr);
    CHECK(tuple->is(PickleKind::kTuple));
    REQUIRE(tuple->items.size() == 7);
    CHECK(tuple->items[0]->text == std::string(300, 'x'));
    for (std::size_t i = 0; i < 5; ++i) CHECK(tuple->items[2 + i]->items.size() == i);
  }
}

TEST_CASE("pickle: permitted globals are named, ordered dicts and sizes become plain", "[pickle]") {
  using namespace tests::pickle;  // NOLINT(google-build-using-namespace)
  const Pickle call_only =
      parse(program(call(global("torch._utils", "_rebuild_tensor_v2"), {integer(1), string("a")})));
  CHECK(call_only.root().is(PickleKind::kCall));
  CHECK(call_only.root().text == "torch._utils._rebuild_tensor_v2");
  CHECK(call_only.root().items.size() == 2);
  const Pickle size = parse(program(call(global("torch", "Size"), {integers({2, 3})})));
  CHECK(size.root().is(PickleKind::kTuple));
  CHECK(size.root().items.size() == 2);
  const Pickle pairs = parse(by_python("ordered_dict_of_pairs"));
  CHECK(pairs.root().is(PickleKind::kDict));
  CHECK(pairs.root().items[1]->integer == 2);
}

TEST_CASE("pickle: any other global is refused by its name", "[pickle]") {
  CHECK_THAT(refused("cos\nsystem\n(S'true'\ntR."), Contains("refuses 'os.system'") &&
                                                        Contains("nothing is executed") &&
                                                        Contains("save the state dict alone"));
  CHECK_THAT(refused(by_python("os_system")), Contains("'posix.system'"));
  CHECK_THAT(refused(by_python("os_system_protocol_4")), Contains("'posix.system'"));
  CHECK_THAT(refused("(S'true'\nios\nsystem\n."), Contains("'os.system'"));
  CHECK_THAT(refused("c__builtin__\neval\n."), Contains("'__builtin__.eval'"));
  // Names are compared whole, so that a prefix or a dotted name does not slip through.
  CHECK_THAT(refused("ctorch\nSize.__class__\n."), Contains("'torch.Size.__class__'"));
  CHECK_THAT(refused("ctorch\nSiz\n."), Contains("'torch.Siz'"));
  // A hostile name stays one plain line.
  CHECK_THAT(refused("ca\x1b[31m\nb\xff\n."), Contains("'a?[31m.b?'"));
}

TEST_CASE("pickle: damaged and hostile programs are refused", "[pickle]") {
  refused("");
  refused(".");
  CHECK_THAT(refused("N"), Contains("ends too early"));
  CHECK_THAT(refused("(."), Contains("a value is missing"));
  CHECK_THAT(refused("t."), Contains("a mark is missing"));
  CHECK_THAT(refused("h\x05."), Contains("not there"));
  CHECK_THAT(refused("}(K\x01u."), Contains("a key without a value"));
  CHECK_THAT(refused("K\x01K\x02"
                     "a."),
             Contains("container"));
  CHECK_THAT(refused("K\x01)R."), Contains("no global"));
  CHECK_THAT(refused("]}b."), Contains("state of an object"));
  CHECK_THAT(refused("Ihello\n."), Contains("expected a number"));
  CHECK_THAT(refused("I1"), Contains("within a line"));
  CHECK_THAT(refused("\x80\x06N."), Contains("protocol"));
  CHECK_THAT(refused("\x8f."), Contains("opcode 143"));      // a set
  CHECK_THAT(refused("\x82\x01."), Contains("opcode 130"));  // the extension registry
  // Lengths far beyond the end.
  CHECK_THAT(refused("X" + raw(0xffffffffU) + "abc"), Contains("ends too early"));
  CHECK_THAT(refused("\x8d" + raw(~std::uint64_t{0}) + "abc"), Contains("ends too early"));
  CHECK_THAT(refused("\x8b" + raw(0x7fffffffU) + "abc"), Contains("ends too early"));
  CHECK_THAT(refused(std::string(Pickle::kMaxBytes + 1, 'N')), Contains("at most"));
}

TEST_CASE("pickle: a short program cannot make a lot of data", "[pickle]") {
  // A list of 100 000 pairs, made into a dict 20 000 times.
  std::string program = "](";
  for (int i = 0; i < 100000; ++i) program += i == 0 ? "NN\x86q\x01" : "h\x01";
  program +=
      "eq\x02"
      "0";
  for (int i = 0; i < 20000; ++i) program += "ccollections\nOrderedDict\nh\x02\x85R0";
  CHECK_THAT(refused(program + "N."), Contains("over and over"));
}

TEST_CASE("pickle: depth and circles cost no stack", "[pickle]") {
  constexpr std::size_t kDepth = 1000000;
  const Pickle deep = parse(std::string(kDepth, '(') + std::string(kDepth, 't') + ".");
  CHECK(deep.root().items.size() == 1);
  CHECK(parse(by_python("circle")).root().is(PickleKind::kDict));
}

TEST_CASE("pickle: cut short anywhere it is refused", "[pickle]") {
  const std::string good = by_python("plain_protocol_4");
  for (std::size_t length = 0; length < good.size(); ++length) {
    INFO(length);
    refused(good.substr(0, length));
  }
}

}  // namespace ptynet::io
