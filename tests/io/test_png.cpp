#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "io/png.h"
#include "kernels/error.h"
#include "tests/support.h"

namespace {

using ptynet::Array;
using ptynet::DType;
using ptynet::io::Bytes;
using ptynet::tests::TemporaryFolder;

std::vector<std::byte> bytes_of(const std::vector<unsigned>& values) {
  std::vector<std::byte> bytes;
  for (const unsigned value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

std::vector<std::byte> file_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

template <typename T>
std::vector<T> values_of(const Array& array) {
  return {array.data<T>(), array.data<T>() + array.elements()};
}

std::uint32_t crc32_of(Bytes bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

// A PNG put together by hand: the pixels go in stored (uncompressed) deflate blocks.
class HandMadePng {
 public:
  HandMadePng(std::uint32_t columns, std::uint32_t rows, unsigned depth, unsigned color) {
    out_ = bytes_of({0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A});
    std::vector<std::byte> header;
    number(header, columns);
    number(header, rows);
    for (const unsigned value : {depth, color, 0u, 0u, 0u}) {
      header.push_back(static_cast<std::byte>(value));
    }
    chunk("IHDR", header);
  }
  void chunk(const std::string& name, const std::vector<std::byte>& data) {
    number(out_, static_cast<std::uint32_t>(data.size()));
    std::vector<std::byte> body;
    for (const char letter : name) body.push_back(static_cast<std::byte>(letter));
    body.insert(body.end(), data.begin(), data.end());
    out_.insert(out_.end(), body.begin(), body.end());
    number(out_, crc32_of(body));
  }
  // `rows`: every row with its filter byte before it.
  std::vector<std::byte> with_rows(const std::vector<unsigned>& rows) {
    std::vector<std::byte> stream = bytes_of({0x78, 0x01, 0x01});
    const auto length = static_cast<unsigned>(rows.size());
    for (const unsigned part : {length & 255, length >> 8, ~length & 255, (~length >> 8) & 255}) {
      stream.push_back(static_cast<std::byte>(part));
    }
    std::uint32_t a = 1, b = 0;  // Adler-32
    for (const unsigned value : rows) {
      stream.push_back(static_cast<std::byte>(value));
      a = (a + value) % 65521;
      b = (b + a) % 65521;
    }
    number(stream, b << 16 | a);
    chunk("IDAT", stream);
    chunk("IEND", {});
    return out_;
  }

 private:
  static void number(std::vector<std::byte>& to, std::uint32_t value) {
    for (const int shift : {24, 16, 8, 0})
      to.push_back(static_cast<std::byte>(value >> shift & 255));
  }
  std::vector<std::byte> out_;
};

}  // namespace

TEST_CASE("png: grey and colour are read back as written", "[png]") {
  const TemporaryFolder folder;
  std::vector<std::uint8_t> values(5 * 7 * 3);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(i * 37);
  const Array color = Array::copy_of(values, {5, 7, 3});
  const Array grey = Array::copy_of(values, {15, 7});
  ptynet::io::write_png(folder / "color.png", color);
  ptynet::io::write_png(folder / "grey.png", grey);
  const Array color_back = ptynet::io::read_png(folder / "color.png");
  CHECK(color_back.shape() == color.shape());
  CHECK(values_of<std::uint8_t>(color_back) == values);
  const Array grey_back = ptynet::io::read_png(folder / "grey.png");
  CHECK(grey_back.shape() == grey.shape());
  CHECK(values_of<std::uint8_t>(grey_back) == values);

  const auto first = file_bytes(folder / "color.png");
  ptynet::io::write_png(folder / "color.png", color);
  CHECK(file_bytes(folder / "color.png") == first);
}

TEST_CASE("png: 16 bits, alpha, few bits and palettes", "[png]") {
  const Array deep = ptynet::io::parse_png(
      HandMadePng(2, 2, 16, 0).with_rows({0, 0x12, 0x34, 0xFF, 0xFE, 0, 0, 1, 2, 0}), "deep");
  CHECK(deep.shape() == ptynet::Shape{2, 2});
  CHECK(values_of<std::uint16_t>(deep) == std::vector<std::uint16_t>{0x1234, 0xFFFE, 1, 0x200});

  const Array alpha = ptynet::io::parse_png(
      HandMadePng(1, 2, 8, 6).with_rows({0, 1, 2, 3, 4, 0, 5, 6, 7, 8}), "rgba");
  CHECK(alpha.shape() == ptynet::Shape{2, 1, 4});
  CHECK(values_of<std::uint8_t>(alpha) == std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 8});

  const Array bits = ptynet::io::parse_png(HandMadePng(4, 1, 1, 0).with_rows({0, 0xA0}), "bits");
  CHECK(values_of<std::uint8_t>(bits) == std::vector<std::uint8_t>{255, 0, 255, 0});

  HandMadePng indexed(2, 1, 8, 3);
  indexed.chunk("PLTE", bytes_of({10, 20, 30, 40, 50, 60}));
  const Array palette = ptynet::io::parse_png(indexed.with_rows({0, 1, 0}), "palette");
  CHECK(palette.shape() == ptynet::Shape{1, 2, 3});
  CHECK(values_of<std::uint8_t>(palette) == std::vector<std::uint8_t>{40, 50, 60, 10, 20, 30});
}

TEST_CASE("png: what is no picture or damaged is refused on one line", "[png]") {
  using Catch::Matchers::Contains;
  const auto good = HandMadePng(2, 2, 8, 0).with_rows({0, 1, 2, 0, 3, 4});
  REQUIRE(ptynet::io::parse_png(good, "good").elements() == 4);

  CHECK_THROWS_WITH(ptynet::io::parse_png({}, "p"), "p: expected a PNG picture, found other data");
  CHECK_THROWS_WITH(
      ptynet::io::parse_png(bytes_of({'t', 'e', 'x', 't', ' ', ' ', ' ', ' ', ' '}), "p"),
      "p: expected a PNG picture, found other data");
  for (std::size_t length = 8; length < good.size() - 12; ++length) {
    CHECK_THROWS_AS(ptynet::io::parse_png(Bytes(good).first(length), "p"), ptynet::Error);
  }
  CHECK_THROWS_WITH(ptynet::io::parse_png(Bytes(good).first(50), "p"),
                    Contains("p: damaged PNG picture (the file ends early)"));
  auto flipped = good;
  flipped[45] ^= std::byte{1};
  CHECK_THROWS_AS(ptynet::io::parse_png(flipped, "p"), ptynet::Error);
  CHECK_THROWS_WITH(ptynet::io::parse_png(HandMadePng(2, 2, 8, 0).with_rows({0, 1, 2}), "p"),
                    Contains("damaged"));
  CHECK_THROWS_AS(ptynet::io::read_png("/nonexistent/p.png"), ptynet::Error);
}

TEST_CASE("png: sizes are bounded before memory is taken", "[png]") {
  using Catch::Matchers::Contains;
  CHECK_THROWS_WITH(ptynet::io::parse_png(HandMadePng(60000, 60000, 8, 2).with_rows({0}), "p"),
                    "p: expected a picture of up to 65536 rows and columns and 268435456 pixels, "
                    "found 60000 x 60000");
  CHECK_THROWS_WITH(ptynet::io::parse_png(HandMadePng(1 << 20, 1, 8, 2).with_rows({0}), "p"),
                    Contains("damaged PNG picture"));
  // 2^28 pixels, allowed, but not in a hundred bytes.
  CHECK_THROWS_WITH(ptynet::io::parse_png(HandMadePng(16384, 16384, 8, 2).with_rows({0}), "p"),
                    Contains("16384 x 16384 pixels in"));
}

TEST_CASE("png: only u8 pictures are written, and only whole", "[png]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(ptynet::io::write_png(folder / "p.png", Array::zeros({4, 4, 4}, DType::kU8)),
                    Catch::Matchers::Contains("found u8[4, 4, 4]"));
  CHECK_THROWS_AS(ptynet::io::write_png(folder / "p.png", Array::zeros({4, 4}, DType::kF32)),
                  ptynet::Error);
  CHECK_THROWS_AS(ptynet::io::write_png(folder / "p.png", Array()), ptynet::Error);
  CHECK_THROWS_AS(ptynet::io::write_png(folder / "no" / "p.png", Array::zeros({4, 4}, DType::kU8)),
                  ptynet::Error);
  CHECK(std::filesystem::is_empty(folder.path()));
}
