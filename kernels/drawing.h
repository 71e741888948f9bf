// Objects that patterns are simulated with: what is drawn where, as a function of an object's
// number alone, for every backend.
//
// All numbers come from CounterRandom, so that objects can be drawn in any order, from any thread,
// and pixel by pixel.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "kernels/array.h"
#include "kernels/math.h"
#include "kernels/random.h"

namespace ptynet {

// Dead leaves: discs, ellipses and rectangles that hide each other, of radii r with a density
// proportional to 1 / r^3, which has the scale-free statistics of natural images (Lee, Mumford,
// Huang, Int. J. Comput. Vis. 41, 2001). Siemens: a test star. Cells: with membrane, nucleus and
// organelles on a bright ground. Text: etched characters, turned a little. Pictures: windows of
// grey pictures, cut at random, flipped and turned at random.
enum class ObjectKind : std::uint8_t { kDeadLeaves, kSiemens, kCells, kText, kPictures };

struct ObjectRanges {
  double amplitude_low = 0.3;
  double amplitude_high = 1.0;
  double phase_low_rad = -0.6;
  double phase_high_rad = 0.6;
  // The phase follows the amplitude: the ends of the one range are the ends of the other.
  bool shared = false;
  // Radii of leaves and cells; a character is as high as the smaller one to thrice as high.
  double feature_low_px = 8;
  double feature_high_px = 90;
};

// The characters of kText: 1 where one is dark, u8 [kLetters, kGlyphRows, kGlyphColumns].
inline constexpr int kLetters = 36;  // 0 to 9, a to z
inline constexpr int kGlyphRows = 9;
inline constexpr int kGlyphColumns = 5;

// One of kPictures.
struct PicturePlace {
  std::int64_t first;  // of its values, which are f32 in [0, 1], row by row
  std::int64_t rows;
  std::int64_t columns;
};

// A series of objects. Pointers where who draws can read them.
struct ObjectSource {
  ObjectKind kind = ObjectKind::kDeadLeaves;
  ObjectRanges ranges;
  std::uint64_t seed = 0;
  const std::uint8_t* glyphs = nullptr;  // kText
  const float* pictures = nullptr;       // kPictures
  const PicturePlace* places = nullptr;  // [picture_count]; none is smaller than the canvas
  std::int64_t picture_count = 0;
};

// The same as an operand of a Backend, on its device.
struct ObjectSeries {
  ObjectKind kind = ObjectKind::kDeadLeaves;
  ObjectRanges ranges;
  std::uint64_t seed = 0;
  Array glyphs;    // kText: u8 [kLetters, kGlyphRows, kGlyphColumns]
  Array pictures;  // kPictures: their values, f32, one picture after the other
  Array places;    // kPictures: of each a PicturePlace, as bytes, u8 [pictures, sizeof]

  ObjectSource source() const;
};

struct CanvasSize {
  std::int64_t rows;
  std::int64_t columns;
};

enum class ObjectPart : std::uint8_t { kAmplitude, kPhase };

// What a part of object `number` is drawn from.
PTYNET_HOST_DEVICE inline CounterRandom object_stream(std::uint64_t seed, std::uint64_t number,
                                                      ObjectPart part) {
  constexpr RandomName kObjects("objects");
  constexpr RandomName kAmplitude("amplitude");
  constexpr RandomName kPhase("phase");
  const std::uint64_t own = CounterRandom(seed, kObjects).bits(number);
  return part == ObjectPart::kPhase ? CounterRandom(own, kPhase) : CounterRandom(own, kAmplitude);
}

// From a drawn value in [0, 1] to one of a range.
struct Stretch {
  float low;
  float width;
  static Stretch amplitude(const ObjectRanges& r) { return of(r.amplitude_low, r.amplitude_high); }
  static Stretch phase(const ObjectRanges& r) { return of(r.phase_low_rad, r.phase_high_rad); }
  static Stretch of(double low, double high) {
    return {static_cast<float>(low), static_cast<float>(high - low)};
  }
  PTYNET_HOST_DEVICE float operator()(float drawn) const { return low + width * drawn; }
};

// Numbers of one thing among many: thing k of a stream has the counters from 16 k on.
class Draw {
 public:
  PTYNET_HOST_DEVICE Draw(const CounterRandom& random, std::uint64_t thing)
      : random_(random), next_(thing * 16) {}
  PTYNET_HOST_DEVICE double uniform() { return random_.uniform(next_++); }
  PTYNET_HOST_DEVICE double between(double low, double high) {
    return low + (high - low) * uniform();
  }

