#include "io/scan_readers/frames.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

namespace ptynet::io {

namespace {

constexpr std::int64_t kLargestSide = 32768;  // px; no detector frame is larger

// What the four cases of shape come to.
struct FrameShape {
  std::int64_t count = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
};

FrameShape frame_shape(const std::vector<std::int64_t>& shape, Leading leading,
                       const std::string& where) {
  const std::size_t rank = shape.size();
  if (rank < 2 || rank > 4) {
    fail_input(where, ": expected frames as [N, H, W], found ", rank, " dimensions");
  }
  FrameShape out{1, shape[rank - 2], shape[rank - 1]};
  if (rank == 3) out.count = shape[0];
  if (rank == 4) out.count = leading == Leading::kRaster ? shape[0] * shape[1] : shape[1];
  if (out.count <= 0 || (rank == 4 && shape[0] <= 0)) fail_input(where, ": holds no frames");
  if (out.height <= 0 || out.width <= 0 || out.height > kLargestSide || out.width > kLargestSide) {
    fail_input(where, ": expected frames of 1 to ", kLargestSide, " px, found ", out.height, " x ",
               out.width);
  }
  return out;
}

void check_range(std::int64_t first, std::int64_t n, std::int64_t count, const std::string& where) {
  if (first < 0 || n < 0 || first > count - n) {
    fail_input(where, ": frames ", first, " to ", first + n, " are not among its ", count);
  }
}

DType frame_type(const Hdf5Type& type, const std::string& where) {
  const bool number = type.bytes == 1 || type.bytes == 2 || type.bytes == 4 || type.bytes == 8;
  if (number && type.kind == Hdf5Kind::kFloat) return DType::kF32;
  if (number && type.kind == Hdf5Kind::kSigned) return DType::kI32;
  if (number && type.kind == Hdf5Kind::kUnsigned) {
    return type.bytes == 1 ? DType::kU8 : type.bytes == 2 ? DType::kU16 : DType::kU32;
  }
  fail_input(where, ": expected frames of integers or floats, found ", to_string(type));
}

// The largest value of a signed type of 1 or 2 bytes becomes that of i32, which `values` now are.
void keep_largest(std::size_t stored_bytes, Array& values) {
  if (values.dtype() != DType::kI32 || stored_bytes > 2) return;
  const std::int32_t largest = stored_bytes == 1 ? std::numeric_limits<std::int8_t>::max()
                                                 : std::numeric_limits<std::int16_t>::max();
  auto* all = values.data<std::int32_t>();
  std::replace(all, all + values.elements(), largest, std::numeric_limits<std::int32_t>::max());
}

class Hdf5Frames final : public FrameSource {
 public:
  Hdf5Frames(Hdf5Dataset dataset, Leading leading)
      : dataset_(std::move(dataset)),
        leading_(leading),
        shape_(frame_shape(dataset_.shape(), leading, dataset_.where())),
        type_(frame_type(dataset_.type(), dataset_.where())) {}
  std::int64_t count() const override { return shape_.count; }
  std::int64_t height() const override { return shape_.height; }
  std::int64_t width() const override { return shape_.width; }
  DType dtype() const override { return type_; }

  Array read(std::int64_t first, std::int64_t n) override {
    check_range(first, n, shape_.count, dataset_.where());
    Array out = read_as_stored(first, n);
    keep_largest(dataset_.type().bytes, out);
    return out;
  }

 private:
  Array read_as_stored(std::int64_t first, std::int64_t n) {
    const Shape out_shape{n, shape_.height, shape_.width};
    const std::size_t rank = dataset_.shape().size();
    if (rank == 2) return dataset_.read(type_, 0, n * shape_.height).reshape(out_shape);
    if (rank == 3) return dataset_.read(type_, first, n);
    Array out = Array::host(out_shape, type_);
    const std::int64_t columns = dataset_.shape()[1];
    for (std::int64_t done = 0; done < n;) {
      const std::int64_t row = leading_ == Leading::kRaster ? (first + done) / columns : 0;
      const std::int64_t column = first + done - row * columns;
      const std::int64_t some = std::min(columns - column, n - done);
      const Array part =
          dataset_.read_block(type_, {row, column, 0, 0}, {1, some, shape_.height, shape_.width});
      std::memcpy(out.slice(done, some).data(), part.data(), part.bytes());
      done += some;
    }
    return out;
  }

