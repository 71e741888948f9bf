#include "engine/object_patterns.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string_view>

#include "io/font.h"

namespace ptynet {

namespace {

constexpr double kPi = std::numbers::pi;

// Numbers of one thing among many: thing k of a stream has the counters from 16 k on.
class Draw {
 public:
  Draw(const CounterRandom& random, std::uint64_t thing) : random_(random), next_(thing * 16) {}
  double uniform() { return random_.uniform(next_++); }
  double between(double low, double high) { return low + (high - low) * uniform(); }

 private:
  const CounterRandom& random_;
  std::uint64_t next_;
};

// An ellipse of half axes a, b, or a rectangle of half sides a, b, turned by an angle; px.
struct Leaf {
  double row = 0;
  double column = 0;
  double a = 1;
  double b = 1;
  double cosine = 1;
  double sine = 0;
  bool box = false;
  float value = 0;
};

struct Span {
  double low;
  double high;
};

// With u = cosine dx + sine dy and v = -sine dx + cosine dy: the dx for which |slope dx + at| <=
// half.
Span slab(double slope, double at, double half) {
  if (std::abs(slope) < 1e-9) return std::abs(at) <= half ? Span{-1e9, 1e9} : Span{1, -1};
  const double first = (-half - at) / slope;
  const double second = (half - at) / slope;
  return {std::min(first, second), std::max(first, second)};
}

// The columns of a leaf, from its middle, on the row that lies dy below its middle.
Span span_of(const Leaf& leaf, double dy) {
  if (leaf.box) {
    const Span along = slab(leaf.cosine, leaf.sine * dy, leaf.a);
    const Span across = slab(-leaf.sine, leaf.cosine * dy, leaf.b);
    return {std::max(along.low, across.low), std::min(along.high, across.high)};
  }
  const double aa = 1 / (leaf.a * leaf.a);
  const double bb = 1 / (leaf.b * leaf.b);
  const double square = leaf.cosine * leaf.cosine * aa + leaf.sine * leaf.sine * bb;
  const double mixed = leaf.cosine * leaf.sine * (aa - bb) * dy;
  const double rest = (leaf.sine * leaf.sine * aa + leaf.cosine * leaf.cosine * bb) * dy * dy - 1;
  const double root = mixed * mixed - square * rest;
  if (root < 0) return {1, -1};
  const double half = std::sqrt(root);
  return {(-mixed - half) / square, (-mixed + half) / square};
}

void paint(const Leaf& leaf, PatternCanvas& canvas) {
  const double reach = leaf.box ? leaf.a * std::abs(leaf.sine) + leaf.b * std::abs(leaf.cosine)
                                : std::hypot(leaf.a * leaf.sine, leaf.b * leaf.cosine);
  const double rows = static_cast<double>(canvas.rows);
  const double columns = static_cast<double>(canvas.columns);
  const auto first = static_cast<std::int64_t>(std::ceil(std::max(0.0, leaf.row - reach)));
  const auto last = static_cast<std::int64_t>(std::floor(std::min(rows - 1, leaf.row + reach)));
  for (std::int64_t r = first; r <= last; ++r) {
    const Span span = span_of(leaf, static_cast<double>(r) - leaf.row);
    const double low = std::ceil(std::max(0.0, leaf.column + span.low));
    const double high = std::floor(std::min(columns - 1, leaf.column + span.high));
    if (!(low <= high)) continue;
    float* row = canvas.values + r * canvas.columns;
    std::fill(row + static_cast<std::int64_t>(low), row + static_cast<std::int64_t>(high) + 1,
              leaf.value);
  }
}

// Somewhere on the canvas or so near that it reaches into it.
void place(Leaf& leaf, double margin, const PatternCanvas& canvas, Draw& draw) {
  leaf.row = draw.between(-margin, static_cast<double>(canvas.rows) + margin);
  leaf.column = draw.between(-margin, static_cast<double>(canvas.columns) + margin);
}

bool near(const Leaf& leaf, double reach, const PatternCanvas& canvas) {
  return leaf.row > -reach && leaf.row < static_cast<double>(canvas.rows) + reach &&
         leaf.column > -reach && leaf.column < static_cast<double>(canvas.columns) + reach;
}

void turn(Leaf& leaf, Draw& draw) {
  const double angle = draw.between(0, kPi);
  leaf.cosine = std::cos(angle);
  leaf.sine = std::sin(angle);
}

double area_with_margin(double margin, const PatternCanvas& canvas) {
  return (static_cast<double>(canvas.rows) + 2 * margin) *
         (static_cast<double>(canvas.columns) + 2 * margin);
}

void fill(PatternCanvas& canvas, double value) {
  std::fill_n(canvas.values, canvas.rows * canvas.columns, static_cast<float>(value));
}

// Two values that differ by 0.3 or more, either above the other.
struct Levels {
  double ground;
  double mark;
};

Levels draw_levels(Draw& draw) {
  const double dark = draw.between(0, 0.35);
  const double bright = draw.between(0.65, 1);
  return draw.uniform() < 0.5 ? Levels{dark, bright} : Levels{bright, dark};
}

}  // namespace

// Back to front, so many that a pixel lies under six leaves on average; what none covers (exp(-6))
// shows one more leaf that lies below all.
void draw_dead_leaves(const CounterRandom& random, PatternCanvas& canvas) {
  constexpr double kDepth = 6;
  const double low = canvas.feature_low_px;
  const double high = std::max(canvas.feature_high_px, low * 1.001);
  const double steep = 1 / (low * low);
  const double flat = 1 / (high * high);
  // Mean of pi r^2 for a density proportional to 1 / r^3
  const double mean_area = 2 * kPi * std::log(high / low) / (steep - flat);
  const double margin = std::numbers::sqrt2 * high;  // no leaf reaches further from its middle
  const double count = std::ceil(kDepth * area_with_margin(margin, canvas) / mean_area);
  fill(canvas, random.uniform(0));
  for (std::uint64_t k = 1; k <= static_cast<std::uint64_t>(count); ++k) {
    Draw draw(random, k);
    Leaf leaf;
    place(leaf, margin, canvas, draw);
    const double radius = 1 / std::sqrt(steep - draw.uniform() * (steep - flat));
    if (!near(leaf, std::numbers::sqrt2 * radius, canvas)) continue;
    turn(leaf, draw);
    const double kind = draw.uniform();
    leaf.box = kind >= 0.75;
    // Of the disc's area: half are discs, a quarter ellipses, a quarter rectangles.
    const double stretch = kind < 0.5 ? 1 : std::sqrt(draw.between(1, 2));
    const double side = leaf.box ? radius * std::sqrt(kPi) / 2 : radius;
    leaf.a = side * stretch;
    leaf.b = side / stretch;
    leaf.value = static_cast<float>(draw.uniform());
    paint(leaf, canvas);
  }
}

void draw_siemens(const CounterRandom& random, PatternCanvas& canvas) {
  Draw draw(random, 0);
  const Levels levels = draw_levels(draw);
  const double rows = static_cast<double>(canvas.rows);
  const double columns = static_cast<double>(canvas.columns);
  const double middle_row = rows * draw.between(0.4, 0.6);
  const double middle_column = columns * draw.between(0.4, 0.6);
  const double spokes = std::floor(draw.between(18, 41));
  const double turn = draw.between(0, 2 * kPi);
  const double outer = std::min(rows, columns) * draw.between(0.4, 0.5);
  const double inner = 4 * spokes / (2 * kPi);  // where a period has four pixels left
  for (std::int64_t r = 0; r < canvas.rows; ++r) {
    for (std::int64_t c = 0; c < canvas.columns; ++c) {
      const double y = static_cast<double>(r) - middle_row;
      const double x = static_cast<double>(c) - middle_column;
      const double radius = std::hypot(y, x);
      // Two gaps, so that radii can be read off.
      const double share = radius / outer;
      const bool gap = std::abs(share - 0.4) < 0.02 || std::abs(share - 0.7) < 0.02;
      const bool star = radius > inner && radius < outer && !gap &&
                        std::sin(spokes * std::atan2(y, x) + turn) > 0;
      canvas.values[r * canvas.columns + c] =
          static_cast<float>(star ? levels.mark : levels.ground);
    }
  }
}

void draw_cells(const CounterRandom& random, PatternCanvas& canvas) {
  constexpr double kCrowding = 1.2;  // cells over a pixel, on average
  constexpr std::uint64_t kOrganelles = 5;
  const double low = canvas.feature_low_px;
  const double high = canvas.feature_high_px;
  const double margin = std::numbers::sqrt2 * high;
  const double mean_area = kPi * (low * low + low * high + high * high) / 3;
  const double count = std::ceil(kCrowding * area_with_margin(margin, canvas) / mean_area);
  fill(canvas, 0.85 + 0.15 * random.uniform(0));
  for (std::uint64_t k = 0; k < static_cast<std::uint64_t>(count); ++k) {
    Draw draw(random, 1 + k * (1 + kOrganelles));
    Leaf cell;
    place(cell, margin, canvas, draw);
    const double radius = draw.between(low, high);
    if (!near(cell, std::numbers::sqrt2 * radius, canvas)) continue;
    turn(cell, draw);
    const double stretch = std::sqrt(draw.between(1, 2));
    const auto part = [&](double share, double value) {
      cell.a = radius * stretch * share;
      cell.b = radius / stretch * share;
      cell.value = static_cast<float>(value);
      paint(cell, canvas);
    };
    part(1, draw.between(0, 0.3));
    part(0.88, draw.between(0.4, 0.75));
    part(draw.between(0.25, 0.45), draw.between(0, 0.3));
    for (std::uint64_t organelle = 1; organelle <= kOrganelles; ++organelle) {
      Draw detail(random, 1 + k * (1 + kOrganelles) + organelle);
      const double angle = detail.between(0, 2 * kPi);
      const double distance = detail.between(0.5, 0.75) * radius / stretch;
      Leaf leaf;
      leaf.row = cell.row + distance * std::sin(angle);
      leaf.column = cell.column + distance * std::cos(angle);
      leaf.a = leaf.b = radius * detail.between(0.05, 0.12);
      leaf.value = static_cast<float>(detail.between(0.1, 0.9));
      paint(leaf, canvas);
    }
  }
}

namespace {

constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyz";
constexpr std::int64_t kGlyphRows = 9;
constexpr std::int64_t kGlyphColumns = 5;
constexpr std::int64_t kRowAdvance = 12;  // of lines of text, in pixels of the font
using Glyph = std::array<bool, kGlyphRows * kGlyphColumns>;

const std::array<Glyph, kLetters.size()>& glyphs() {
  static const auto made = [] {
    std::array<Glyph, kLetters.size()> out{};
    for (std::size_t i = 0; i < kLetters.size(); ++i) {
      for (const io::GlyphPixel& pixel : io::text_pixels(kLetters.substr(i, 1))) {
        out[i][static_cast<std::size_t>(pixel.row * kGlyphColumns + pixel.column)] = true;
      }
    }
    return out;
  }();
  return made;
}

}  // namespace

// An endless page of random letters, looked up pixel by pixel: which letter stands in a place
// depends on the place alone.
void draw_text(const CounterRandom& random, PatternCanvas& canvas) {
  constexpr double kBlank = 0.15;  // share of places without a letter
  Draw draw(random, 0);
  const Levels levels = draw_levels(draw);
  const double high = std::min(canvas.feature_high_px, 3 * canvas.feature_low_px);
  const double size = std::max(1.0, draw.between(canvas.feature_low_px, high) / io::kGlyphBaseline);
  const double angle = draw.between(-0.35, 0.35);
  const double cosine = std::cos(angle) / size;
  const double sine = std::sin(angle) / size;
  // The page's zero lies far away, so that its pixels have positive numbers.
  const double left = 1e6 + draw.between(0, 1000);
  const double top = 1e6 + draw.between(0, 1000);
  for (std::int64_t r = 0; r < canvas.rows; ++r) {
    for (std::int64_t c = 0; c < canvas.columns; ++c) {
      const double y = static_cast<double>(r);
      const double x = static_cast<double>(c);
      const auto column = static_cast<std::int64_t>(left + cosine * x + sine * y);
      const auto row = static_cast<std::int64_t>(top - sine * x + cosine * y);
      const std::int64_t in_row = row % kRowAdvance;
      const std::int64_t in_column = column % io::kGlyphAdvance;
      bool mark = false;
      if (in_row < kGlyphRows && in_column < kGlyphColumns) {
        const auto place = static_cast<std::uint64_t>(row / kRowAdvance) << 32 |
                           static_cast<std::uint64_t>(column / io::kGlyphAdvance);
        const double letter = random.uniform(place) / (1 - kBlank);
        if (letter < 1) {
          const auto which =
              static_cast<std::size_t>(letter * static_cast<double>(kLetters.size()));
          mark = glyphs()[which][static_cast<std::size_t>(in_row * kGlyphColumns + in_column)];
        }
      }
      canvas.values[r * canvas.columns + c] =
          static_cast<float>(mark ? levels.mark : levels.ground);
    }
  }
}

}  // namespace ptynet
