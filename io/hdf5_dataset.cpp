#include <algorithm>
#include <optional>

#include "io/bytes.h"
#include "io/hdf5.h"
#include "io/hdf5_handle.h"

namespace ptynet::io {

namespace {

constexpr std::int64_t kLargestRead = std::int64_t{1} << 40;  // bytes

std::string member_name(hid_t compound, unsigned member) {
  char* name = H5Tget_member_name(compound, member);
  std::string out = name != nullptr ? name : "";
  H5free_memory(name);
  return out;
}

}  // namespace

std::string to_string(const Hdf5Type& type) {
  switch (type.kind) {
    case Hdf5Kind::kSigned:
      return text("i", type.bytes * 8);
    case Hdf5Kind::kUnsigned:
      return text("u", type.bytes * 8);
    case Hdf5Kind::kFloat:
      return text("f", type.bytes * 8);
    case Hdf5Kind::kComplex:
      return text("c", type.bytes * 8);
    case Hdf5Kind::kString:
      return "string";
    case Hdf5Kind::kOther:
      break;
  }
  return "another type";
}

std::int64_t Hdf5Dataset::elements() const {
  const std::optional<std::int64_t> n = product(shape_);
  if (!n) fail_input(where_, ": shape ", list_of(shape_), " is too large");
  return *n;
}

std::int64_t Hdf5Dataset::whole(std::size_t element_bytes) const {
  const std::int64_t n = elements();
  if (n > kLargestRead / static_cast<std::int64_t>(element_bytes)) {
    fail_input(where_, ": shape ", list_of(shape_), " is over 2^40 bytes in one read");
  }
  return n;
}

void Hdf5Dataset::read_into(void* data, std::int64_t memory_type_id,
                            const std::vector<std::int64_t>& start,
                            const std::vector<std::int64_t>& count) const {
  const Hdf5HandlePtr file_space = hold(H5Dget_space(handle_->id()));
  const Hdf5HandlePtr memory_space = dataspace(count);
  if (!file_space || !memory_space) fail_input(where_, ": ", hdf5_reason());
  if (!shape_.empty()) {
    const std::vector<hsize_t> first = extents(start);
    const std::vector<hsize_t> block = extents(count);
    H5Sselect_hyperslab(file_space->id(), H5S_SELECT_SET, first.data(), nullptr, block.data(),
                        nullptr);
  }
  if (H5Dread(handle_->id(), memory_type_id, memory_space->id(), file_space->id(), H5P_DEFAULT,
              data) < 0) {
    const std::string reason = hdf5_reason();
    fail_input(where_, ": cannot read ", list_of(count), " from ", list_of(start), ": ", reason);
  }
}

Array Hdf5Dataset::read_block(DType type, const std::vector<std::int64_t>& start,
                              const std::vector<std::int64_t>& count) const {
  const Hdf5Call call;
  if (shape_.size() > Shape::kMaxRank) {
    fail_input(where_, ": expected at most ", Shape::kMaxRank, " dimensions, found ",
               shape_.size());
  }
  const bool complex = type_.kind == Hdf5Kind::kComplex;
  if (type_.kind == Hdf5Kind::kString || type_.kind == Hdf5Kind::kOther ||
      complex != (type == DType::kC64)) {
    fail_input(where_, ": expected ", name_of(type), ", found ", to_string(type_));
  }
  bool inside = start.size() == shape_.size() && count.size() == shape_.size();
  for (std::size_t k = 0; inside && k < shape_.size(); ++k) {
    inside = start[k] >= 0 && count[k] >= 0 && start[k] <= shape_[k] - count[k];
  }
  if (!inside) {
    fail_input(where_, ": ", list_of(count), " from ", list_of(start), " lie outside of ",
               list_of(shape_));
  }
  const std::optional<std::int64_t> n = product(count);
  if (!n || *n > kLargestRead / static_cast<std::int64_t>(size_of(type))) {
    fail_input(where_, ": ", list_of(count), " elements are over 2^40 bytes in one read");
  }
  Array out = Array::host(Shape(count.data(), count.size()), type);
  if (*n == 0) return out;
  std::string names[2] = {"r", "i"};
  if (complex) {
    const Hdf5HandlePtr stored = hold(H5Dget_type(handle_->id()));
    for (unsigned k = 0; k < 2; ++k) names[k] = member_name(stored->id(), k);
  }
  read_into(out.data(), memory_type(type, names[0], names[1])->id(), start, count);
  return out;
}

DType Hdf5Dataset::array_type() const {
  switch (type_.kind) {
    case Hdf5Kind::kFloat:
      return type_.bytes == 8 ? DType::kF64 : DType::kF32;
    case Hdf5Kind::kComplex:
      return DType::kC64;
    case Hdf5Kind::kSigned:
      return DType::kI32;
    case Hdf5Kind::kUnsigned:
      return type_.bytes == 1 ? DType::kU8 : type_.bytes == 2 ? DType::kU16 : DType::kU32;
    case Hdf5Kind::kString:
    case Hdf5Kind::kOther:
      break;
  }
  fail_input(where_, ": expected a tensor of numbers, found ", to_string(type_));
}

void expect_dataset_name(const std::filesystem::path& path, const std::string& name) {
  if (name.empty() || name == "." || name.find('/') != std::string::npos) {
    fail_input(path.string(), ": a dataset cannot be named '", printable(name), "'");
  }
}

Array Hdf5Dataset::read(DType type) const {
  whole(size_of(type));
  return read_block(type, std::vector<std::int64_t>(shape_.size(), 0), shape_);
}

Array Hdf5Dataset::read(DType type, std::int64_t first, std::int64_t count) const {
  if (shape_.empty()) fail_input(where_, ": expected an array, found a single number");
  std::vector<std::int64_t> start(shape_.size(), 0);
  std::vector<std::int64_t> block = shape_;
  start[0] = first;
  block[0] = count;
  return read_block(type, start, block);
}

std::vector<std::int64_t> Hdf5Dataset::read_integers() const {
  const Hdf5Call call;
  if (type_.kind != Hdf5Kind::kSigned && type_.kind != Hdf5Kind::kUnsigned) {
    fail_input(where_, ": expected integers, found ", to_string(type_));
  }
  std::vector<std::int64_t> out(static_cast<std::size_t>(whole(sizeof(std::int64_t))));
  if (out.empty()) return out;
  read_into(out.data(), H5T_NATIVE_INT64, std::vector<std::int64_t>(shape_.size(), 0), shape_);
  return out;
}

std::vector<double> Hdf5Dataset::read_numbers() const {
  const Hdf5Call call;
  const bool number = type_.kind == Hdf5Kind::kSigned || type_.kind == Hdf5Kind::kUnsigned ||
                      type_.kind == Hdf5Kind::kFloat;
  if (!number) fail_input(where_, ": expected numbers, found ", to_string(type_));
  std::vector<double> out(static_cast<std::size_t>(whole(sizeof(double))));
  if (out.empty()) return out;
  read_into(out.data(), H5T_NATIVE_DOUBLE, std::vector<std::int64_t>(shape_.size(), 0), shape_);
  return out;
}

std::vector<std::string> Hdf5Dataset::read_strings() const {
  const Hdf5Call call;
  if (type_.kind != Hdf5Kind::kString) {
    fail_input(where_, ": expected text, found ", to_string(type_));
  }
  const Hdf5HandlePtr type = hold(H5Dget_type(handle_->id()));
  const Hdf5HandlePtr space = hold(H5Dget_space(handle_->id()));
  return strings_of(type->id(), space->id(), whole(1), where_, [&](hid_t memory, void* data) {
    return H5Dread(handle_->id(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
  });
}

}  // namespace ptynet::io
