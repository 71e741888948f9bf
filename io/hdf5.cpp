#include "io/hdf5.h"

#include <algorithm>

#include "io/hdf5_handle.h"

namespace ptynet::io {

namespace {

constexpr hssize_t kLargestAttribute = 1 << 20;                // numbers
constexpr std::int64_t kLargestChunk = std::int64_t{1} << 30;  // bytes
constexpr std::size_t kLargestCache = std::size_t{64} << 20;   // bytes
constexpr std::size_t kSmallestCache = std::size_t{1} << 20;   // bytes, HDF5's own default

// The chunks that one range of the first dimension touches stay in the cache, so that the next
// range does not read and unpack them again.
std::size_t cache_bytes(const std::vector<std::int64_t>& shape,
                        const std::vector<std::int64_t>& chunk, std::size_t element_bytes) {
  double bytes = static_cast<double>(element_bytes);
  for (std::size_t k = 0; k < chunk.size(); ++k) {
    const std::int64_t length = std::max<std::int64_t>(chunk[k], 1);
    const std::int64_t across = k == 0 ? 1 : (shape[k] + length - 1) / length;
    bytes *= static_cast<double>(length) * static_cast<double>(std::max<std::int64_t>(across, 1));
  }
  return static_cast<std::size_t>(
      std::clamp(bytes, static_cast<double>(kSmallestCache), static_cast<double>(kLargestCache)));
}

// Debian's package of a filter.
const char* package_of(H5Z_filter_t filter) {
  switch (filter) {
    case 32000:
      return "hdf5-plugin-lzf";
    case 32001:
      return "hdf5-filter-plugin-blosc-serial";
    case 32008:
      return "bitshuffle";
    case 32013:
      return "hdf5-filter-plugin-zfp-serial";
    default:
      return "hdf5-filter-plugin";
  }
}

void check_filters(hid_t layout, const std::string& where) {
  const int filters = H5Pget_nfilters(layout);
  for (int k = 0; k < filters; ++k) {
    unsigned flags = 0;
    std::size_t values = 0;
    char name[128] = "";
    const H5Z_filter_t filter = H5Pget_filter2(layout, static_cast<unsigned>(k), &flags, &values,
                                               nullptr, sizeof name - 1, name, nullptr);
    if (filter < 0 || H5Zfilter_avail(filter) > 0) continue;
    const std::string shown = printable(name);
    fail_input(where, ": compressed with HDF5 filter ", filter, shown.empty() ? "" : " (", shown,
               shown.empty() ? "" : ")", ", which is not installed; install the package ",
               package_of(filter), " or set HDF5_PLUGIN_PATH to the folder that has the filter");
  }
}

std::filesystem::path beside(const std::filesystem::path& file, const std::string& name) {
  const std::filesystem::path other(name);
  return other.is_absolute() ? other : file.parent_path() / other;
}

// HDF5 itself gives fill values for what a virtual dataset cannot find: silent zeros in a scan.
void check_virtual_sources(hid_t layout, const std::filesystem::path& file,
                           const std::string& where) {
  std::size_t sources = 0;
  if (H5Pget_virtual_count(layout, &sources) < 0) return;
  for (std::size_t k = 0; k < sources; ++k) {
    char name[4096] = "";
    if (H5Pget_virtual_filename(layout, k, name, sizeof name) < 0) continue;
    const std::string source(name);
    if (source == "." || source.find('%') != std::string::npos) continue;
    if (!std::filesystem::exists(beside(file, source))) {
      fail_input(where, ": a virtual dataset that needs the file ", printable(source),
                 ", which is not beside it; copy it there");
    }
  }
}

// Where an external link on the way to `name` points, for the message that it cannot be followed.
std::string broken_link(hid_t file, const std::string& name) {
  for (std::size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
    const std::string part = name.substr(0, end);
    H5L_info_t info;
    if (H5Lexists(file, part.c_str(), H5P_DEFAULT) <= 0) return {};
    if (H5Lget_info(file, part.c_str(), &info, H5P_DEFAULT) < 0) return {};
    if (info.type == H5L_TYPE_EXTERNAL && info.u.val_size < 65536) {
      std::vector<char> value(info.u.val_size + 1, '\0');
      const char* target_file = nullptr;
      const char* target = nullptr;
      unsigned flags = 0;
      if (H5Lget_val(file, part.c_str(), value.data(), value.size(), H5P_DEFAULT) >= 0 &&
          H5Lunpack_elink_val(value.data(), info.u.val_size, &flags, &target_file, &target) >= 0 &&
          H5Oexists_by_name(file, part.c_str(), H5P_DEFAULT) <= 0) {
        return text("a link to ", printable(target), " in the file ", printable(target_file),
                    ", which cannot be opened; copy that file beside this one");
      }
    }
    if (end == std::string::npos) return {};
  }
}

std::string rooted(const std::string& name) {
  return !name.empty() && name.front() == '/' ? name : "/" + name;
}

herr_t collect_name(hid_t, const char* name, const H5L_info_t*, void* out) {
  static_cast<std::vector<std::string>*>(out)->push_back(name);
  return 0;
}

}  // namespace

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path) : path_(path) {
  const Hdf5Call call;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) fail_input(path.string(), ": no such file");
  const Hdf5HandlePtr access = hold(H5Pcreate(H5P_FILE_ACCESS));
