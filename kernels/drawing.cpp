#include "kernels/drawing.h"

#include <algorithm>

namespace ptynet {

namespace {

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

// The columns of a leaf, from its middle, on the row that lies dy below its middle: those that it
// covers(), all at once.
Span span_of(const Leaf& leaf, double dy) {
  if (leaf.box) {
    const Span along = slab(leaf.axis.cosine, leaf.axis.sine * dy, leaf.a);
    const Span across = slab(-leaf.axis.sine, leaf.axis.cosine * dy, leaf.b);
    return {std::max(along.low, across.low), std::min(along.high, across.high)};
  }
  const double aa = 1 / (leaf.a * leaf.a);
  const double bb = 1 / (leaf.b * leaf.b);
  const double square =
      leaf.axis.cosine * leaf.axis.cosine * aa + leaf.axis.sine * leaf.axis.sine * bb;
  const double mixed = leaf.axis.cosine * leaf.axis.sine * (aa - bb) * dy;
  const double rest =
      (leaf.axis.sine * leaf.axis.sine * aa + leaf.axis.cosine * leaf.axis.cosine * bb) * dy * dy -
      1;
  const double root = mixed * mixed - square * rest;
  if (root < 0) return {1, -1};
  const double half = std::sqrt(root);
  return {(-mixed - half) / square, (-mixed + half) / square};
}

void paint(const Leaf& leaf, const CanvasSize& canvas, float* values) {
  const double reach = leaf.box
                           ? leaf.a * std::abs(leaf.axis.sine) + leaf.b * std::abs(leaf.axis.cosine)
                           : std::hypot(leaf.a * leaf.axis.sine, leaf.b * leaf.axis.cosine);
  const auto rows = static_cast<double>(canvas.rows);
  const auto columns = static_cast<double>(canvas.columns);
  const auto first = static_cast<std::int64_t>(std::ceil(std::max(0.0, leaf.row - reach)));
  const auto last = static_cast<std::int64_t>(std::floor(std::min(rows - 1, leaf.row + reach)));
  for (std::int64_t r = first; r <= last; ++r) {
    const Span span = span_of(leaf, static_cast<double>(r) - leaf.row);
    const double low = std::ceil(std::max(0.0, leaf.column + span.low));
    const double high = std::floor(std::min(columns - 1, leaf.column + span.high));
    if (!(low <= high)) continue;
    float* row = values + r * canvas.columns;
    std::fill(row + static_cast<std::int64_t>(low), row + static_cast<std::int64_t>(high) + 1,
              leaf.value);
  }
}

void draw_leaves(const Leaves& leaves, const CounterRandom& random, float* values) {
  std::fill_n(values, leaves.canvas.rows * leaves.canvas.columns, leaves.ground(random));
  for (std::uint64_t k = 0; k < leaves.count; ++k) {
    Leaf leaf;
    if (leaves.draw(random, k, leaf)) paint(leaf, leaves.canvas, values);
  }
}

template <typename ValueAt>
void draw_pixels(const CanvasSize& canvas, float* values, const ValueAt& value_at) {
  for (std::int64_t r = 0; r < canvas.rows; ++r) {
    for (std::int64_t c = 0; c < canvas.columns; ++c) *values++ = value_at(r, c);
  }
}

// Values in [0, 1].
void draw_part(const ObjectSource& source, const CounterRandom& random, const CanvasSize& canvas,
               float* values) {
  switch (source.kind) {
    case ObjectKind::kDeadLeaves:
    case ObjectKind::kCells:
      return draw_leaves(Leaves::of(source.kind, source.ranges, canvas), random, values);
    case ObjectKind::kSiemens: {
      const Star star = Star::drawn(random, canvas);
      return draw_pixels(canvas, values, [&](auto r, auto c) { return star.at(r, c); });
    }
    case ObjectKind::kText: {
      const Page page = Page::drawn(random, source.ranges);
      return draw_pixels(canvas, values, [&](auto r, auto c) {
        const std::int64_t glyph = page.glyph_at(r, c);
        return glyph >= 0 && source.glyphs[glyph] != 0 ? page.levels.mark : page.levels.ground;
      });
    }
    case ObjectKind::kPictures: {
      const auto picture = PictureWindow::picture(random, source.picture_count);
      const auto window = PictureWindow::drawn(random, source.places[picture], canvas);
      return draw_pixels(canvas, values,
                         [&](auto r, auto c) { return source.pictures[window.at(r, c)]; });
    }
  }
}

}  // namespace

ObjectSource ObjectSeries::source() const {
  ObjectSource out{kind, ranges, seed, nullptr, nullptr, nullptr, 0};
  if (!glyphs.empty()) out.glyphs = glyphs.data<std::uint8_t>();
  if (!pictures.empty()) {
    out.pictures = pictures.data<float>();
    out.places = static_cast<const PicturePlace*>(places.data());
    out.picture_count = places.shape()[0];
  }
  return out;
}

void draw_object(const ObjectSource& source, std::uint64_t number, const CanvasSize& canvas,
                 float* amplitude, float* phase) {
  const std::int64_t pixels = canvas.rows * canvas.columns;
  draw_part(source, object_stream(source.seed, number, ObjectPart::kAmplitude), canvas, amplitude);
  if (source.ranges.shared) {
    std::copy_n(amplitude, pixels, phase);
  } else {
    draw_part(source, object_stream(source.seed, number, ObjectPart::kPhase), canvas, phase);
  }
  const auto stretch = [pixels](float* values, const Stretch& to) {
    for (std::int64_t i = 0; i < pixels; ++i) values[i] = to(values[i]);
  };
  stretch(amplitude, Stretch::amplitude(source.ranges));
  stretch(phase, Stretch::phase(source.ranges));
}

}  // namespace ptynet
