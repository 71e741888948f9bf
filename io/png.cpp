#include "io/png.h"

#include <png.h>

#include <algorithm>
#include <bit>
#include <csetjmp>
#include <cstddef>
#include <cstring>
#include <vector>

namespace ptynet::io {
namespace {

constexpr std::int64_t kMaxExtent = std::int64_t{1} << 16;
constexpr std::int64_t kMaxPixels = std::int64_t{1} << 28;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 32;
constexpr std::uint64_t kMaxPacking = 1032;  // of deflate: bytes out for one byte in

// libpng reports errors by longjmp, which must not skip a destructor: the steps below that call it
// therefore hold nothing but plain values, and what has to be released lives here.
struct Decoder {
  explicit Decoder(Bytes input) : bytes(input) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, &Decoder::on_error,
                                 &Decoder::on_warning);
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) {
      png_destroy_read_struct(&png, nullptr, nullptr);
      fail_runtime("libpng could not be started: out of memory, or another version is installed");
    }
  }
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  bool read_header();
  bool read_rows(png_bytep pixels);

  static void on_error(png_structp png, png_const_charp message) {
    auto* self = static_cast<Decoder*>(png_get_error_ptr(png));
    std::strncpy(self->message, message, sizeof(self->message) - 1);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep into, std::size_t size) {
    auto* self = static_cast<Decoder*>(png_get_io_ptr(png));
    if (size > self->bytes.size() - self->offset) png_error(png, "the file ends early");
    std::memcpy(into, self->bytes.data() + self->offset, size);
    self->offset += size;
  }

  Bytes bytes;
  std::size_t offset = 0;
  png_structp png = nullptr;
  png_infop info = nullptr;
  char message[160] = {};
  std::int64_t rows = 0, columns = 0, channels = 0, bit_depth = 0;
  std::int64_t stored_bits = 0;  // of one pixel in the file
  std::size_t row_bytes = 0;     // of a decoded row
  int passes = 1;                // 7 when interlaced
};

bool Decoder::read_header() {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  png_set_read_fn(png, this, &Decoder::on_read);
  png_set_user_limits(png, static_cast<png_uint_32>(kMaxExtent),
                      static_cast<png_uint_32>(kMaxExtent));
  png_set_chunk_cache_max(png, 64);
  png_set_chunk_malloc_max(png, 8 << 20);
  png_read_info(png, info);
  stored_bits = std::int64_t{png_get_bit_depth(png, info)} * png_get_channels(png, info);
  const int color = png_get_color_type(png, info);
  if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (color == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
  // PNG stores the high byte first.
  if (std::endian::native == std::endian::little) png_set_swap(png);
  passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  rows = png_get_image_height(png, info);
  columns = png_get_image_width(png, info);
  channels = png_get_channels(png, info);
  bit_depth = png_get_bit_depth(png, info);
  row_bytes = png_get_rowbytes(png, info);
  return true;
}

bool Decoder::read_rows(png_bytep pixels) {
  if (setjmp(png_jmpbuf(png)) != 0) return false;
  for (int pass = 0; pass < passes; ++pass) {
    for (std::int64_t r = 0; r < rows; ++r) {
      png_read_row(png, pixels + static_cast<std::size_t>(r) * row_bytes, nullptr);
    }
  }
  png_read_end(png, nullptr);
  return true;
}

}  // namespace

Array parse_png(Bytes bytes, const std::string& name) {
  if (bytes.size() < 8 || png_sig_cmp(reinterpret_cast<png_const_bytep>(bytes.data()), 0, 8) != 0) {
    fail_input(name, ": expected a PNG picture, found other data");
  }
  Decoder decoder(bytes);
  if (!decoder.read_header()) fail_input(name, ": damaged PNG picture (", decoder.message, ")");
  const std::int64_t rows = decoder.rows, columns = decoder.columns;
  if (rows > kMaxExtent || columns > kMaxExtent || rows * columns > kMaxPixels) {
    fail_input(name, ": expected a picture of up to ", kMaxExtent, " rows and columns and ",
               kMaxPixels, " pixels, found ", rows, " x ", columns);
  }
  const auto least = static_cast<std::uint64_t>(rows * (columns * decoder.stored_bits / 8));
  if (least / kMaxPacking > bytes.size()) {
    fail_input(name, ": damaged PNG picture (", rows, " x ", columns, " pixels in ", bytes.size(),
               " bytes)");
  }
  const DType type = decoder.bit_depth == 16 ? DType::kU16 : DType::kU8;
  Array picture = decoder.channels == 1 ? Array::zeros({rows, columns}, type)
                                        : Array::zeros({rows, columns, decoder.channels}, type);
  if (decoder.row_bytes * static_cast<std::size_t>(rows) != picture.bytes()) {
    fail_input(name, ": expected 8 or 16 bits a channel, found ", decoder.bit_depth);
  }
  if (!decoder.read_rows(static_cast<png_bytep>(picture.data()))) {
    fail_input(name, ": damaged PNG picture (", decoder.message, ")");
  }
  return picture;
}

Array read_png(const std::filesystem::path& path) {
  const auto source = open_file(path);
  const auto bytes = read_all(*source, kMaxFileBytes);
  return parse_png(bytes, source->name());
}

void write_png(const std::filesystem::path& path, const Array& picture) {
  const Shape& shape = picture.shape();
  const bool grey = shape.rank() == 2;
  if (picture.empty() || picture.dtype() != DType::kU8 || picture.elements() == 0 ||
      !(grey || (shape.rank() == 3 && shape[2] == 3)) || shape[0] > kMaxExtent ||
      shape[1] > kMaxExtent) {
    fail_input(path.string(),
               ": expected a picture u8[rows, columns] or u8[rows, columns, 3] of up to ",
               kMaxExtent, " rows and columns, found ", describe(picture));
  }
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.height = static_cast<png_uint_32>(shape[0]);
  image.width = static_cast<png_uint_32>(shape[1]);
  image.format = grey ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::byte> bytes(size);
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, picture.data(), 0, nullptr) == 0) {
    fail_runtime(path.string(), ": libpng could not encode the picture (", image.message, ")");
  }
  PendingFile file(path);
  file.write(Bytes(bytes).first(size));
  file.commit();
}

}  // namespace ptynet::io