#if H5_VERSION_GE(1, 10, 7)
  // File systems without locks (many network ones) can be read all the same.
  H5Pset_file_locking(access->id(), true, true);
#endif
  handle_ = hold(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access->id()));
  if (!handle_) {
    const std::string reason = hdf5_reason();
    fail_input(path.string(), ": expected an HDF5 file: ", reason);
  }
}

bool Hdf5Reader::is_hdf5(const std::filesystem::path& path) {
  const Hdf5Call call;
  return H5Fis_hdf5(path.c_str()) > 0;
}

std::string Hdf5Reader::where(const std::string& name) const {
  return path_.string() + ":" + rooted(name);
}

// H5Lexists needs every link before the last to lead somewhere.
bool Hdf5Reader::exists(const std::string& name) const {
  const Hdf5Call call;
  const std::string full = rooted(name);
  if (full == "/") return true;
  for (std::size_t end = full.find('/', 1);; end = full.find('/', end + 1)) {
    const std::string part = full.substr(0, end);
    if (H5Lexists(handle_->id(), part.c_str(), H5P_DEFAULT) <= 0) return false;
    if (end == std::string::npos) return true;
    if (H5Oexists_by_name(handle_->id(), part.c_str(), H5P_DEFAULT) <= 0) return false;
  }
}

namespace {

H5I_type_t object_type(hid_t file, const std::string& name) {
  const Hdf5HandlePtr object = hold(H5Oopen(file, name.c_str(), H5P_DEFAULT));
  return object ? H5Iget_type(object->id()) : H5I_BADID;
}

}  // namespace

bool Hdf5Reader::is_dataset(const std::string& name) const {
  const Hdf5Call call;
  if (!exists(name)) return false;
  const H5I_type_t type = object_type(handle_->id(), rooted(name));
  if (type == H5I_BADID) (void)dataset(name);  // says why
  return type == H5I_DATASET;
}

bool Hdf5Reader::is_group(const std::string& name) const {
  const Hdf5Call call;
  return exists(name) && object_type(handle_->id(), rooted(name)) == H5I_GROUP;
}

std::optional<std::string> Hdf5Reader::first_of(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    if (exists(name)) return name;
  }
  return std::nullopt;
}

std::vector<std::string> Hdf5Reader::list(const std::string& group) const {
  const Hdf5Call call;
  std::vector<std::string> out;
  if (!is_group(group)) return out;
  const Hdf5HandlePtr open = hold(H5Gopen2(handle_->id(), rooted(group).c_str(), H5P_DEFAULT));
  hsize_t position = 0;
  if (!open ||
      H5Literate(open->id(), H5_INDEX_NAME, H5_ITER_INC, &position, collect_name, &out) < 0) {
    fail_input(where(group), ": cannot be listed: ", hdf5_reason());
  }
  return out;
}

Hdf5Dataset Hdf5Reader::dataset(const std::string& name) const {
  const Hdf5Call call;
  const std::string full = rooted(name);
  Hdf5Dataset out;
  out.where_ = where(name);
  Hdf5HandlePtr opened = hold(H5Dopen2(handle_->id(), full.c_str(), H5P_DEFAULT));
  if (!opened) {
    const std::string reason = hdf5_reason();
    const std::string link = broken_link(handle_->id(), full);
    if (!link.empty()) fail_input(out.where_, ": ", link);
    fail_input(out.where_, ": expected a dataset: ",
               exists(full) ? (is_group(full) ? "it is a group" : reason) : "there is none");
  }
  const Hdf5HandlePtr space = hold(H5Dget_space(opened->id()));
  const Hdf5HandlePtr type = hold(H5Dget_type(opened->id()));
  const Hdf5HandlePtr layout = hold(H5Dget_create_plist(opened->id()));
  if (!space || !type || !layout) fail_input(out.where_, ": ", hdf5_reason());
  out.shape_ = shape_of(space->id());
  out.type_ = type_of(type->id());
  if (H5Sget_simple_extent_type(space->id()) == H5S_NULL) {
    fail_input(out.where_, ": the dataset is empty");
  }
  const H5D_layout_t kind = H5Pget_layout(layout->id());
  check_filters(layout->id(), out.where_);
  if (kind == H5D_VIRTUAL) check_virtual_sources(layout->id(), path_, out.where_);
  if (kind == H5D_CHUNKED) {
    std::vector<hsize_t> chunk(out.shape_.size());
    H5Pget_chunk(layout->id(), static_cast<int>(chunk.size()), chunk.data());
    out.chunk_.assign(chunk.begin(), chunk.end());
    const std::optional<std::int64_t> n = product(out.chunk_);
    if (!n ||
        *n > kLargestChunk / static_cast<std::int64_t>(std::max<std::size_t>(out.type_.bytes, 1))) {
      fail_input(out.where_, ": chunks of ", list_of(out.chunk_), " are over 2^30 bytes");
    }
    const Hdf5HandlePtr access = hold(H5Pcreate(H5P_DATASET_ACCESS));
    // 521 slots is HDF5's default; a prime well above the number of cached chunks avoids clashes.
    H5Pset_chunk_cache(access->id(), 12421, cache_bytes(out.shape_, out.chunk_, out.type_.bytes),
                       1.0);
    opened.reset();  // a dataset keeps the cache it was first opened with
    opened = hold(H5Dopen2(handle_->id(), full.c_str(), access->id()));
    if (!opened) fail_input(out.where_, ": ", hdf5_reason());
  }
  out.handle_ = std::move(opened);
  return out;
}