 private:
  CounterRandom random_;
  std::uint64_t next_;
};

struct Direction {
  double cosine = 1;
  double sine = 0;
};

// At so many half turns, 0 to 2. On a GPU without the reduction of large angles, which is a call.
PTYNET_HOST_DEVICE inline Direction direction(double half_turns) {
#ifdef __CUDA_ARCH__
  return {cospi(half_turns), sinpi(half_turns)};
#else
  const double angle = std::numbers::pi * half_turns;
  return {std::cos(angle), std::sin(angle)};
#endif
}

// An ellipse of half axes a, b, or a rectangle of half sides a, b, turned by an angle; px.
struct Leaf {
  double row = 0;
  double column = 0;
  double a = 1;
  double b = 1;
  Direction axis;  // of a, against the columns
  bool box = false;
  float value = 0;

  // No pixel further from its middle is covered.
  PTYNET_HOST_DEVICE double reach() const {
    return box ? std::sqrt(a * a + b * b) : (a > b ? a : b);
  }
  PTYNET_HOST_DEVICE void place(double margin, const CanvasSize& canvas, Draw& draw) {
    row = draw.between(-margin, static_cast<double>(canvas.rows) + margin);
    column = draw.between(-margin, static_cast<double>(canvas.columns) + margin);
  }
  PTYNET_HOST_DEVICE bool is_near(double distance, const CanvasSize& canvas) const {
    return row > -distance && row < static_cast<double>(canvas.rows) + distance &&
           column > -distance && column < static_cast<double>(canvas.columns) + distance;
  }
};

// The same in the form in which to ask pixel by pixel.
struct LeafTest {
  double row = 0;
  double column = 0;
  // Along the axes a and b, in units of them: of a step of a column and of a row.
  double a_column = 1, a_row = 0;
  double b_column = 0, b_row = 1;
  bool box = false;
  float value = 0;

  PTYNET_HOST_DEVICE static LeafTest of(const Leaf& leaf) {
    const auto& [cosine, sine] = leaf.axis;
    return {leaf.row,       leaf.column,     cosine / leaf.a, sine / leaf.a,
            -sine / leaf.b, cosine / leaf.b, leaf.box,        leaf.value};
  }
  PTYNET_HOST_DEVICE bool covers(std::int64_t r, std::int64_t c) const {
    const double dy = static_cast<double>(r) - row;
    const double dx = static_cast<double>(c) - column;
    const double a = a_column * dx + a_row * dy;
    const double b = b_column * dx + b_row * dy;
    return box ? std::abs(a) <= 1 && std::abs(b) <= 1 : a * a + b * b <= 1;
  }
};

// All leaves of a drawing: of kDeadLeaves, or of kCells, where eight leaves are a cell. Later ones
// hide earlier ones.
struct Leaves {
  ObjectKind kind = ObjectKind::kDeadLeaves;
  CanvasSize canvas{};
  double low = 0;  // radii, px
  double high = 0;
  double steep = 0;  // of the density of radii
  double flat = 0;
  double margin = 0;  // no leaf reaches further from its middle
  std::uint64_t count = 0;

  static constexpr std::uint64_t kParts = 8;  // of a cell: three of its own and five organelles

  // So many dead leaves that a pixel lies under six on average; of cells 1.2.
  static Leaves of(ObjectKind kind, const ObjectRanges& ranges, const CanvasSize& canvas) {
    Leaves out;
    out.kind = kind;
    out.canvas = canvas;
    out.low = ranges.feature_low_px;
    const bool cells = kind == ObjectKind::kCells;
    out.high = cells ? ranges.feature_high_px : std::fmax(ranges.feature_high_px, out.low * 1.001);
    out.steep = 1 / (out.low * out.low);
    out.flat = 1 / (out.high * out.high);
    out.margin = std::numbers::sqrt2 * out.high;
    const double area = (static_cast<double>(canvas.rows) + 2 * out.margin) *
                        (static_cast<double>(canvas.columns) + 2 * out.margin);
    // Means of pi r^2: of radii that are spread evenly, and of a density proportional to 1 / r^3.
    const double even =
        std::numbers::pi * (out.low * out.low + out.low * out.high + out.high * out.high) / 3;
    const double steep =
        2 * std::numbers::pi * std::log(out.high / out.low) / (out.steep - out.flat);
    out.count = static_cast<std::uint64_t>(std::ceil(cells ? 1.2 * area / even : 6 * area / steep));
    if (cells) out.count *= kParts;
    return out;
  }

  // What shows where no leaf is.
  PTYNET_HOST_DEVICE float ground(const CounterRandom& random) const {
    const double drawn = random.uniform(0);
    return static_cast<float>(kind == ObjectKind::kCells ? 0.85 + 0.15 * drawn : drawn);
  }

  // Leaf k; false where it lies off the canvas, and then it may not be a whole one.
  PTYNET_HOST_DEVICE bool draw(const CounterRandom& random, std::uint64_t k, Leaf& leaf) const {
    return kind == ObjectKind::kCells ? part_of_cell(random, k, leaf)
                                      : dead_leaf(random, k + 1, leaf);
  }

