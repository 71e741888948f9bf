#include <sys/stat.h>
#include <unistd.h>

#include <complex>
#include <cstring>
#include <limits>
#include <numeric>

#include "io/npy.h"
#include "tests/io/weight_files.h"

namespace ptynet::io {

using namespace tests;  // NOLINT(google-build-using-namespace)
using Catch::Matchers::Contains;

namespace {

// A version 1 file with this header text.
std::string npy(const std::string& header, const std::string& data) {
  const std::string line = header + "\n";
  return "\x93NUMPY" + std::string("\x01\x00", 2) + raw(static_cast<std::uint16_t>(line.size())) +
         line + data;
}
std::string npy(const std::string& descr, const std::string& shape, const std::string& data,
                bool fortran = false) {
  return npy("{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") +
                 ", 'shape': " + shape + ", }",
             data);
}
Array parse(const std::string& content, std::optional<DType> type = {}) {
  return parse_npy(bytes_of(content), "x.npy", type);
}
std::string refused(const std::string& content, std::optional<DType> type = {}) {
  return refusal([&] { parse(content, type); });
}
bool equal(const Array& a, const Array& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}
template <typename T>
std::vector<T> values(const Array& array) {
  return {array.data<T>(), array.data<T>() + array.elements()};
}
// The seeds of the fuzz target were written by NumPy.
std::filesystem::path by_numpy(const std::string& name) {
  return std::filesystem::path(PTYNET_SOURCE_DIR "/tests/fuzz/corpus/npy") / name;
}

}  // namespace

TEST_CASE("npy: what is written is read back", "[npy]") {
  const TemporaryFolder folder;
  const std::vector<Array> arrays = {
      Array::copy_of<float>({1, -2, 3, 4, 5, 6}, {3, 2}),
      Array::copy_of<double>({0.1, -1e300}, {2}),
      Array::copy_of<std::complex<float>>({{1, -2}, {3, 4}}, {1, 2, 1}),
      Array::copy_of<std::uint8_t>({0, 255}, {2}),
      Array::copy_of<std::uint16_t>({0, 65535}, {2, 1}),
      Array::copy_of<std::uint32_t>({0, 4294967295}, {2}),
      Array::copy_of<std::int32_t>({-2147483647 - 1, 2147483647}, {2}),
      Array::copy_of<float>({7}, {}),
      Array::zeros({0, 3}, DType::kF32),
  };
  for (const Array& array : arrays) {
    INFO(describe(array));
    write_npy(folder / "a.npy", array);
    CHECK(equal(read_npy(folder / "a.npy"), array));
    // Data begin at a multiple of 64, as NumPy's memory maps want it.
    CHECK(NpyReader(folder / "a.npy").header().data_offset % 64 == 0);
  }
}

TEST_CASE("npy: every type as NumPy writes it", "[npy]") {
  struct Case {
    const char* file;
    DType type;
  };
  const std::vector<Case> cases = {
      {"dtype_int8", DType::kI32},    {"dtype_int16", DType::kI32},
      {"dtype_int32", DType::kI32},   {"dtype_int64", DType::kI32},
      {"dtype_uint8", DType::kU8},    {"dtype_uint16", DType::kU16},
      {"dtype_uint32", DType::kU32},  {"dtype_uint64", DType::kU32},
      {"dtype_float16", DType::kF32}, {"dtype_float32", DType::kF32},
      {"dtype_float64", DType::kF64},
  };
  for (const Case& c : cases) {
    INFO(c.file);
    CHECK(read_npy(by_numpy(c.file)).dtype() == c.type);
    const Array floats = read_npy(by_numpy(c.file), DType::kF32);
    CHECK(floats.shape() == Shape{3, 2});
    CHECK(values<float>(floats) == std::vector<float>{0, 1, 2, 3, 4, 5});
  }
  CHECK(values<std::uint8_t>(read_npy(by_numpy("dtype_bool"))) ==
        std::vector<std::uint8_t>{0, 1, 1, 1, 1, 1});
  for (const char* file : {"dtype_complex64", "dtype_complex128"}) {
    CHECK(values<std::complex<float>>(read_npy(by_numpy(file))) ==
          std::vector<std::complex<float>>{0, 1, 2, 3, 4, 5});
  }
  CHECK(values<double>(read_npy(by_numpy("big_endian"))) == std::vector<double>{0, 1, 2, 3, 4, 5});
  CHECK(values<double>(read_npy(by_numpy("version_2"))) == std::vector<double>{0, 1, 2, 3});
  CHECK(values<double>(read_npy(by_numpy("version_3"))) == std::vector<double>{0, 1, 2, 3});
  CHECK(values<double>(read_npy(by_numpy("scalar"))) == std::vector<double>{3});
}

