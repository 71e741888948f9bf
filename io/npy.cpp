#include "io/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include "io/zip.h"
#include "kernels/error.h"

namespace ptynet::io {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
// NumPy's own headers are under 200 bytes unless they describe structures.
constexpr std::size_t kMaxHeaderBytes = 65536;
// Elements that need conversion pass through a buffer of this many bytes.
constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

// The header is the text of a Python dict with the keys descr, fortran_order and shape.
class HeaderText {
 public:
  HeaderText(std::string_view rest, const std::string& name) : rest_(rest), name_(name) {}

  bool take(char expected) {
    skip_blanks();
    if (rest_.empty() || rest_.front() != expected) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void need(char expected) {
    if (!take(expected)) fail("'" + std::string(1, expected) + "'");
  }
  std::string_view quoted() {
    skip_blanks();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) fail("a quoted text");
    const std::size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) fail("a quoted text");
    const std::string_view out = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return out;
  }
  bool boolean() {
    skip_blanks();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(word.size());
      return value;
    }
    fail("True or False");
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> out;
    need('(');
    while (!take(')')) {
      if (out.size() == Shape::kMaxRank) {
        fail("a shape of at most " + std::to_string(Shape::kMaxRank) + " dimensions");
      }
      out.push_back(extent());
      if (take(',')) continue;
      need(')');
      break;
    }
    return out;
  }
  bool at(char expected) {
    skip_blanks();
    return !rest_.empty() && rest_.front() == expected;
  }
  bool at_end() {
    skip_blanks();
    return rest_.empty();
  }
  [[noreturn]] void fail(const std::string& expected) const {
    fail_input(name_, ": the .npy header is damaged: expected ", expected, ", found '",
               printable(rest_.substr(0, 20)), "'");
  }

 private:
  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) {
      rest_.remove_prefix(1);
    }
  }
  std::int64_t extent() {
    skip_blanks();
    std::int64_t value = -1;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc{} || value < 0) fail("an extent from 0 to 2^63 - 1");
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    if (!rest_.empty() && rest_.front() == 'L') rest_.remove_prefix(1);  // written by Python 2
    return value;
  }

  std::string_view rest_;
  const std::string& name_;
};

// "<f4": byte order, kind, bytes.
ElementType parse_descr(std::string_view descr, const std::string& name) {
  const std::string shown = printable(descr);
  if (descr.find('O') != std::string_view::npos) {
    fail_input(name, ": holds Python objects (dtype '", shown,
               "'), which are never loaded; save it as an array of numbers");
  }
  ElementType type;
  std::size_t size = 0;
  const bool ordered =
      descr.size() >= 3 && std::string_view("<>|=").find(descr[0]) != std::string_view::npos;
  if (ordered) {
    const auto [end, error] = std::from_chars(descr.data() + 2, descr.data() + descr.size(), size);
    if (error != std::errc{} || end != descr.data() + descr.size()) size = 0;
    type.size = size;
    type.big_endian =
        descr[0] == '>' || (descr[0] == '=' && std::endian::native == std::endian::big);
    const bool integer = size == 1 || size == 2 || size == 4 || size == 8;
    switch (descr[1]) {
      case 'b':
        type.kind = ElementKind::kBool;
        if (size == 1) return type;
        break;
      case 'i':
        type.kind = ElementKind::kSigned;
        if (integer) return type;
        break;
      case 'u':
        type.kind = ElementKind::kUnsigned;
        if (integer) return type;
        break;
      case 'f':
        type.kind = ElementKind::kFloat;
        if (integer && size != 1) return type;
        break;
      case 'c':
        type.kind = ElementKind::kComplex;
        if (size == 8 || size == 16) return type;
        break;
      default:
        break;
    }
  }
  fail_input(name, ": expected numbers (bool, int8 to int64, uint8 to uint64, float16 to float64, ",
             "complex64 or complex128), found dtype '", shown, "'");
}

// The shape, if the source has room for its elements behind data_offset.
Shape checked_shape(const std::vector<std::int64_t>& extents, const NpyHeader& header,
                    const ByteSource& source) {
  const std::uint64_t room = (source.size() - header.data_offset) / header.type.size;
  const bool empty = std::find(extents.begin(), extents.end(), 0) != extents.end();
  std::uint64_t elements = 1;
  bool fits = true;
  for (const std::int64_t extent : extents) {
    if (empty) break;
    fits = fits && elements <= room / static_cast<std::uint64_t>(extent);
    if (fits) elements *= static_cast<std::uint64_t>(extent);
  }
  if (!empty && (!fits || elements > room)) {
    std::string shape;
    for (const std::int64_t extent : extents) shape += (shape.empty() ? "" : ", ") + text(extent);
    fail_input(source.name(), ": the header claims shape (", shape, ") of ", to_string(header.type),
               ", but the file holds only ", room, " elements: it is cut short or damaged");
  }
  return {extents.data(), extents.size()};
}

}  // namespace