 private:
  PTYNET_HOST_DEVICE bool dead_leaf(const CounterRandom& random, std::uint64_t k,
                                    Leaf& leaf) const {
    Draw draw(random, k);
    leaf.place(margin, canvas, draw);
    const double radius = 1 / std::sqrt(steep - draw.uniform() * (steep - flat));
    if (!leaf.is_near(std::numbers::sqrt2 * radius, canvas)) return false;
    leaf.axis = direction(draw.uniform());
    const double which = draw.uniform();
    leaf.box = which >= 0.75;
    // Of the disc's area: half are discs, a quarter ellipses, a quarter rectangles.
    const double stretch = which < 0.5 ? 1 : std::sqrt(draw.between(1, 2));
    const double side = leaf.box ? radius * std::sqrt(std::numbers::pi) / 2 : radius;
    leaf.a = side * stretch;
    leaf.b = side / stretch;
    leaf.value = static_cast<float>(draw.uniform());
    return true;
  }

  PTYNET_HOST_DEVICE bool part_of_cell(const CounterRandom& random, std::uint64_t k,
                                       Leaf& leaf) const {
    constexpr std::uint64_t kThings = 6;  // of a cell: itself and its organelles
    const std::uint64_t cell = k / kParts;
    const std::uint64_t part = k % kParts;
    Draw draw(random, 1 + cell * kThings);
    leaf.place(margin, canvas, draw);
    const double radius = draw.between(low, high);
    if (!leaf.is_near(std::numbers::sqrt2 * radius, canvas)) return false;
    leaf.axis = direction(draw.uniform());
    const double stretch = std::sqrt(draw.between(1, 2));
    const double membrane = draw.between(0, 0.3);
    const double body = draw.between(0.4, 0.75);
    const double nucleus = draw.between(0, 0.3);
    const double nucleus_share = draw.between(0.25, 0.45);
    leaf.box = false;
    if (part < 3) {
      const double share = part == 0 ? 1 : (part == 1 ? 0.88 : nucleus_share);
      leaf.a = radius * stretch * share;
      leaf.b = radius / stretch * share;
      leaf.value = static_cast<float>(part == 0 ? membrane : (part == 1 ? body : nucleus));
      return true;
    }
    Draw detail(random, 1 + cell * kThings + part - 2);
    const auto [across, down] = direction(2 * detail.uniform());
    const double distance = detail.between(0.5, 0.75) * radius / stretch;
    leaf.row += distance * down;
    leaf.column += distance * across;
    leaf.axis = {};
    leaf.a = leaf.b = radius * detail.between(0.05, 0.12);
    leaf.value = static_cast<float>(detail.between(0.1, 0.9));
    return true;
  }
};

// Two values that differ by 0.3 or more, either above the other.
struct Levels {
  float ground;
  float mark;
  PTYNET_HOST_DEVICE static Levels drawn(Draw& draw) {
    const auto dark = static_cast<float>(draw.between(0, 0.35));
    const auto bright = static_cast<float>(draw.between(0.65, 1));
    return draw.uniform() < 0.5 ? Levels{dark, bright} : Levels{bright, dark};
  }
};

// Of kSiemens.
struct Star {
  Levels levels;
  double row, column;  // of the middle
  double spokes;
  double turn;
  double outer, inner;  // radii, px

  PTYNET_HOST_DEVICE static Star drawn(const CounterRandom& random, const CanvasSize& canvas) {
    Draw draw(random, 0);
    Star out{};
    out.levels = Levels::drawn(draw);
    const auto rows = static_cast<double>(canvas.rows);
    const auto columns = static_cast<double>(canvas.columns);
    out.row = rows * draw.between(0.4, 0.6);
    out.column = columns * draw.between(0.4, 0.6);
    out.spokes = std::floor(draw.between(18, 41));
    out.turn = draw.between(0, 2 * std::numbers::pi);
    out.outer = (rows < columns ? rows : columns) * draw.between(0.4, 0.5);
    // Where a period has four pixels left.
    out.inner = 4 * out.spokes / (2 * std::numbers::pi);
    return out;
  }

  PTYNET_HOST_DEVICE float at(std::int64_t r, std::int64_t c) const {
    const double y = static_cast<double>(r) - row;
    const double x = static_cast<double>(c) - column;
    const double radius = std::hypot(y, x);
    // Two gaps, so that radii can be read off.
    const double share = radius / outer;
    const bool gap = std::abs(share - 0.4) < 0.02 || std::abs(share - 0.7) < 0.02;
    const bool star =
        radius > inner && radius < outer && !gap && std::sin(spokes * std::atan2(y, x) + turn) > 0;
    return star ? levels.mark : levels.ground;
  }
};

// Of kText: an endless page of random letters, looked up pixel by pixel. Which letter stands in a
// place depends on the place alone.
struct Page {
  Levels levels;
  CounterRandom random;
  double cosine, sine;  // over the size of a pixel of the font
  double left, top;