TEST_CASE("npy: Fortran order is transposed when read whole, refused by rows", "[npy]") {
  const Array array = read_npy(by_numpy("fortran"));
  CHECK(array.shape() == Shape{2, 3, 4});
  std::vector<std::uint16_t> expected(24);
  std::iota(expected.begin(), expected.end(), std::uint16_t{0});
  CHECK(values<std::uint16_t>(array) == expected);
  NpyReader reader(by_numpy("fortran"));
  CHECK_THAT(refusal([&] { reader.read(0, 1); }), Contains("numpy.ascontiguousarray"));
  // One dimension has no order.
  CHECK(values<float>(parse(npy("<f4", "(2,)", raw_all<float>({1, 2}), true))) ==
        std::vector<float>{1, 2});
}

TEST_CASE("npy: rows equal slices of the whole, with and without conversion", "[npy]") {
  const TemporaryFolder folder;
  // Rows of 2.4 MB as float64, so that conversion needs several buffers.
  const std::int64_t columns = 300000;
  std::vector<double> numbers(static_cast<std::size_t>(3 * columns));
  std::iota(numbers.begin(), numbers.end(), 0.0);
  write_npy(folder / "a.npy", Array::copy_of(numbers, {3, columns}));
  NpyReader reader(folder / "a.npy");
  NpyReader narrow(folder / "a.npy", DType::kF32);
  const Array row = reader.read(1, 2);
  const Array floats = narrow.read(1, 2);
  REQUIRE(row.shape() == Shape{2, columns});
  REQUIRE(floats.dtype() == DType::kF32);
  bool same = true;
  for (std::size_t i = 0; i < static_cast<std::size_t>(2 * columns); ++i) {
    const double expected = numbers[i + static_cast<std::size_t>(columns)];
    same = same && row.data<double>()[i] == expected &&
           floats.data<float>()[i] == static_cast<float>(expected);
  }
  CHECK(same);
  CHECK(reader.read(3, 0).elements() == 0);
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  for (const auto& [first, count] :
       {std::pair<std::int64_t, std::int64_t>{2, 2}, {-1, 1}, {0, -1}, {kMost, 1}, {1, kMost}}) {
    CHECK_THAT(refusal([&, f = first, n = count] { reader.read(f, n); }),
               Contains("expected rows"));
  }
}

TEST_CASE("npy: values that do not fit are refused with their value", "[npy]") {
  CHECK_THAT(refused(npy("<i8", "(2,)", raw_all<std::int64_t>({1, 2147483648}))),
             Contains("int64 value 2147483648 does not fit in i32"));
  CHECK_THAT(refused(npy("<u8", "(1,)", raw(std::uint64_t{1} << 32))), Contains("4294967296"));
  CHECK_THAT(refused(npy("<f8", "(1,)", raw(1e39)), DType::kF32), Contains("1e+39"));
  CHECK_THAT(refused(npy("<i2", "(1,)", raw(std::int16_t{-1})), DType::kU8), Contains("-1"));
  CHECK_THAT(refused(npy("<f4", "(1,)", raw(1.0F)), DType::kI32), Contains("found float32"));
  CHECK_THAT(refused(npy("<c8", "(1,)", raw(1.0)), DType::kF32), Contains("found complex64"));
  // Infinity and NaN are values of a float; whether they are wanted is for others to say.
  CHECK(std::isinf(
      parse(npy("<f8", "(1,)", raw(std::numeric_limits<double>::infinity())), DType::kF32)
          .data<float>()[0]));
}

TEST_CASE("npy: hostile and damaged files are refused before anything is allocated", "[npy]") {
  CHECK_THAT(refused(npy("<f4", "(1152921504606846976,)", std::string(16, '\0'))),
             Contains("claims shape (1152921504606846976)") && Contains("only 4 elements"));
  CHECK_THAT(refused(npy("<f8", "(4294967296, 4294967296, 4294967296)", "")), Contains("claims"));
  CHECK_THAT(refused(npy("<f4", "(9223372036854775808,)", "")), Contains("an extent"));
  CHECK_THAT(refused(npy("<f4", "(-1,)", "")), Contains("an extent"));
  CHECK_THAT(refused(npy("<f4", "(1,1,1,1,1,1,1)", raw(1.0F))), Contains("at most 6"));
  CHECK_THAT(refused(npy("|O", "(1,)", "cos\nsystem\n(S'true'\ntR.")),
             Contains("Python objects") && Contains("never loaded"));
  CHECK_THAT(refused(npy("<U5", "(1,)", std::string(20, 'a'))), Contains("'<U5'"));
  CHECK_THAT(refused(npy("<f16", "(1,)", std::string(16, 'a'))), Contains("'<f16'"));
  CHECK_THAT(refused(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "")),
             Contains("structures"));
  CHECK_THAT(refused(npy("{'descr': '<f4', 'shape': (1,)}", raw(1.0F))), Contains("fortran_order"));
  CHECK_THAT(refused(npy("{'descr': '<f4', 'x': 1}", "")), Contains("damaged"));
  CHECK_THAT(refused("\x93NUMPY\x04" + std::string(60, '\0')), Contains("version"));
  CHECK_THAT(refused("hello, this is text"), Contains("expected a .npy"));
  CHECK_THAT(refused(""), Contains("expected a .npy"));
  const TemporaryFolder folder;
  CHECK_THAT(refusal([&] { read_npy(folder / "none.npy"); }),
             Contains("none.npy: cannot be opened"));
  CHECK_THAT(refusal([&] { read_npy(folder.path()); }), Contains("regular file"));
}

