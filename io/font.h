// A small bitmap font for the labels of pictures: digits, lower case, and .-+/()% and micro.
#pragma once

#include <string_view>
#include <vector>

namespace ptynet::io {

constexpr int kGlyphAdvance = 6;   // columns from one character to the next, the last one blank
constexpr int kGlyphBaseline = 7;  // rows above the baseline; 2 more below it

struct GlyphPixel {
  int row;
  int column;
};

// The dark pixels of a text (UTF-8), unscaled, first row 0. Capitals are drawn as small letters, an
// underscore as a dash; another character without a glyph is a box.
std::vector<GlyphPixel> text_pixels(std::string_view text);

// Columns that a text takes, without the blank one at its end.
int text_width(std::string_view text);

}  // namespace ptynet::io
