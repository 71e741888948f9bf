// Reading and writing HDF5 files as plain arrays.
//
// Thread rule: the HDF5 library is not thread-safe as Debian builds it. Every function here takes
// one process-wide lock, so the classes may be used from several threads (each object from one
// thread at a time), one call after the other. A program that also calls HDF5 by itself must
// not do so while a function of this header runs.
//
// Names of datasets and groups are absolute or relative to the root: "/entry_1/data_1/data".
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/bytes.h"
#include "kernels/array.h"

namespace ptynet::io {

class Hdf5Handle;  // an identifier of the HDF5 library, closed with its last owner

enum class Hdf5Kind { kSigned, kUnsigned, kFloat, kComplex, kString, kOther };

// What a dataset holds. Booleans of h5py count as unsigned of one byte; complex is a compound of
// two floats, as h5py writes it.
struct Hdf5Type {
  Hdf5Kind kind = Hdf5Kind::kOther;
  std::size_t bytes = 0;  // of one element as stored
};

// "u16", "c64", "string"
std::string to_string(const Hdf5Type& type);

// One open dataset, read whole or by ranges; keeps its file open.
class Hdf5Dataset {
 public:
  const std::vector<std::int64_t>& shape() const { return shape_; }  // empty for a scalar
  std::int64_t elements() const;
  const Hdf5Type& type() const { return type_; }
  // "scan.h5:/entry/data", for messages
  const std::string& where() const { return where_; }
  // What holds numbers as they are stored. Throws Error (input) for a dataset of anything else.
  DType array_type() const;
  // Extents of one stored chunk; empty when the dataset is not chunked.
  const std::vector<std::int64_t>& chunk() const { return chunk_; }

  // Values are converted to `type`; what does not fit becomes the nearest value that does.
  // A complex dataset reads as c64 only, and only a complex one does.
  // Throws Error (input) for a type that cannot be converted, a rank over Shape::kMaxRank, a range
  // outside of the dataset, over 2^40 bytes in one read, or data that cannot be read.
  Array read(DType type) const;
  // Elements [first, first + count) of the first dimension.
  Array read(DType type, std::int64_t first, std::int64_t count) const;
  // The block of `count` elements from `start`, one number per dimension.
  Array read_block(DType type, const std::vector<std::int64_t>& start,
                   const std::vector<std::int64_t>& count) const;
  std::vector<std::int64_t> read_integers() const;  // in storage order
  std::vector<double> read_numbers() const;         // in storage order
  std::vector<std::string> read_strings() const;    // in storage order, padding removed

 private:
  friend class Hdf5Reader;
  Hdf5Dataset() = default;
  void read_into(void* data, std::int64_t memory_type, const std::vector<std::int64_t>& start,
                 const std::vector<std::int64_t>& count) const;
  std::int64_t whole(std::size_t element_bytes) const;

