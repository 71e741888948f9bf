#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/hdf5.h"
#include "io/hdf5_handle.h"

namespace ptynet::io {

namespace {

// A chunk of a growable dataset: large enough for a disk, small enough to stay in HDF5's cache.
constexpr std::int64_t kChunkBytes = std::int64_t{256} * 1024;

// Room for the library's own tables beyond the data.
constexpr std::int64_t kMarginBytes = 1 << 20;

// Takes the blocks [from, to) of a file from its file system; the errno of the failure, or 0.
int allocate_blocks(const std::filesystem::path& path, std::int64_t from, std::int64_t to) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return errno;
  int failure = 0;
  do {
    failure = ::posix_fallocate(file, from, to - from);
  } while (failure == EINTR);
  ::close(file);
  return failure == EOPNOTSUPP || failure == EINVAL ? 0 : failure;  // a file system without it
}

Hdf5HandlePtr with_parent_groups() {
  Hdf5HandlePtr properties = hold(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(properties->id(), 1);
  return properties;
}

// Of datasets and groups: the same content gives the same bytes, so nothing carries a time.
Hdf5HandlePtr without_times(hid_t kind) {
  Hdf5HandlePtr properties = hold(H5Pcreate(kind));
  H5Pset_obj_track_times(properties->id(), false);
  return properties;
}

Hdf5HandlePtr string_type(const std::string& value) {
  Hdf5HandlePtr type = hold(H5Tcopy(H5T_C_S1));
  H5Tset_size(type->id(), std::max<std::size_t>(value.size(), 1));
  H5Tset_strpad(type->id(), H5T_STR_NULLPAD);
  H5Tset_cset(type->id(), H5T_CSET_UTF8);
  return type;
}

std::vector<std::int64_t> vector_of(const Shape& shape) { return {shape.begin(), shape.end()}; }

}  // namespace

Hdf5Writer::Hdf5Writer(const std::filesystem::path& path) : path_(path) {
  const Hdf5Call call;
  pending_ = std::make_unique<PendingFile>(path);
  const Hdf5HandlePtr access = hold(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_fclose_degree(access->id(), H5F_CLOSE_STRONG);
  handle_ = hold(H5Fcreate(pending_->path().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access->id()));
  if (!handle_) fail("write", "the file");
  reserve(0);
}

Hdf5Writer::~Hdf5Writer() { discard(); }

// What HDF5 still has open is closed before the temporary file is removed.
void Hdf5Writer::discard() noexcept {
  growable_.clear();
  handle_.reset();
  pending_.reset();
}

void Hdf5Writer::open() const {
  if (!handle_) fail_runtime(path_.string(), " is already written or has failed");
}

// HDF5 (1.10) crashes when it closes what it could not write. So the disk's space is taken before
// the library writes, and a full disk shows here.
void Hdf5Writer::reserve(std::int64_t bytes) {
  hsize_t size = 0;
  if (H5Fget_filesize(handle_->id(), &size) < 0) fail("measure", "the file");
  const std::int64_t wanted = static_cast<std::int64_t>(size) + bytes + bytes / 8 + kMarginBytes;
  if (wanted <= reserved_) return;
  const int failure = allocate_blocks(pending_->path(), reserved_, wanted);
  if (failure != 0) {
    discard();
    fail_input(path_.string(), ": cannot write ", bytes, " more bytes: ", std::strerror(failure));
  }
  reserved_ = wanted;
}

// The library's reason is read first: any later call of the library clears it.
void Hdf5Writer::fail(std::string_view what, const std::string& name) {
  const std::string reason = hdf5_reason();
  discard();
  fail_input(path_.string(), ": cannot ", what, " ", name, ": ", reason);
}

void Hdf5Writer::group(const std::string& name) {
  const Hdf5Call call;
  open();
  reserve(0);
  const Hdf5HandlePtr links = with_parent_groups();
  const Hdf5HandlePtr properties = without_times(H5P_GROUP_CREATE);
  const Hdf5HandlePtr made =
      hold(H5Gcreate2(handle_->id(), name.c_str(), links->id(), properties->id(), H5P_DEFAULT));
  if (!made) fail("make group", name);
}

void Hdf5Writer::write_raw(const std::string& name, std::int64_t file_type,
                           std::int64_t memory_type_id, const std::vector<std::int64_t>& shape,
                           const void* data) {
  open();
  reserve(product(shape).value_or(0) * static_cast<std::int64_t>(H5Tget_size(memory_type_id)));
  const Hdf5HandlePtr space = dataspace(shape);
  const Hdf5HandlePtr links = with_parent_groups();
  const Hdf5HandlePtr properties = without_times(H5P_DATASET_CREATE);
  const Hdf5HandlePtr dataset = hold(H5Dcreate2(handle_->id(), name.c_str(), file_type, space->id(),
                                                links->id(), properties->id(), H5P_DEFAULT));
  if (!dataset) fail("make dataset", name);
  const bool nothing = std::find(shape.begin(), shape.end(), 0) != shape.end();
  if (!nothing &&
      H5Dwrite(dataset->id(), memory_type_id, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
    fail("write dataset", name);
  }
}

void Hdf5Writer::write(const std::string& name, const Array& values) {
  const Hdf5Call call;
  const Hdf5HandlePtr type = memory_type(values.dtype());
  write_raw(name, type->id(), type->id(), vector_of(values.shape()), values.data());
}

void Hdf5Writer::write(const std::string& name, const std::vector<std::int64_t>& values) {
  const Hdf5Call call;
  write_raw(name, H5T_STD_I64LE, H5T_NATIVE_INT64, {static_cast<std::int64_t>(values.size())},
            values.data());
}

void Hdf5Writer::write(const std::string& name, const std::string& value) {
  const Hdf5Call call;
  const Hdf5HandlePtr type = string_type(value);
  write_raw(name, type->id(), type->id(), {}, value.c_str());
}

void Hdf5Writer::create_growable(const std::string& name, const Shape& row, DType type,
                                 unsigned deflate_level) {
  const Hdf5Call call;
  open();
  const std::vector<std::int64_t> row_shape = vector_of(row);
  std::vector<hsize_t> now{0};
  std::vector<hsize_t> limit{H5S_UNLIMITED};
  const auto row_bytes = static_cast<std::int64_t>(size_of(type)) * row.elements();
  std::vector<hsize_t> chunk{static_cast<hsize_t>(
      std::clamp<std::int64_t>(kChunkBytes / std::max<std::int64_t>(row_bytes, 1), 1, 1024))};
  for (const std::int64_t extent : row_shape) {
    if (extent <= 0) {
      fail_input("dataset ", name, " needs rows of at least one element, found ", to_string(row));
    }
    now.push_back(static_cast<hsize_t>(extent));
    limit.push_back(static_cast<hsize_t>(extent));
    chunk.push_back(static_cast<hsize_t>(extent));
  }
  reserve(0);
  const int rank = static_cast<int>(now.size());
  const Hdf5HandlePtr space = hold(H5Screate_simple(rank, now.data(), limit.data()));
  const Hdf5HandlePtr layout = without_times(H5P_DATASET_CREATE);
  H5Pset_chunk(layout->id(), rank, chunk.data());
  if (deflate_level > 0) {
    H5Pset_shuffle(layout->id());
    H5Pset_deflate(layout->id(), deflate_level);
  }
  const Hdf5HandlePtr links = with_parent_groups();
  const Hdf5HandlePtr element = memory_type(type);
  Hdf5HandlePtr dataset = hold(H5Dcreate2(handle_->id(), name.c_str(), element->id(), space->id(),
                                          links->id(), layout->id(), H5P_DEFAULT));
  if (!dataset) fail("make dataset", name);
  growable_[name] = Growable{std::move(dataset), row, type, 0};
}

void Hdf5Writer::append(const std::string& name, const Array& rows) {
  const Hdf5Call call;
  open();
  const auto found = growable_.find(name);
  if (found == growable_.end()) fail_runtime("dataset ", name, " was not made growable");
  Growable& target = found->second;
  const std::vector<std::int64_t> row = vector_of(target.row);
  const bool fits = rows.dtype() == target.type && rows.shape().rank() == row.size() + 1 &&
                    std::equal(row.begin(), row.end(), rows.shape().begin() + 1);
  if (!fits) {
    fail_runtime("dataset ", name, " takes rows of ", name_of(target.type), to_string(target.row),
                 ", found ", describe(rows));
  }
  const std::int64_t n = rows.shape()[0];
  if (n == 0) return;
  reserve(static_cast<std::int64_t>(rows.bytes()));
  std::vector<hsize_t> block = extents(vector_of(rows.shape()));
  std::vector<hsize_t> total = block;
  total[0] = static_cast<hsize_t>(target.rows) + static_cast<hsize_t>(n);
  if (H5Dset_extent(target.dataset->id(), total.data()) < 0) fail("grow dataset", name);
  std::vector<hsize_t> start(block.size(), 0);
  start[0] = static_cast<hsize_t>(target.rows);
  const Hdf5HandlePtr file_space = hold(H5Dget_space(target.dataset->id()));
  H5Sselect_hyperslab(file_space->id(), H5S_SELECT_SET, start.data(), nullptr, block.data(),
                      nullptr);
  const Hdf5HandlePtr memory_space = dataspace(vector_of(rows.shape()));
  const Hdf5HandlePtr element = memory_type(target.type);
  if (H5Dwrite(target.dataset->id(), element->id(), memory_space->id(), file_space->id(),
               H5P_DEFAULT, rows.data()) < 0) {
    fail("append to dataset", name);
  }
  target.rows += n;
}

void Hdf5Writer::link(const std::string& name, const std::string& target) {
  const Hdf5Call call;
  open();
  reserve(0);
  const Hdf5HandlePtr links = with_parent_groups();
  if (H5Lcreate_soft(target.c_str(), handle_->id(), name.c_str(), links->id(), H5P_DEFAULT) < 0) {
    fail("make link", name);
  }
}

void Hdf5Writer::write_attribute(const std::string& object, const std::string& name,
                                 std::int64_t memory_type_id,
                                 const std::vector<std::int64_t>& shape, const void* data,
                                 std::size_t bytes) {
  open();
  reserve(static_cast<std::int64_t>(bytes));
  const Hdf5HandlePtr owner = hold(H5Oopen(handle_->id(), object.c_str(), H5P_DEFAULT));
  if (!owner) fail("set an attribute of", object);
  const Hdf5HandlePtr space = dataspace(shape);
  const Hdf5HandlePtr made = hold(
      H5Acreate2(owner->id(), name.c_str(), memory_type_id, space->id(), H5P_DEFAULT, H5P_DEFAULT));
  if (!made || H5Awrite(made->id(), memory_type_id, data) < 0) {
    fail("write attribute", object + "@" + name);
  }
}

// Variable-length, because an attribute of fixed size may not exceed 64 KiB.
void Hdf5Writer::attribute(const std::string& object, const std::string& name,
                           const std::string& value) {
  const Hdf5Call call;
  const Hdf5HandlePtr type = hold(H5Tcopy(H5T_C_S1));
  H5Tset_size(type->id(), H5T_VARIABLE);
  H5Tset_cset(type->id(), H5T_CSET_UTF8);
  const char* pointer = value.c_str();
  write_attribute(object, name, type->id(), {}, &pointer, value.size());
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, const char* value) {
  attribute(object, name, std::string(value));
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, double value) {
  const Hdf5Call call;
  write_attribute(object, name, H5T_NATIVE_DOUBLE, {}, &value, sizeof(value));
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name, std::int64_t value) {
  const Hdf5Call call;
  write_attribute(object, name, H5T_NATIVE_INT64, {}, &value, sizeof(value));
}

void Hdf5Writer::attribute(const std::string& object, const std::string& name,
                           const std::vector<double>& values) {
  const Hdf5Call call;
  write_attribute(object, name, H5T_NATIVE_DOUBLE, {static_cast<std::int64_t>(values.size())},
                  values.data(), values.size() * sizeof(double));
}

// The file keeps only what the library uses of the reserved space.
void Hdf5Writer::close() {
  const Hdf5Call call;
  open();
  growable_.clear();
  if (H5Fflush(handle_->id(), H5F_SCOPE_GLOBAL) < 0) fail("finish", "the file");
  handle_.reset();
  haddr_t used = 0;
  {
    const Hdf5HandlePtr written =
        hold(H5Fopen(pending_->path().c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
    if (!written || H5Fget_eoa(written->id(), &used) < 0) fail("read back", "the file");
  }
  std::error_code problem;
  std::filesystem::resize_file(pending_->path(), used, problem);
  if (problem) {
    discard();
    fail_input(path_.string(), ": cannot be finished: ", problem.message());
  }
  pending_->sync();
}

void Hdf5Writer::commit() {
  if (handle_) close();
  if (!pending_) open();
  pending_->commit();
  pending_.reset();
}

}  // namespace ptynet::io