  PTYNET_HOST_DEVICE static Page drawn(const CounterRandom& random, const ObjectRanges& ranges) {
    constexpr double kBaseline = 7;  // pixels of the font, as many as a character is high
    Draw draw(random, 0);
    const Levels levels = Levels::drawn(draw);
    const double low = ranges.feature_low_px;
    const double high = ranges.feature_high_px < 3 * low ? ranges.feature_high_px : 3 * low;
    const double wanted = draw.between(low, high) / kBaseline;
    const double size = wanted > 1 ? wanted : 1;
    const double angle = draw.between(-0.35, 0.35);
    Page out{levels, random, std::cos(angle) / size, std::sin(angle) / size, 0, 0};
    // The page's zero lies far away, so that its pixels have positive numbers.
    out.left = 1e6 + draw.between(0, 1000);
    out.top = 1e6 + draw.between(0, 1000);
    return out;
  }

  // Which value of the glyphs tells whether the pixel is dark; -1 where there is no letter.
  PTYNET_HOST_DEVICE std::int64_t glyph_at(std::int64_t r, std::int64_t c) const {
    constexpr double kBlank = 0.15;           // share of places without a letter
    constexpr std::int64_t kRowAdvance = 12;  // from line to line, in pixels of the font
    constexpr std::int64_t kColumnAdvance = 6;
    const auto y = static_cast<double>(r);
    const auto x = static_cast<double>(c);
    const auto column = static_cast<std::int64_t>(left + cosine * x + sine * y);
    const auto row = static_cast<std::int64_t>(top - sine * x + cosine * y);
    const std::int64_t in_row = row % kRowAdvance;
    const std::int64_t in_column = column % kColumnAdvance;
    if (in_row >= kGlyphRows || in_column >= kGlyphColumns) return -1;
    const auto place = static_cast<std::uint64_t>(row / kRowAdvance) << 32 |
                       static_cast<std::uint64_t>(column / kColumnAdvance);
    const double letter = random.uniform(place) / (1 - kBlank);
    if (!(letter < 1)) return -1;
    const auto which = static_cast<std::int64_t>(letter * kLetters);
    return (which * kGlyphRows + in_row) * kGlyphColumns + in_column;
  }
};

// Of kPictures: the window of a picture, in one of eight orientations.
struct PictureWindow {
  std::int64_t corner;    // the value of its first pixel
  std::int64_t next_row;  // values from a pixel to the one below it, which may be to the left
  std::int64_t next_column;

  // Which of so many pictures it is cut from.
  PTYNET_HOST_DEVICE static std::int64_t picture(const CounterRandom& random, std::int64_t count) {
    return below(random, 0, count);
  }
  PTYNET_HOST_DEVICE static PictureWindow drawn(const CounterRandom& random,
                                                const PicturePlace& picture,
                                                const CanvasSize& canvas) {
    const std::uint64_t pose = random.bits(3);
    const bool turned = (pose & 1U) != 0;  // transposed
    const bool flip_rows = (pose & 2U) != 0;
    const bool flip_columns = (pose & 4U) != 0;
    const std::int64_t top =
        below(random, 1, picture.rows - (turned ? canvas.columns : canvas.rows) + 1);
    const std::int64_t left =
        below(random, 2, picture.columns - (turned ? canvas.rows : canvas.columns) + 1);
    PictureWindow out{picture.first + top * picture.columns + left, turned ? 1 : picture.columns,
                      turned ? picture.columns : 1};
    if (flip_rows) {
      out.corner += (canvas.rows - 1) * out.next_row;
      out.next_row = -out.next_row;
    }
    if (flip_columns) {
      out.corner += (canvas.columns - 1) * out.next_column;
      out.next_column = -out.next_column;
    }
    return out;
  }

  // The value of a pixel.
  PTYNET_HOST_DEVICE std::int64_t at(std::int64_t r, std::int64_t c) const {
    return corner + r * next_row + c * next_column;
  }

 private:
  PTYNET_HOST_DEVICE static std::int64_t below(const CounterRandom& random, std::uint64_t counter,
                                               std::int64_t n) {
    return static_cast<std::int64_t>(random.uniform(counter) * static_cast<double>(n));
  }
};

// The object of that number into amplitude and phase (rad), f32 [rows, columns] each, on the host.
void draw_object(const ObjectSource& source, std::uint64_t number, const CanvasSize& canvas,
                 float* amplitude, float* phase);

}  // namespace ptynet
