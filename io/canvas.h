// The paper that pictures are drawn on.
#pragma once

#include <cstdint>
#include <string>

#include "io/colormap.h"
#include "kernels/array.h"

namespace ptynet::io {

inline constexpr Rgb kPaper = {255, 255, 255};
inline constexpr Rgb kInk = {38, 40, 46};
inline constexpr Rgb kNeutral = {222, 226, 233};  // not measured

// An RGB picture, white at first. What is drawn must lie within it.
class Canvas {
 public:
  Canvas(std::int64_t rows, std::int64_t columns);

  void fill(std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns,
            Rgb color);
  // A line of one pixel around a rectangle.
  void frame(std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns);
  // `scale` is the size of a font pixel (io/font.h).
  void write(std::int64_t row, std::int64_t column, const std::string& text, std::int64_t scale);
  // A picture u8 [rows, columns, 3], its first pixel at (row, column).
  void paste(std::int64_t row, std::int64_t column, const Array& picture);

  // u8 [rows, columns, 3]
  Array picture() const { return picture_; }

 private:
  Array picture_;
  std::int64_t columns_;
};

}  // namespace ptynet::io
