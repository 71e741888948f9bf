#include "io/canvas.h"

#include <algorithm>

#include "io/font.h"

namespace ptynet::io {

Canvas::Canvas(std::int64_t rows, std::int64_t columns)
    : picture_(Array::host({rows, columns, 3}, DType::kU8)), columns_(columns) {
  fill(0, 0, rows, columns, kPaper);
}

void Canvas::fill(std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns,
                  Rgb color) {
  auto* pixels = picture_.data<std::uint8_t>();
  for (std::int64_t r = row; r < row + rows; ++r) {
    for (std::int64_t c = column; c < column + columns; ++c) {
      std::uint8_t* pixel = pixels + (r * columns_ + c) * 3;
      pixel[0] = color.red;
      pixel[1] = color.green;
      pixel[2] = color.blue;
    }
  }
}

void Canvas::frame(std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns) {
  fill(row - 1, column - 1, 1, columns + 2, kInk);
  fill(row + rows, column - 1, 1, columns + 2, kInk);
  fill(row, column - 1, rows, 1, kInk);
  fill(row, column + columns, rows, 1, kInk);
}

void Canvas::write(std::int64_t row, std::int64_t column, const std::string& text,
                   std::int64_t scale) {
  for (const GlyphPixel& pixel : text_pixels(text)) {
    fill(row + pixel.row * scale, column + pixel.column * scale, scale, scale, kInk);
  }
}

void Canvas::paste(std::int64_t row, std::int64_t column, const Array& picture) {
  const std::int64_t columns = picture.shape()[1];
  const auto* from = picture.data<std::uint8_t>();
  auto* to = picture_.data<std::uint8_t>();
  for (std::int64_t r = 0; r < picture.shape()[0]; ++r) {
    std::copy_n(from + r * columns * 3, columns * 3, to + ((row + r) * columns_ + column) * 3);
  }
}

}  // namespace ptynet::io
