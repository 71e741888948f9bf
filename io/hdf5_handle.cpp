#include "io/hdf5_handle.h"

#include <algorithm>

#include "kernels/error.h"

namespace ptynet::io {

namespace {

constexpr std::int64_t kLargestText = std::int64_t{1} << 28;  // bytes

std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

herr_t keep_first(unsigned position, const H5E_error2_t* error, void* text_out) {
  if (position == 0 && error->desc != nullptr) *static_cast<std::string*>(text_out) = error->desc;
  return 0;
}

hid_t native_type(DType type) {
  switch (type) {
    case DType::kU8:
      return H5T_NATIVE_UINT8;
    case DType::kU16:
      return H5T_NATIVE_UINT16;
    case DType::kU32:
      return H5T_NATIVE_UINT32;
    case DType::kI32:
      return H5T_NATIVE_INT32;
    case DType::kF32:
      return H5T_NATIVE_FLOAT;
    case DType::kF64:
      return H5T_NATIVE_DOUBLE;
    default:
      fail_runtime("HDF5 files are not read or written as ", name_of(type));
  }
}

bool is_complex(hid_t type) {
  if (H5Tget_nmembers(type) != 2) return false;
  for (unsigned member = 0; member < 2; ++member) {
    const Hdf5HandlePtr part = hold(H5Tget_member_type(type, member));
    if (!part || H5Tget_class(part->id()) != H5T_FLOAT) return false;
  }
  return true;
}

std::string without_padding(std::string value) {
  while (!value.empty() && (value.back() == '\0' || value.back() == ' ')) value.pop_back();
  return value;
}

}  // namespace

Hdf5Call::Hdf5Call() : lock_(library_mutex()) {
  H5Eget_auto2(H5E_DEFAULT, &printer_, &printer_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Call::~Hdf5Call() { H5Eset_auto2(H5E_DEFAULT, printer_, printer_data_); }

Hdf5Handle::~Hdf5Handle() {
  const Hdf5Call call;
  if (H5Iis_valid(id_) > 0) H5Idec_ref(id_);
}

Hdf5HandlePtr hold(hid_t id) { return id < 0 ? nullptr : std::make_shared<const Hdf5Handle>(id); }

std::string hdf5_reason() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
  return reason.empty() ? "the HDF5 library gives no reason" : reason;
}

Hdf5HandlePtr memory_type(DType type, const std::string& real, const std::string& imaginary) {
  if (type != DType::kC64) return hold(H5Tcopy(native_type(type)));
  Hdf5HandlePtr compound = hold(H5Tcreate(H5T_COMPOUND, 2 * sizeof(float)));
  H5Tinsert(compound->id(), real.c_str(), 0, H5T_NATIVE_FLOAT);
  H5Tinsert(compound->id(), imaginary.c_str(), sizeof(float), H5T_NATIVE_FLOAT);
  return compound;
}

std::vector<hsize_t> extents(const std::vector<std::int64_t>& shape) {
  return {shape.begin(), shape.end()};
}

Hdf5HandlePtr dataspace(const std::vector<std::int64_t>& shape) {
  if (shape.empty()) return hold(H5Screate(H5S_SCALAR));
  const std::vector<hsize_t> all = extents(shape);
  return hold(H5Screate_simple(static_cast<int>(all.size()), all.data(), nullptr));
}

Hdf5Type type_of(hid_t type) {
  Hdf5Type out;
  out.bytes = H5Tget_size(type);
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      out.kind = H5Tget_sign(type) == H5T_SGN_NONE ? Hdf5Kind::kUnsigned : Hdf5Kind::kSigned;
      break;
    case H5T_ENUM:
      out.kind = Hdf5Kind::kUnsigned;
      break;
    case H5T_FLOAT:
      out.kind = Hdf5Kind::kFloat;
      break;
    case H5T_STRING:
      out.kind = Hdf5Kind::kString;
      break;
    case H5T_COMPOUND:
      if (is_complex(type)) out.kind = Hdf5Kind::kComplex;
      break;
    default:
      break;
  }
  return out;
}

std::vector<std::int64_t> shape_of(hid_t space) {
  const int rank = H5Sget_simple_extent_ndims(space);
  std::vector<hsize_t> now(static_cast<std::size_t>(std::max(rank, 0)));
  if (rank > 0) H5Sget_simple_extent_dims(space, now.data(), nullptr);
  return {now.begin(), now.end()};
}

// Elements of a shape, or nothing when they would not fit 62 bits.
std::optional<std::int64_t> product(const std::vector<std::int64_t>& shape) {
  std::int64_t out = 1;
  for (const std::int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (extent > 0 && out > (std::int64_t{1} << 62) / extent) return std::nullopt;
    out *= extent;
  }
  return out;
}

std::string list_of(const std::vector<std::int64_t>& shape) {
  std::string out = "[";
  for (std::size_t k = 0; k < shape.size(); ++k) out += text(k > 0 ? ", " : "", shape[k]);
  return out + "]";
}

std::vector<std::string> strings_of(hid_t file_type, hid_t space, std::int64_t n,
                                    const std::string& where, const Hdf5StringRead& read) {
  std::vector<std::string> out;
  const std::size_t size = H5Tget_size(file_type);
  const bool variable = H5Tis_variable_str(file_type) > 0;
  if (n > kLargestText / static_cast<std::int64_t>(std::max<std::size_t>(size, 1))) {
    fail_input(where, ": ", n, " strings of ", size, " bytes are more than expected of a label");
  }
  const Hdf5HandlePtr type = hold(H5Tcopy(file_type));
  if (variable) {
    std::vector<char*> pointers(static_cast<std::size_t>(n), nullptr);
    if (read(type->id(), pointers.data()) < 0) fail_input(where, ": ", hdf5_reason());
    for (const char* value : pointers) out.emplace_back(value != nullptr ? value : "");
    H5Dvlen_reclaim(type->id(), space, H5P_DEFAULT, pointers.data());
    return out;
  }
  std::vector<char> bytes(static_cast<std::size_t>(n) * size, '\0');
  if (read(type->id(), bytes.data()) < 0) fail_input(where, ": ", hdf5_reason());
  for (std::size_t k = 0; k < static_cast<std::size_t>(n); ++k) {
    std::string value(bytes.data() + k * size, size);
    out.push_back(without_padding(value.substr(0, value.find('\0'))));
  }
  return out;
}

}  // namespace ptynet::io
