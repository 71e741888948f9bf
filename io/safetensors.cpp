#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "io/elements.h"
#include "kernels/error.h"

namespace ptynet::io {

namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{1} << 24;
// {"name": {"shape": [...]}} is as deep as a header goes.
constexpr int kMaxDepth = 3;

struct NamedType {
  std::string_view name;
  ElementType element;
};
constexpr std::array<NamedType, 14> kTypes = {{
    {"F64", {ElementKind::kFloat, 8}},
    {"F32", {ElementKind::kFloat, 4}},
    {"F16", {ElementKind::kFloat, 2}},
    {"BF16", {ElementKind::kBrainFloat, 2}},
    {"I64", {ElementKind::kSigned, 8}},
    {"I32", {ElementKind::kSigned, 4}},
    {"I16", {ElementKind::kSigned, 2}},
    {"I8", {ElementKind::kSigned, 1}},
    {"U64", {ElementKind::kUnsigned, 8}},
    {"U32", {ElementKind::kUnsigned, 4}},
    {"U16", {ElementKind::kUnsigned, 2}},
    {"U8", {ElementKind::kUnsigned, 1}},
    {"BOOL", {ElementKind::kBool, 1}},
    {"C64", {ElementKind::kComplex, 8}},
}};

struct Entry {
  std::string name;
  ElementType element;
  std::vector<std::int64_t> extents;
  std::uint64_t begin = 0;  // bytes from the start of the data
  std::uint64_t end = 0;
};

std::uint64_t header_length(Bytes start) {
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) length = length << 8 | std::to_integer<unsigned>(start[i]);
  return length;
}

Json parse_header(const std::string& header, const std::string& name) {
  const auto bounded = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) fail_input(name, ": the safetensors header is nested too deeply");
    return true;
  };
  Json json = Json::parse(header, bounded, false);
  if (!json.is_object()) fail_input(name, ": the safetensors header is no JSON object");
  return json;
}

Entry parse_entry(const std::string& key, const Json& json, const std::string& name) {
  const auto fail = [&](const auto&... parts) {
    fail_input(name, ": tensor '", printable(key), "': ", parts...);
  };
  const auto list = [&](const char* field) -> const Json& {
    const auto found = json.find(field);
    if (found == json.end() || !found->is_array() ||
        !std::all_of(found->begin(), found->end(),
                     [](const Json& v) { return v.is_number_unsigned(); })) {
      fail("expected ", field, " as a list of integers of 0 or more");
    }
    return *found;
  };
  if (!json.is_object() || !json.contains("dtype") || !json["dtype"].is_string()) {
    fail("expected dtype, shape and data_offsets");
  }
  Entry entry;
  entry.name = key;
  const auto dtype = json["dtype"].get<std::string>();
  const auto* type = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const NamedType& t) { return t.name == dtype; });
  if (type == kTypes.end()) fail("element type '", printable(dtype), "' is not supported");
  entry.element = type->element;
  const Json& offsets = list("data_offsets");
  if (offsets.size() != 2) fail("expected two data_offsets, found ", offsets.size());
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  if (entry.begin > entry.end) fail("its data end before they begin");

  const Json& shape = list("shape");
  if (shape.size() > Shape::kMaxRank) {
    fail("expected at most ", Shape::kMaxRank, " dimensions, found ", shape.size());
  }
  // Elements are compared with the bytes there are before anything is multiplied.
  const std::uint64_t elements = (entry.end - entry.begin) / entry.element.size;
  std::uint64_t product = 1;
  bool fits = true;
  bool empty = false;
  for (const Json& extent : shape) {
    const auto value = extent.get<std::uint64_t>();
    if (value > std::uint64_t{1} << 62) fail("an extent of ", value, " cannot be held");
    entry.extents.push_back(static_cast<std::int64_t>(value));
    empty = empty || value == 0;
    fits = fits && (value == 0 || product <= elements / value);
    if (fits) product *= value;
  }
  if (empty) product = 0;
  if ((!fits && !empty) || product * entry.element.size != entry.end - entry.begin) {
    fail("its shape does not match its ", entry.end - entry.begin, " bytes of data");
  }
  return entry;
}

StateDict read(ByteSource& source) {
  const std::string& name = source.name();
  std::array<std::byte, 8> start{};
  if (source.size() < start.size()) fail_input(name, ": is too short for a safetensors file");
  source.read(0, start);
  const std::uint64_t length = header_length(start);
  if (length > kMaxHeaderBytes || length > source.size() - start.size()) {
    fail_input(name, ": the safetensors header claims ", length, " bytes, but there are at most ",
               std::min(kMaxHeaderBytes, source.size() - start.size()));
  }
  std::string header(length, '\0');
  source.read(start.size(), std::as_writable_bytes(std::span(header)));
  const Json json = parse_header(header, name);

  std::vector<Entry> entries;
  for (const auto& [key, value] : json.items()) {
    if (key != "__metadata__") entries.push_back(parse_entry(key, value, name));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  const std::uint64_t data = start.size() + length;
  std::uint64_t reached = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != reached) {
      fail_input(name, ": tensor '", printable(entry.name), "': expected its data at ", reached,
                 ", found ", entry.begin, ": tensors overlap or leave a gap");
    }
    reached = entry.end;
  }
  if (reached != source.size() - data) {
    fail_input(name, ": expected ", reached, " bytes of tensor data, found ", source.size() - data,
               ": the file is cut short or damaged");
  }

  StateDict out;
  for (const Entry& entry : entries) {
    std::vector<std::byte> raw(entry.end - entry.begin);
    source.read(data + entry.begin, raw);
    const DType stored = array_type_of(entry.element);
    Array tensor = Array::host({entry.extents.data(), entry.extents.size()},
                               stored == DType::kF64 ? DType::kF32 : stored);
    convert_elements(raw, entry.element, tensor,
                     text(name, ": tensor '", printable(entry.name), "'"));
    out.emplace(entry.name, std::move(tensor));
  }
  return out;
}

}  // namespace

StateDict read_safetensors(const std::filesystem::path& path) { return read(*open_file(path)); }

StateDict parse_safetensors(Bytes bytes, const std::string& name) {
  return read(*open_memory(bytes, name));
}

bool is_safetensors(Bytes start, std::uint64_t file_size) {
  return start.size() >= 9 && header_length(start) <= file_size - 8 &&
         std::to_integer<char>(start[8]) == '{';
}

}  // namespace ptynet::io