  Hdf5Dataset dataset_;
  Leading leading_;
  FrameShape shape_;
  DType type_;
};

class JoinedFrames final : public FrameSource {
 public:
  JoinedFrames(const Hdf5Reader& reader, std::vector<std::string> names)
      : reader_(reader), names_(std::move(names)) {
    if (names_.empty()) fail_input(reader.path().string(), ": holds no frames");
    for (std::size_t part = 0; part < names_.size(); ++part) {
      open(part);
      if (part == 0) first_ = current_;
      if (current_->height() != first_->height() || current_->width() != first_->width() ||
          current_->dtype() != first_->dtype()) {
        fail_input(reader.path().string(), ":", names_[part], ": expected frames of ",
                   name_of(first_->dtype()), " ", first_->height(), " x ", first_->width(),
                   " as in ", names_[0], ", found ", name_of(current_->dtype()), " ",
                   current_->height(), " x ", current_->width());
      }
      starts_.push_back(starts_.back() + current_->count());
    }
  }
  std::int64_t count() const override { return starts_.back(); }
  std::int64_t height() const override { return first_->height(); }
  std::int64_t width() const override { return first_->width(); }
  DType dtype() const override { return first_->dtype(); }

  Array read(std::int64_t first, std::int64_t n) override {
    check_range(first, n, count(), reader_.path().string());
    Array out = Array::host({n, height(), width()}, dtype());
    for (std::int64_t done = 0; done < n;) {
      const auto after = std::upper_bound(starts_.begin(), starts_.end(), first + done);
      const auto part = static_cast<std::size_t>(after - starts_.begin()) - 1;
      if (part != open_part_) open(part);
      const std::int64_t inside = first + done - starts_[part];
      const std::int64_t some = std::min(n - done, starts_[part + 1] - starts_[part] - inside);
      const Array frames = current_->read(inside, some);
      if (frames.bytes() > 0) {
        std::memcpy(out.slice(done, some).data(), frames.data(), frames.bytes());
      }
      done += some;
    }
    return out;
  }

 private:
  void open(std::size_t part) {
    current_ = hdf5_frames(reader_.dataset(names_[part]), Leading::kRaster);
    open_part_ = part;
  }

  Hdf5Reader reader_;
  std::vector<std::string> names_;
  std::vector<std::int64_t> starts_{0};
  std::shared_ptr<FrameSource> first_;
  std::shared_ptr<FrameSource> current_;
  std::size_t open_part_ = 0;
};

DType frame_type(const ElementType& type, const std::string& where) {
  if (type.kind == ElementKind::kComplex) {
    fail_input(where, ": expected frames of integers or floats, found ", to_string(type));
  }
  const DType natural = array_type_of(type);
  return natural == DType::kF64 ? DType::kF32 : natural;
}

template <typename T>
void clamp_into(const Array& values, Array& into) {
  const double* from = values.data<double>();
  T* to = into.data<T>();
  const auto low = static_cast<double>(std::numeric_limits<T>::min());
  const auto high = static_cast<double>(std::numeric_limits<T>::max());
  for (std::int64_t k = 0; k < values.elements(); ++k) {
    to[k] = static_cast<T>(std::clamp(from[k], low, high));
  }
}

class NpyFrames final : public FrameSource {
 public:
  NpyFrames(std::unique_ptr<ByteSource> source, Leading leading) : source_(std::move(source)) {
    header_ = read_npy_header(*source_);
    shape_ = frame_shape({header_.shape.begin(), header_.shape.end()}, leading, source_->name());
    type_ = frame_type(header_.type, source_->name());
    if (header_.fortran_order) {
      fail_input(source_->name(),
                 ": expected frames stored one after the other, found Fortran "
                 "order; save them with numpy.ascontiguousarray");
    }
  }
  std::int64_t count() const override { return shape_.count; }
  std::int64_t height() const override { return shape_.height; }
  std::int64_t width() const override { return shape_.width; }
  DType dtype() const override { return type_; }