double Hdf5Reader::number(const std::string& name) const {
  const Hdf5Dataset data = dataset(name);
  if (data.elements() != 1) {
    fail_input(data.where(), ": expected one number, found shape ", list_of(data.shape()));
  }
  return data.read_numbers()[0];
}

std::string Hdf5Reader::string(const std::string& name) const {
  const Hdf5Dataset data = dataset(name);
  if (data.elements() != 1) {
    fail_input(data.where(), ": expected one text, found shape ", list_of(data.shape()));
  }
  return data.read_strings()[0];
}

std::shared_ptr<const Hdf5Handle> Hdf5Reader::attribute(const std::string& object,
                                                        const std::string& name) const {
  if (!exists(object)) return nullptr;
  const Hdf5HandlePtr owner = hold(H5Oopen(handle_->id(), rooted(object).c_str(), H5P_DEFAULT));
  if (!owner || H5Aexists(owner->id(), name.c_str()) <= 0) return nullptr;
  return hold(H5Aopen(owner->id(), name.c_str(), H5P_DEFAULT));
}

std::optional<std::string> Hdf5Reader::string_attribute(const std::string& object,
                                                        const std::string& name) const {
  const Hdf5Call call;
  const Hdf5HandlePtr opened = attribute(object, name);
  if (!opened) return std::nullopt;
  const std::string place = where(object) + "@" + name;
  const Hdf5HandlePtr type = hold(H5Aget_type(opened->id()));
  const Hdf5HandlePtr space = hold(H5Aget_space(opened->id()));
  if (type_of(type->id()).kind != Hdf5Kind::kString ||
      H5Sget_simple_extent_npoints(space->id()) != 1) {
    fail_input(place, ": expected one text, found ", to_string(type_of(type->id())));
  }
  return strings_of(type->id(), space->id(), 1, place, [&](hid_t memory, void* data) {
    return H5Aread(opened->id(), memory, data);
  })[0];
}

std::optional<std::vector<double>> Hdf5Reader::numbers_attribute(const std::string& object,
                                                                 const std::string& name) const {
  const Hdf5Call call;
  const Hdf5HandlePtr opened = attribute(object, name);
  if (!opened) return std::nullopt;
  const std::string place = where(object) + "@" + name;
  const Hdf5HandlePtr type = hold(H5Aget_type(opened->id()));
  const Hdf5HandlePtr space = hold(H5Aget_space(opened->id()));
  const Hdf5Kind kind = type_of(type->id()).kind;
  const hssize_t n = H5Sget_simple_extent_npoints(space->id());
  if ((kind != Hdf5Kind::kSigned && kind != Hdf5Kind::kUnsigned && kind != Hdf5Kind::kFloat) ||
      n < 0 || n > kLargestAttribute) {
    fail_input(place, ": expected numbers, found ", to_string(type_of(type->id())));
  }
  std::vector<double> out(static_cast<std::size_t>(n));
  if (n > 0 && H5Aread(opened->id(), H5T_NATIVE_DOUBLE, out.data()) < 0) {
    fail_input(place, ": ", hdf5_reason());
  }
  return out;
}

std::optional<double> Hdf5Reader::number_attribute(const std::string& object,
                                                   const std::string& name) const {
  const std::optional<std::vector<double>> values = numbers_attribute(object, name);
  if (!values) return std::nullopt;
  if (values->size() != 1) {
    fail_input(where(object), "@", name, ": expected one number, found ", values->size());
  }
  return values->front();
}

}  // namespace ptynet::io