NpyHeader read_npy_header(ByteSource& source) {
  const std::string& name = source.name();
  std::array<std::byte, 12> start{};
  const std::size_t start_bytes = std::min<std::uint64_t>(start.size(), source.size());
  source.read(0, std::span(start).first(start_bytes));
  if (start_bytes < 10 || std::memcmp(start.data(), kMagic.data(), kMagic.size()) != 0) {
    fail_input(name, ": expected a .npy array, found no \\x93NUMPY at its start");
  }
  const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(start[i]); };
  const std::size_t version = byte(6);
  if (version < 1 || version > 3 || (version > 1 && start_bytes < 12)) {
    fail_input(name, ": expected .npy format version 1, 2 or 3, found ", version);
  }
  const std::size_t prefix = version == 1 ? 10 : 12;
  std::size_t length = byte(8) + (byte(9) << 8);
  if (version > 1) length += (byte(10) << 16) + (byte(11) << 24);
  if (length > kMaxHeaderBytes || length > source.size() - prefix) {
    fail_input(name, ": the .npy header claims ", length, " bytes, more than ",
               std::min<std::uint64_t>(kMaxHeaderBytes, source.size() - prefix));
  }
  std::string header_text(length, '\0');
  source.read(prefix, std::as_writable_bytes(std::span(header_text)));

  NpyHeader header;
  header.data_offset = prefix + length;
  std::optional<ElementType> type;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::int64_t>> extents;
  HeaderText cursor(header_text, name);
  cursor.need('{');
  while (!cursor.take('}')) {
    const std::string_view key = cursor.quoted();
    cursor.need(':');
    if (key == "descr") {
      if (cursor.at('[')) {
        fail_input(name, ": holds structures of several fields; save each field as an array");
      }
      type = parse_descr(cursor.quoted(), name);
    } else if (key == "fortran_order") {
      fortran_order = cursor.boolean();
    } else if (key == "shape") {
      extents = cursor.tuple();
    } else {
      cursor.fail("descr, fortran_order or shape");
    }
    if (cursor.take(',')) continue;
    cursor.need('}');
    break;
  }
  if (!cursor.at_end()) cursor.fail("its end");
  if (!type || !fortran_order || !extents) {
    fail_input(name, ": the .npy header is damaged: expected descr, fortran_order and shape");
  }
  header.type = *type;
  header.shape = checked_shape(*extents, header, source);
  header.fortran_order = *fortran_order && header.shape.rank() > 1;
  return header;
}

NpyReader::NpyReader(const std::filesystem::path& path, std::optional<DType> type)
    : NpyReader(open_file(path), type) {}

NpyReader::NpyReader(std::unique_ptr<ByteSource> source, std::optional<DType> type)
    : source_(std::move(source)),
      header_(read_npy_header(*source_)),
      type_(type.value_or(array_type_of(header_.type))) {}

Array NpyReader::read(std::int64_t first, std::int64_t count) {
  const Shape& shape = header_.shape;
  if (shape.rank() == 0 || first < 0 || count < 0 || first > shape[0] - count) {
    fail_input(name(), ": expected rows within ", to_string(shape), ", found ", count,
               " rows from row ", first);
  }
  if (header_.fortran_order) {
    fail_input(name(), ": is stored in Fortran order, so that its rows cannot be read one by one; ",
               "save it with numpy.ascontiguousarray");
  }
  Array out = Array::host(shape.with_first(count), type_);
  if (out.elements() > 0) {
    const auto row = static_cast<std::uint64_t>(shape.elements() / shape[0]);
    read_elements(row * static_cast<std::uint64_t>(first), out);
  }
  return out;
}