  std::shared_ptr<const Hdf5Handle> handle_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> chunk_;
  Hdf5Type type_;
  std::string where_;
};

// Throws Error (input) for what cannot be the name of a dataset within a group.
void expect_dataset_name(const std::filesystem::path& path, const std::string& name);

// A file open for reading.
class Hdf5Reader {
 public:
  // Throws Error (input) when the file is missing, not HDF5, or damaged.
  explicit Hdf5Reader(const std::filesystem::path& path);
  // Whether the file begins like an HDF5 file (also behind a user block).
  static bool is_hdf5(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  // Whether there is a link of that name. An external link counts even if its target is missing.
  bool exists(const std::string& name) const;
  // Throws Error (input) when there is a link that leads nowhere, so that nothing which a file
  // means to have is passed over in silence.
  bool is_dataset(const std::string& name) const;
  bool is_group(const std::string& name) const;
  // The first of `names` that exists.
  std::optional<std::string> first_of(const std::vector<std::string>& names) const;
  // Names in a group, in ascending order; empty when there is no such group.
  std::vector<std::string> list(const std::string& group) const;

  // Throws Error (input) that names the target of a broken external link, the missing source of a
  // virtual dataset, or the filter that is not installed.
  Hdf5Dataset dataset(const std::string& name) const;
  // Shorthands for the whole of a dataset.
  Array read(const std::string& name, DType type) const { return dataset(name).read(type); }
  double number(const std::string& name) const;       // exactly one element
  std::string string(const std::string& name) const;  // exactly one element

  // Attributes of a group or dataset; nothing when there is no such object or attribute.
  // Throws Error (input) when the attribute is of another kind.
  std::optional<std::string> string_attribute(const std::string& object,
                                              const std::string& name) const;
  std::optional<double> number_attribute(const std::string& object, const std::string& name) const;
  std::optional<std::vector<double>> numbers_attribute(const std::string& object,
                                                       const std::string& name) const;

 private:
  std::shared_ptr<const Hdf5Handle> attribute(const std::string& object,
                                              const std::string& name) const;
  std::string where(const std::string& name) const;

  std::filesystem::path path_;
  std::shared_ptr<const Hdf5Handle> handle_;
};

// A file being written. It carries a temporary name beside the final one until commit(); without
// commit() nothing is left. Groups on the way to a name are made. Arrays must be on the host.
// Throws Error (input) when the file cannot be made or written, for instance on a full disk;
// nothing is left then, and the writer cannot be used any more.
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const std::filesystem::path& path);
  ~Hdf5Writer();  // without commit(): removes the temporary file
  Hdf5Writer(const Hdf5Writer&) = delete;
  Hdf5Writer& operator=(const Hdf5Writer&) = delete;

  void group(const std::string& name);
  // c64 is written as the compound {r, i} of h5py.
  void write(const std::string& name, const Array& values);
  void write(const std::string& name, const std::vector<std::int64_t>& values);
  void write(const std::string& name, const std::string& value);  // UTF-8
  // A dataset of no rows yet, each of `row` extents; append() adds [n, row...] at its end.
  // Compressed (byte shuffle and deflate) at a level of 1 to 9; 0: as they are.
  void create_growable(const std::string& name, const Shape& row, DType type,
                       unsigned deflate_level = 0);
  void append(const std::string& name, const Array& rows);
  // A soft link: `name` is another name of `target` in this file.
  void link(const std::string& name, const std::string& target);

  // Attributes of a group or dataset that has been written ("/" is the file itself).
  void attribute(const std::string& object, const std::string& name, const std::string& value);
  void attribute(const std::string& object, const std::string& name, const char* value);
  void attribute(const std::string& object, const std::string& name, double value);
  void attribute(const std::string& object, const std::string& name, std::int64_t value);
  void attribute(const std::string& object, const std::string& name, int value) {
    attribute(object, name, std::int64_t{value});
  }
  void attribute(const std::string& object, const std::string& name,
                 const std::vector<double>& values);

  // Ends the writing: the file lies on the disk, whole, under its temporary name. Only commit() may
  // follow; it has nothing left to do that a full disk could spoil.
  void close();
  // Closes the file if need be and gives it its final name, once its contents are on the disk
  // (fsync). The writer cannot be used afterwards.
  void commit();

 private:
  struct Growable {
    std::shared_ptr<const Hdf5Handle> dataset;
    Shape row;
    DType type = DType::kF32;
    std::int64_t rows = 0;
  };

  void open() const;  // throws when already committed or failed
  [[noreturn]] void fail(std::string_view what, const std::string& name);
  void write_raw(const std::string& name, std::int64_t file_type, std::int64_t memory_type,
                 const std::vector<std::int64_t>& shape, const void* data);
  void write_attribute(const std::string& object, const std::string& name, std::int64_t memory_type,
                       const std::vector<std::int64_t>& shape, const void* data, std::size_t bytes);
  void reserve(std::int64_t bytes);
  void discard() noexcept;

  std::filesystem::path path_;
  std::unique_ptr<PendingFile> pending_;
  std::int64_t reserved_ = 0;  // bytes of the disk that are ours
  std::shared_ptr<const Hdf5Handle> handle_;
  std::map<std::string, Growable> growable_;
};

}  // namespace ptynet::io
