// Internal: what the HDF5 sources share: the lock, the handles, the library's own messages.
#pragma once

#include <hdf5.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "kernels/dtype.h"

namespace ptynet::io {

// Holds the process-wide lock and keeps the library from printing its error stack. Recursive.
class Hdf5Call {
 public:
  Hdf5Call();
  ~Hdf5Call();
  Hdf5Call(const Hdf5Call&) = delete;
  Hdf5Call& operator=(const Hdf5Call&) = delete;

 private:
  std::unique_lock<std::recursive_mutex> lock_;
  H5E_auto2_t printer_ = nullptr;
  void* printer_data_ = nullptr;
};

class Hdf5Handle {
 public:
  explicit Hdf5Handle(hid_t id) : id_(id) {}
  ~Hdf5Handle();
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;
  hid_t id() const { return id_; }

 private:
  hid_t id_;
};

using Hdf5HandlePtr = std::shared_ptr<const Hdf5Handle>;

// Null when `id` is the library's failure value.
Hdf5HandlePtr hold(hid_t id);

// The innermost message of the library's error stack: "unable to open file".
std::string hdf5_reason();

// The type in memory of one element; c64 is a compound whose members carry the two names.
Hdf5HandlePtr memory_type(DType type, const std::string& real = "r",
                          const std::string& imaginary = "i");

std::vector<hsize_t> extents(const std::vector<std::int64_t>& shape);
Hdf5HandlePtr dataspace(const std::vector<std::int64_t>& shape);  // scalar when empty

Hdf5Type type_of(hid_t type);
std::vector<std::int64_t> shape_of(hid_t space);

// Elements of a shape, or nothing when they would not fit 62 bits.
std::optional<std::int64_t> product(const std::vector<std::int64_t>& shape);
std::string list_of(const std::vector<std::int64_t>& shape);  // "[3, 64, 64]"

// The n strings behind a dataset or attribute; `read` fills a buffer in a memory type.
using Hdf5StringRead = std::function<herr_t(hid_t memory_type, void* buffer)>;
std::vector<std::string> strings_of(hid_t file_type, hid_t space, std::int64_t n,
                                    const std::string& where, const Hdf5StringRead& read);

}  // namespace ptynet::io
