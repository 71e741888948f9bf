#include "kernels/drawing.h"

#include <algorithm>

#include "kernels/reference/reference_backend.h"

namespace ptynet::reference {

namespace {

// Pixel by pixel, from the front.
void draw_leaves(const Leaves& leaves, const CounterRandom& random, float* values) {
  std::vector<LeafTest> front_to_back;
  for (std::uint64_t k = leaves.count; k-- > 0;) {
    Leaf leaf;
    if (leaves.draw(random, k, leaf)) front_to_back.push_back(LeafTest::of(leaf));
  }
  for (std::int64_t r = 0; r < leaves.canvas.rows; ++r) {
    for (std::int64_t c = 0; c < leaves.canvas.columns; ++c) {
      const auto shown = std::find_if(front_to_back.begin(), front_to_back.end(),
                                      [&](const LeafTest& leaf) { return leaf.covers(r, c); });
      *values++ = shown == front_to_back.end() ? leaves.ground(random) : shown->value;
    }
  }
}

}  // namespace

void ReferenceBackend::draw_objects(const ObjectSeries& series, const Array& first,
                                    Array& amplitude, Array& phase) {
  submit("draw_objects", [=]() mutable {
    const Shape& s = amplitude.shape();
    const CanvasSize canvas{s[1], s[2]};
    const std::int64_t pixels = s[1] * s[2];
    const ObjectSource source = series.source();
    const bool leaves = source.kind == ObjectKind::kDeadLeaves || source.kind == ObjectKind::kCells;
    for (std::int64_t i = 0; i < s[0]; ++i) {
      const auto number =
          static_cast<std::uint64_t>(first.data<double>()[0]) + static_cast<std::uint64_t>(i);
      float* const of[] = {amplitude.data<float>() + i * pixels, phase.data<float>() + i * pixels};
      if (!leaves) {
        draw_object(source, number, canvas, of[0], of[1]);
        continue;
      }
      const Leaves all = Leaves::of(source.kind, source.ranges, canvas);
      const ObjectPart streams[] = {ObjectPart::kAmplitude, source.ranges.shared
                                                                ? ObjectPart::kAmplitude
                                                                : ObjectPart::kPhase};
      const Stretch stretches[] = {Stretch::amplitude(source.ranges),
                                   Stretch::phase(source.ranges)};
      for (const int part : {0, 1}) {
        draw_leaves(all, object_stream(source.seed, number, streams[part]), of[part]);
        for (std::int64_t p = 0; p < pixels; ++p) of[part][p] = stretches[part](of[part][p]);
      }
    }
  });
}

}  // namespace ptynet::reference
