// NumPy's .npy and .npz files (format versions 1 to 3).
// Source: numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/bytes.h"
#include "io/elements.h"
#include "kernels/array.h"

namespace ptynet::io {

// What the header says, checked against the length of the file.
struct NpyHeader {
  ElementType type;
  Shape shape;
  bool fortran_order = false;     // stored column by column; only of meaning from rank 2 on
  std::uint64_t data_offset = 0;  // bytes from the start of the file
};

// Throws Error (input) when it is no .npy, holds Python objects or structures, has more than
// Shape::kMaxRank dimensions, or claims more data than the source has.
NpyHeader read_npy_header(ByteSource& source);

// An array whose rows (elements of the first dimension) are read on demand. One thread at a time.
class NpyReader {
 public:
  // `type`: the element type to read as (see convert_elements()); without it array_type_of() the
  // stored one, so that float64 stays f64.
  explicit NpyReader(const std::filesystem::path& path, std::optional<DType> type = {});
  explicit NpyReader(std::unique_ptr<ByteSource> source, std::optional<DType> type = {});

  const NpyHeader& header() const { return header_; }
  const Shape& shape() const { return header_.shape; }
  DType dtype() const { return type_; }
  const std::string& name() const { return source_->name(); }

  // Rows [first, first + count) as [count, ...] of dtype(). Memory grows with `count` only.
  // Throws Error (input) for rows that are not there, and for Fortran order.
  Array read(std::int64_t first, std::int64_t count);
  // The whole array; Fortran order is transposed.
  Array read_all();

 private:
  void read_elements(std::uint64_t first, Array& into);

  std::unique_ptr<ByteSource> source_;
  NpyHeader header_;
  DType type_;
};

// A whole .npy file, read as `type` or as array_type_of() its elements.
Array read_npy(const std::filesystem::path& path, std::optional<DType> type = {});
// The same for bytes in memory; `name` is for messages.
Array parse_npy(Bytes bytes, const std::string& name, std::optional<DType> type = {});

// Writes a host array, C order, version 1; the file appears whole or not at all.
// Throws Error (input) when it cannot be written.
void write_npy(const std::filesystem::path& path, const Array& array);

// Arrays by name in a zip archive. Every reader opens the archive for itself, so that readers may
// be used from several threads, one thread each.
class NpzFile {
 public:
  // Throws Error (input) when it is no zip archive.
  explicit NpzFile(std::filesystem::path path);

  // Without ".npy", in the archive's order. Members that are no .npy are left out.
  const std::vector<std::string>& names() const { return names_; }
  bool has(const std::string& name) const;
  // A stored member is read in place; a compressed one is streamed, cheap as long as rows are read
  // forwards (going back starts at its beginning). Throws Error (input) when there is no such
  // member.
  NpyReader open(const std::string& name, std::optional<DType> type = {}) const;
  Array read(const std::string& name, std::optional<DType> type = {}) const;

 private:
  std::filesystem::path path_;
  std::vector<std::string> names_;
};

}  // namespace ptynet::io
