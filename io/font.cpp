#include "io/font.h"

#include <array>
#include <cstddef>
#include <string>

namespace ptynet::io {
namespace {

constexpr std::size_t kRows = 9;
constexpr std::size_t kColumns = 5;
constexpr std::size_t kPerSheet = 11;
constexpr char kMicro = '\x01';  // stands for U+00B5 and U+03BC
constexpr char kUnknown = '\x02';

// Eleven glyphs side by side, six columns from one to the next.
using Sheet = std::array<std::string_view, kRows>;
constexpr std::string_view kOrder = "0123456789abcdefghijklmnopqrstuvwxyz\x01.-+/()%";

// clang-format off
constexpr std::array<Sheet, 4> kSheets = {{
    // 0     1     2     3     4     5     6     7     8     9     a
    {{" ###    #    ###   ###     #  #####  ###  #####  ###   ###       ",
      "#   #  ##   #   # #   #   ##  #     #         # #   # #   #      ",
      "#   #   #       #     #  # #  ####  #        #  #   # #   #  ### ",
      "#   #   #     ##    ##  #  #      # ####     #   ###   ####     #",
      "#   #   #    #        # #####     # #   #   #   #   #     #  ####",
      "#   #   #   #     #   #    #  #   # #   #   #   #   #     # #   #",
      " ###   ###  #####  ###     #   ###   ###    #    ###   ###   ####",
      "                                                                 ",
      "                                                                 "}},
    // b     c     d     e     f     g     h     i     j     k     l
    {{"#               #         ##        #       #      #  #      ##  ",
      "#               #        #          #                 #       #  ",
      "####   ###   ####  ###  ####   #### ####   ##     ##  #  #    #  ",
      "#   # #   # #   # #   #  #    #   # #   #   #      #  # #     #  ",
      "#   # #     #   # #####  #    #   # #   #   #      #  ##      #  ",
      "#   # #   # #   # #      #    #   # #   #   #      #  # #     #  ",
      "####   ###   ####  ###   #     #### #   #  ###     #  #  #   ### ",
      "                                  #             #  #             ",
      "                               ###               ##              "}},
    // m     n     o     p     q     r     s     t     u     v     w
    {{"                                           #                     ",
      "                                           #                     ",
      "## #  # ##   ###  ####   #### # ##   #### ####  #   # #   # #   #",
      "# # # ##  # #   # #   # #   # ##  # #      #    #   # #   # # # #",
      "# # # #   # #   # #   # #   # #      ###   #    #   # #   # # # #",
      "# # # #   # #   # #   # #   # #         #  #  # #  ##  # #  # # #",
      "# # # #   #  ###  ####   #### #     ####    ##   ## #   #    # # ",
      "                  #         #                                    ",
      "                  #         #                                    "}},
    // x     y     z     µ     .     -     +     /     (     )     %
    {{"                                              #    #   #    ##  #",
      "                                      #       #   #     #   ## # ",
      "#   # #   # ##### #   #               #      #   #       #     # ",
      " # #  #   #    #  #   #       ##### #####   #    #       #    #  ",
      "  #   #   #   #   #   #               #    #     #       #   #   ",
      " # #  #   #  #    #  ##  ##           #   #       #     #    # ##",
      "#   #  #### ##### ### #  ##               #        #   #    #  ##",
      "          #       #                                              ",
      "       ###        #                                              "}},
}};
// clang-format on

static_assert(kOrder.size() == kPerSheet * kSheets.size());

// The character whose glyph stands for an ASCII one: file names have capitals and underscores.
char drawn_as(char character) {
  if (character >= 'A' && character <= 'Z') return static_cast<char>(character - 'A' + 'a');
  return character == '_' ? '-' : character;
}

// One char per character: the two-byte sequences of micro become kMicro, other ones kUnknown.
std::string one_byte_each(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      out += drawn_as(text[i]);
    } else if (byte >= 0xC0) {  // the first byte of a sequence; the others are passed over
      const std::string_view two = text.substr(i, 2);
      out += two == "\u00b5" || two == "\u03bc" ? kMicro : kUnknown;
    }
  }
  return out;
}

bool is_dark(char character, std::size_t row, std::size_t column) {
  if (character == ' ') return false;
  const std::size_t at = kOrder.find(character);
  if (at == std::string_view::npos) {
    return row < kGlyphBaseline &&
           (row == 0 || row + 1 == kGlyphBaseline || column == 0 || column + 1 == kColumns);
  }
  return kSheets[at / kPerSheet][row][at % kPerSheet * kGlyphAdvance + column] == '#';
}

}  // namespace

std::vector<GlyphPixel> text_pixels(std::string_view text) {
  std::vector<GlyphPixel> pixels;
  const std::string characters = one_byte_each(text);
  for (std::size_t i = 0; i < characters.size(); ++i) {
    for (std::size_t row = 0; row < kRows; ++row) {
      for (std::size_t column = 0; column < kColumns; ++column) {
        if (!is_dark(characters[i], row, column)) continue;
        pixels.push_back({static_cast<int>(row), static_cast<int>(i * kGlyphAdvance + column)});
      }
    }
  }
  return pixels;
}

int text_width(std::string_view text) {
  const auto characters = static_cast<int>(one_byte_each(text).size());
  return characters == 0 ? 0 : characters * kGlyphAdvance - 1;
}

}  // namespace ptynet::io
