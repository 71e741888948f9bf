// Weight files made in memory, good and hostile: the pickles and archives that torch.save writes.
#pragma once

#include <zip.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/bytes.h"
#include "kernels/error.h"
#include "tests/support.h"

namespace ptynet::tests {

inline io::Bytes bytes_of(const std::string& content) {
  return std::as_bytes(std::span(content.data(), content.size()));
}

template <typename T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}
template <typename T>
std::string raw_all(const std::vector<T>& values) {
  std::string out;
  for (const T& value : values) out += raw(value);
  return out;
}

inline void write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  REQUIRE(out.good());
}
inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

// The message of the Error (input) that `action` throws. Fails when it throws none, or a message of
// several lines.
inline std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK(error.fault() == Fault::kInput);
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  FAIL("expected an Error, found none");
  return "";
}

using Members = std::vector<std::pair<std::string, std::string>>;

// A zip archive, members stored as torch.save does, or deflated.
inline std::string zip_of(const Members& members, bool deflated = false) {
  const TemporaryFolder folder;
  const std::string path = (folder / "archive.zip").string();
  zip_t* zip = zip_open(path.c_str(), ZIP_CREATE, nullptr);
  REQUIRE(zip != nullptr);
  for (const auto& [name, content] : members) {
    zip_source_t* source = zip_source_buffer(zip, content.data(), content.size(), 0);
    const zip_int64_t index = zip_file_add(zip, name.c_str(), source, 0);
    REQUIRE(index >= 0);
    REQUIRE(zip_set_file_compression(zip, static_cast<zip_uint64_t>(index),
                                     deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0) == 0);
  }
  REQUIRE(zip_close(zip) == 0);
  return read_file(path);
}

// Pieces of a pickle of protocol 2.
namespace pickle {

inline std::string integer(std::int64_t value) { return "\x8a\x08" + raw(value); }
inline std::string string(const std::string& value) {
  return "X" + raw(static_cast<std::uint32_t>(value.size())) + value;
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
inline std::string integers(const std::vector<std::int64_t>& values) {
  std::vector<std::string> items;
  for (const std::int64_t value : values) items.push_back(integer(value));
  return tuple(items);
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string call(const std::string& callee, const std::vector<std::string>& arguments) {
  return callee + tuple(arguments) + "R";
}
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string out = "}(";
  for (const auto& [key, value] : entries) out += string(key) + value;
  return out + "u";
}
inline std::string program(const std::string& value) { return "\x80\x02" + value + "."; }

struct Tensor {
  std::string storage;  // "Float"
  std::string member;   // "0"
  std::int64_t stored;  // elements of the storage
  std::vector<std::int64_t> extents;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;
};
inline std::string tensor(const Tensor& t) {
  const std::string storage = tuple({string("storage"), global("torch", t.storage + "Storage"),
                                     string(t.member), string("cpu"), integer(t.stored)}) +
                              "Q";
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {storage, integer(t.offset), integers(t.extents), integers(t.strides), "\x89",
               call(global("collections", "OrderedDict"), {})});
}

}  // namespace pickle

// A file of torch.save: a pickle and its storages by member.
inline std::string torch_file(const std::string& value, const Members& storages) {
  Members members = {{"model/data.pkl", pickle::program(value)}};
  for (const auto& [name, content] : storages) members.emplace_back("model/data/" + name, content);
  members.emplace_back("model/version", "3\n");
  return zip_of(members);
}

}  // namespace ptynet::tests
