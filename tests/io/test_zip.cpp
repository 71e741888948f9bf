#include <numeric>

#include "io/zip.h"
#include "tests/io/weight_files.h"

namespace ptynet::io {

using namespace tests;  // NOLINT(google-build-using-namespace)
using Catch::Matchers::Contains;

namespace {

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
// Overwrites the 4-byte field `offset` bytes into the archive's entry `index` of the directory:
// 20 is the compressed size, 24 the size.
std::string with_field(std::string archive, int index, std::size_t offset, std::uint32_t value) {
  std::size_t entry = std::string::npos;
  for (int i = 0; i <= index; ++i) entry = archive.find("PK\x01\x02", entry + 1);
  REQUIRE(entry != std::string::npos);
  return archive.replace(entry + offset, 4, raw(value));
}
std::string refused(const std::string& content) {
  return refusal([&] {
    const ZipArchive archive = ZipArchive::from_memory(bytes_of(content), "x.zip");
    for (const ZipMember& member : archive.members()) archive.read(member.name);
  });
}
const std::string kLong(100000, 'a');

}  // namespace

TEST_CASE("zip: members of stored and deflated archives", "[zip]") {
  for (const bool deflated : {false, true}) {
    const std::string content = zip_of({{"a", "first"}, {"folder/b", kLong}, {"c", ""}}, deflated);
    const TemporaryFolder folder;
    write_file(folder / "x.zip", content);
    for (const ZipArchive& archive : {ZipArchive::open(folder / "x.zip"),
                                      ZipArchive::from_memory(bytes_of(content), "x.zip")}) {
      REQUIRE(archive.members().size() == 3);
      CHECK(archive.members()[1].name == "folder/b");
      CHECK(archive.members()[1].size == kLong.size());
      CHECK(archive.members()[1].stored == !deflated);
      CHECK(text_of(archive.read("a")) == "first");
      CHECK(text_of(archive.read("folder/b")) == kLong);
      CHECK(archive.read("c").empty());
      CHECK(archive.find("b") == nullptr);
      CHECK_THAT(refusal([&] { archive.read("b"); }), Contains("'b'"));
    }
  }
}

TEST_CASE("zip: a member is read at any offset and outlives its archive object", "[zip]") {
  std::string content(300000, '\0');
  std::iota(content.begin(), content.end(), '\0');
  for (const bool deflated : {false, true}) {
    const std::string zipped = zip_of({{"a", content}}, deflated);
    const auto member = ZipArchive::from_memory(bytes_of(zipped), "x.zip").open_member("a");
    for (const std::size_t offset : {200000U, 5U, 299990U, 299990U, 0U}) {
      std::string part(10, 'x');
      member->read(offset, std::as_writable_bytes(std::span(part)));
      CHECK(part == content.substr(offset, 10));
    }
    std::string part(10, 'x');
    CHECK_THAT(refusal([&] { member->read(299991, std::as_writable_bytes(std::span(part))); }),
               Contains("299991"));
  }
}

TEST_CASE("zip: wrong size fields are refused", "[zip]") {
  const std::string stored = zip_of({{"a", "first"}, {"b", kLong}});
  CHECK_THAT(refused(with_field(stored, 1, 24, 1U << 30)), Contains("x.zip:b: claims 1073741824"));
  CHECK_THAT(refused(with_field(stored, 1, 24, 5)), Contains("x.zip:b: claims 5 bytes"));
  // Both fields wrong, in agreement.
  CHECK_THAT(refused(with_field(with_field(stored, 0, 20, 1U << 30), 0, 24, 1U << 30)),
             Contains("damaged"));
  refused(with_field(with_field(stored, 0, 20, 9), 0, 24, 9));

  const std::string deflated = zip_of({{"a", kLong}}, true);
  const auto claims = static_cast<std::uint32_t>(kLong.size());
  CHECK_THAT(refused(with_field(deflated, 0, 24, 1U << 31)), Contains("claims 2147483648"));
  CHECK_THAT(refused(with_field(deflated, 0, 24, claims + 1)), Contains("x.zip:a"));
  CHECK_THAT(refused(with_field(deflated, 0, 24, claims - 1)), Contains("x.zip:a"));
}

TEST_CASE("zip: damaged content fails its checksum", "[zip]") {
  std::string stored = zip_of({{"a", "first"}, {"b", kLong}});
  stored[stored.find("aaaa") + 50000] = 'b';
  CHECK_THAT(refused(stored), Contains("x.zip:b") && Contains("CRC"));
}

TEST_CASE("zip: entries that share bytes are refused", "[zip]") {
  const std::string one = zip_of({{"a", kLong}});
  // The same directory entry several times over.
  const std::size_t directory = one.find("PK\x01\x02");
  const std::size_t end = one.find("PK\x05\x06");
  const std::string entry = one.substr(directory, end - directory);
  std::string many = one.substr(0, directory);
  for (char name = 'a'; name < 'd'; ++name) {
    std::string renamed = entry;
    renamed[46] = name;
    many += renamed;
  }
  std::string tail = one.substr(end);
  tail.replace(8, 4, raw(std::uint16_t{3}) + raw(std::uint16_t{3}));
  tail.replace(12, 4, raw(static_cast<std::uint32_t>(3 * entry.size())));
  CHECK_THAT(refused(many + tail), Contains("overlap"));
}

TEST_CASE("zip: what is no archive, or cut short, is refused", "[zip]") {
  refused("");
  CHECK_THAT(refused("plain text"), Contains("x.zip"));
  const std::string good = zip_of({{"a", "first"}, {"b", "second"}});
  for (std::size_t length = 0; length < good.size(); ++length) {
    INFO(length);
    refused(good.substr(0, length));
  }
  const TemporaryFolder folder;
  CHECK_THAT(refusal([&] { ZipArchive::open(folder / "none.zip"); }), Contains("cannot be opened"));
}

}  // namespace ptynet::io