TEST_CASE("npy: a file cut short anywhere is refused", "[npy]") {
  const std::string good = npy("<u2", "(4, 8)", std::string(64, 'x'));
  CHECK(parse(good).elements() == 32);
  for (std::size_t length = 0; length < good.size(); ++length) {
    INFO(length);
    refused(good.substr(0, length));
  }
}

TEST_CASE("npy: a file that cannot be written leaves nothing behind", "[npy]") {
  const TemporaryFolder folder;
  const Array array = Array::copy_of<float>({1, 2}, {2});
  CHECK_THAT(refusal([&] { write_npy(folder / "none/a.npy", array); }),
             Contains("cannot be written"));
  std::filesystem::create_directory(folder / "taken.npy");
  CHECK_THAT(refusal([&] { write_npy(folder / "taken.npy", array); }), Contains("it is a folder"));
  write_npy(folder / "a.npy", array);
  {
    PendingFile pending(folder / "a.npy");  // given up before commit()
    pending.write(bytes_of("half a file"));
  }
  CHECK(equal(read_npy(folder / "a.npy"), array));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
}

TEST_CASE("npz: members by name, stored and deflated, forwards and backwards", "[npy]") {
  const TemporaryFolder folder;
  std::vector<std::uint16_t> counts(40 * 100);
  std::iota(counts.begin(), counts.end(), std::uint16_t{0});
  const std::string data = npy("<u2", "(40, 100)", raw_all(counts));
  for (const bool deflated : {false, true}) {
    INFO(deflated);
    write_file(folder / "a.npz", zip_of({{"data.npy", data},
                                         {"scan.npy", npy("<f8", "(1,)", raw(0.5))},
                                         {"readme.txt", "not an array"}},
                                        deflated));
    const NpzFile file(folder / "a.npz");
    CHECK(file.names() == std::vector<std::string>{"data", "scan"});
    CHECK(file.has("scan"));
    CHECK_FALSE(file.has("readme"));
    CHECK(values<float>(file.read("scan", DType::kF32)) == std::vector<float>{0.5F});
    NpyReader reader = file.open("data");
    const Array whole = Array::copy_of(counts, {40, 100});
    for (const auto& [first, count] :
         {std::pair<std::int64_t, std::int64_t>{3, 2}, {5, 30}, {0, 1}, {39, 1}, {10, 3}}) {
      CHECK(equal(reader.read(first, count), whole.slice(first, count)));
    }
    CHECK_THAT(refusal([&] { file.open("frames"); }),
               Contains("'frames'") && Contains("data, scan"));
  }
  write_file(folder / "b.npz", "no archive at all, but long enough to look for one");
  CHECK_THAT(refusal([&] { NpzFile(folder / "b.npz"); }), Contains("b.npz"));
}

TEST_CASE("npz: the siemens star as NumPy reads it", "[npy]") {
  PTYNET_NEED_REFERENCE();
  const NpzFile file(*reference_folder() / "data/siemens-star-small.npz");
  CHECK(file.names() == std::vector<std::string>{"data", "scan", "probe"});
  NpyReader data = file.open("data");
  CHECK(data.shape() == Shape{516, 128, 128});
  CHECK(values<float>(data.read(515, 1).reshape({128, 128}).slice(0, 1)).at(1) == 286.0F);
  const Array frame = data.read(100, 1);  // backwards, in a deflated member
  double sum = 0;
  for (const float count : values<float>(frame)) sum += count;
  CHECK(sum == 452195.0);
  // Stored in Fortran order: [3, 5] is not [5, 3].
  const Array probe = file.read("probe");
  CHECK(probe.data<std::complex<float>>()[3 * 128 + 5] ==
        std::complex<float>(0.002306375F, 0.0020747848F));
  CHECK(probe.data<std::complex<float>>()[5 * 128 + 3] ==
        std::complex<float>(-0.0013110625F, 0.0009190656F));
}

}  // namespace ptynet::io