  // The first object of several is also the first in the file: no other offset is needed.
  Array read(std::int64_t first, std::int64_t n) override {
    check_range(first, n, shape_.count, source_->name());
    Array out = Array::host({n, shape_.height, shape_.width}, type_);
    const auto frame_bytes =
        static_cast<std::uint64_t>(shape_.height * shape_.width) * header_.type.size;
    const std::uint64_t offset =
        header_.data_offset + static_cast<std::uint64_t>(first) * frame_bytes;
    const std::size_t bytes = static_cast<std::size_t>(n) * frame_bytes;
    if (same_bytes(header_.type, type_)) {
      source_->read(offset, {static_cast<std::byte*>(out.data()), bytes});
      return out;
    }
    std::vector<std::byte> stored(bytes);
    source_->read(offset, stored);
    const std::string where = text(source_->name(), ", frames from ", first);
    const bool wide = header_.type.size == 8 && type_ != DType::kF32;
    if (!wide) {
      convert_elements(stored, header_.type, out, where);
      keep_largest(header_.type.size, out);
      return out;
    }
    Array values = Array::host(out.shape(), DType::kF64);
    convert_elements(stored, header_.type, values, where);
    type_ == DType::kU32 ? clamp_into<std::uint32_t>(values, out)
                         : clamp_into<std::int32_t>(values, out);
    return out;
  }

 private:
  std::unique_ptr<ByteSource> source_;
  NpyHeader header_;
  FrameShape shape_;
  DType type_ = DType::kF32;
};

class ReorderedFrames final : public FrameSource {
 public:
  ReorderedFrames(std::shared_ptr<FrameSource> source, std::vector<std::int64_t> order)
      : source_(std::move(source)), order_(std::move(order)) {}
  std::int64_t count() const override { return static_cast<std::int64_t>(order_.size()); }
  std::int64_t height() const override { return source_->height(); }
  std::int64_t width() const override { return source_->width(); }
  DType dtype() const override { return source_->dtype(); }

  Array read(std::int64_t first, std::int64_t n) override {
    check_range(first, n, count(), "frames");
    Array out = Array::host({n, height(), width()}, dtype());
    for (std::int64_t done = 0; done < n;) {
      std::int64_t some = 1;
      const std::int64_t from = at(first + done);
      while (done + some < n && at(first + done + some) == from + some) ++some;
      const Array frames = source_->read(from, some);
      std::copy_n(static_cast<const std::byte*>(frames.data()), frames.bytes(),
                  static_cast<std::byte*>(out.slice(done, some).data()));
      done += some;
    }
    return out;
  }

 private:
  std::int64_t at(std::int64_t frame) const { return order_[static_cast<std::size_t>(frame)]; }

  std::shared_ptr<FrameSource> source_;
  std::vector<std::int64_t> order_;
};

}  // namespace

std::shared_ptr<FrameSource> hdf5_frames(const Hdf5Dataset& dataset, Leading leading) {
  return std::make_shared<Hdf5Frames>(dataset, leading);
}

std::shared_ptr<FrameSource> hdf5_frames(const Hdf5Reader& reader,
                                         const std::vector<std::string>& datasets) {
  return std::make_shared<JoinedFrames>(reader, datasets);
}

std::shared_ptr<FrameSource> npy_frames(std::unique_ptr<ByteSource> source, Leading leading) {
  return std::make_shared<NpyFrames>(std::move(source), leading);
}

std::shared_ptr<FrameSource> reordered_frames(std::shared_ptr<FrameSource> source,
                                              std::vector<std::int64_t> order) {
  return std::make_shared<ReorderedFrames>(std::move(source), std::move(order));
}

}  // namespace ptynet::io