Array NpyReader::read_all() {
  const Shape& shape = header_.shape;
  Array stored = Array::host(shape, type_);
  read_elements(0, stored);
  if (!header_.fortran_order || stored.elements() == 0) return stored;
  // Walk the output in its order; `place` is where that element lies in the Fortran-ordered input.
  Array out = Array::host(shape, type_);
  const std::size_t size = size_of(type_);
  const std::size_t rank = shape.rank();
  std::array<std::size_t, Shape::kMaxRank> index{};
  std::array<std::size_t, Shape::kMaxRank> step{};
  for (std::size_t d = 0, elements = 1; d < rank; ++d) {
    step[d] = elements;
    elements *= static_cast<std::size_t>(shape[d]);
  }
  const auto count = static_cast<std::size_t>(shape.elements());
  for (std::size_t i = 0, place = 0; i < count; ++i) {
    std::memcpy(static_cast<std::byte*>(out.data()) + i * size,
                static_cast<const std::byte*>(stored.data()) + place * size, size);
    for (std::size_t d = rank; d-- > 0;) {
      place += step[d];
      if (++index[d] < static_cast<std::size_t>(shape[d])) break;
      place -= step[d] * index[d];
      index[d] = 0;
    }
  }
  return out;
}

void NpyReader::read_elements(std::uint64_t first, Array& into) {
  const ElementType& type = header_.type;
  std::uint64_t offset = header_.data_offset + first * type.size;
  const auto count = static_cast<std::size_t>(into.elements());
  if (same_bytes(type, type_)) {
    source_->read(offset, {static_cast<std::byte*>(into.data()), into.bytes()});
    return;
  }
  const std::size_t chunk = std::min(count, kBufferBytes / type.size);
  std::vector<std::byte> buffer(chunk * type.size);
  const Array flat = into.reshape({into.elements()});
  for (std::size_t done = 0; done < count;) {
    const std::size_t elements = std::min(chunk, count - done);
    const auto bytes = std::span(buffer).first(elements * type.size);
    source_->read(offset, bytes);
    Array part = flat.slice(static_cast<std::int64_t>(done), static_cast<std::int64_t>(elements));
    convert_elements(bytes, type, part, name());
    done += elements;
    offset += bytes.size();
  }
}

Array read_npy(const std::filesystem::path& path, std::optional<DType> type) {
  return NpyReader(path, type).read_all();
}

Array parse_npy(Bytes bytes, const std::string& name, std::optional<DType> type) {
  return NpyReader(open_memory(bytes, name), type).read_all();
}

void write_npy(const std::filesystem::path& path, const Array& array) {
  static_assert(std::endian::native == std::endian::little, "written as little-endian");
  const char* descr = nullptr;
  switch (array.dtype()) {
    case DType::kF32:
      descr = "<f4";
      break;
    case DType::kF64:
      descr = "<f8";
      break;
    case DType::kF16:
      descr = "<f2";
      break;
    case DType::kC64:
      descr = "<c8";
      break;
    case DType::kU8:
      descr = "|u1";
      break;
    case DType::kU16:
      descr = "<u2";
      break;
    case DType::kU32:
      descr = "<u4";
      break;
    case DType::kI32:
      descr = "<i4";
      break;
    case DType::kBf16:
      fail_runtime(path.string(), ": NumPy has no bfloat16; convert the array to f32 first");
  }
  std::string shape;
  for (const std::int64_t extent : array.shape()) shape += text(extent, ", ");
  std::string header =
      text("{'descr': '", descr, "', 'fortran_order': False, 'shape': (", shape, "), }");
  // Data begin at a multiple of 64 bytes; the header ends with a newline.
  const std::size_t used = kMagic.size() + 4 + header.size() + 1;
  header.append((64 - used % 64) % 64, ' ');
  header += '\n';
  std::string start(kMagic);
  start += {'\x01', '\x00', static_cast<char>(header.size() & 0xff),
            static_cast<char>(header.size() >> 8)};
  start += header;
  PendingFile file(path);
  file.write(std::as_bytes(std::span(start)));
  file.write({static_cast<const std::byte*>(array.data()), array.bytes()});
  file.commit();
}

NpzFile::NpzFile(std::filesystem::path path) : path_(std::move(path)) {
  const ZipArchive archive = ZipArchive::open(path_);
  for (const ZipMember& member : archive.members()) {
    if (member.name.ends_with(".npy")) {
      names_.push_back(member.name.substr(0, member.name.size() - 4));
    }
  }
}

bool NpzFile::has(const std::string& name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

NpyReader NpzFile::open(const std::string& name, std::optional<DType> type) const {
  if (!has(name)) {
    std::string known;
    for (const std::string& other : names_) known += (known.empty() ? "" : ", ") + other;
    fail_input(path_.string(), ": expected an array named '", name, "', found ",
               known.empty() ? "none" : known);
  }
  return NpyReader(ZipArchive::open(path_).open_member(name + ".npy"), type);
}

Array NpzFile::read(const std::string& name, std::optional<DType> type) const {
  return open(name, type).read_all();
}

}  // namespace ptynet::io
