#include <bit>

#include "kernels/cuda/drawing.h"
#include "kernels/cuda/launching.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kTileRows = 32;
constexpr int kTileColumns = 32;                                  // a warp's row
constexpr int kTilePixels = kTileRows * kTileColumns / kThreads;  // of a thread, in one column
constexpr int kRowStep = kThreads / kTileColumns;                 // between them

struct Drawing {
  ObjectSource source;
  Leaves leaves;  // of kDeadLeaves and kCells
  int shelves;    // that they fill
  CanvasSize canvas;
  Stretch amplitude, phase;
  const double* first;
  float* to_amplitude;
  float* to_phase;
};

// Amplitudes alone, and phases that follow them, or one of both.
struct Part {
  int image;
  bool is_phase;

  PTYNET_DEVICE explicit Part(const Drawing& drawing)
      : image(drawing.source.ranges.shared ? block().x : block().x / 2),
        is_phase(!drawing.source.ranges.shared && block().x % 2 != 0) {}

  PTYNET_DEVICE CounterRandom stream(const Drawing& drawing) const {
    const auto number = static_cast<std::uint64_t>(load_readonly(drawing.first)) +
                        static_cast<std::uint64_t>(image);
    return object_stream(drawing.source.seed, number,
                         is_phase ? ObjectPart::kPhase : ObjectPart::kAmplitude);
  }

  PTYNET_DEVICE void put(const Drawing& drawing, std::int64_t pixel, float value) const {
    const std::int64_t at = image * drawing.canvas.rows * drawing.canvas.columns + pixel;
    const bool shared_range = drawing.source.ranges.shared;
    if (!is_phase) store(drawing.to_amplitude + at, drawing.amplitude(value));
    if (is_phase || shared_range) store(drawing.to_phase + at, drawing.phase(value));
  }
};

// The leaves that a block looks at together, in the order from front to back.
struct LeafShelf {
  static constexpr int kNumbers = 6;
  double* numbers;
  float* values;
  int* boxes;

  PTYNET_DEVICE LeafShelf()
      : numbers(shared<double, kNumbers * kThreads>()),
        values(shared<float, kThreads>()),
        boxes(shared<int, kThreads>()) {}

  PTYNET_DEVICE void put(int at, const LeafTest& leaf) const {
    const double all[kNumbers] = {leaf.row,   leaf.column,   leaf.a_column,
                                  leaf.a_row, leaf.b_column, leaf.b_row};
    PTYNET_UNROLL
    for (int i = 0; i < kNumbers; ++i) store(numbers + i * kThreads + at, all[i]);
    store(values + at, leaf.value);
    store(boxes + at, leaf.box ? 1 : 0);
  }
  PTYNET_DEVICE LeafTest take(int at) const {
    double all[kNumbers];
    PTYNET_UNROLL
    for (int i = 0; i < kNumbers; ++i) all[i] = load(numbers + i * kThreads + at);
    return {all[0],           all[1], all[2], all[3], all[4], all[5], load(boxes + at) != 0,
            load(values + at)};
  }
};

// A block: a tile of one part of one image.
PTYNET_KERNEL(kThreads, 3)
draw_leaves_kernel(Drawing drawing) {
  const Part part(drawing);
  const CounterRandom random = part.stream(drawing);
  const LeafShelf shelf;
  int* counts = shared<int, kWarps, 0>();
  int* uncovered = shared<int, kWarps, 1>();
  const int first_row = block().z * kTileRows;
  const int first_column = block().y * kTileColumns;
  const double middle_row = static_cast<double>(first_row) + 0.5 * (kTileRows - 1);
  const double middle_column = static_cast<double>(first_column) + 0.5 * (kTileColumns - 1);
  const int column = first_column + thread() % kTileColumns;
  const int row = first_row + thread() / kTileColumns;

  bool open[kTilePixels];  // not covered yet, and on the canvas
  PTYNET_UNROLL
  for (int p = 0; p < kTilePixels; ++p) {
    open[p] = column < drawing.canvas.columns && row + p * kRowStep < drawing.canvas.rows;
  }
  for (int shelf_number = drawing.shelves - 1; shelf_number >= 0; --shelf_number) {
    const std::uint64_t k = static_cast<std::uint64_t>(shelf_number) * kThreads + (kThreads - 1) -
                            static_cast<std::uint64_t>(thread());
    Leaf leaf;
    bool seen = k < drawing.leaves.count && drawing.leaves.draw(random, k, leaf);
    if (seen) {
      const double reach = leaf.reach();
      seen = std::abs(leaf.row - middle_row) <= reach + 0.5 * (kTileRows - 1) &&
             std::abs(leaf.column - middle_column) <= reach + 0.5 * (kTileColumns - 1);
    }
    const std::uint32_t votes = ballot(seen);
    if (lane() == 0) store(counts + warp(), static_cast<int>(std::popcount(votes)));
    barrier();
    int before = std::popcount(votes & ((1U << lane()) - 1U));
    int found = 0;
    PTYNET_UNROLL
    for (int i = 0; i < kWarps; ++i) {
      const int of_warp = load(counts + i);
      if (i < warp()) before += of_warp;
      found += of_warp;
    }
    if (seen) shelf.put(before, LeafTest::of(leaf));
    barrier();
    bool any = false;
    PTYNET_UNROLL
    for (const bool pixel : open) any = any || pixel;
    for (int i = 0; i < found && any; ++i) {
      const LeafTest other = shelf.take(i);
      any = false;
      PTYNET_UNROLL
      for (int p = 0; p < kTilePixels; ++p) {
        if (open[p] && other.covers(row + p * kRowStep, column)) {
          open[p] = false;
          part.put(drawing, (row + p * kRowStep) * drawing.canvas.columns + column, other.value);
        }
        any = any || open[p];
      }
    }
    const std::uint32_t left = ballot(any);
    if (lane() == 0) store(uncovered + warp(), left != 0 ? 1 : 0);
    barrier();
    int open_warps = 0;
    PTYNET_UNROLL
    for (int i = 0; i < kWarps; ++i) open_warps += load(uncovered + i);
    if (open_warps == 0) return;
  }
  PTYNET_UNROLL
  for (int p = 0; p < kTilePixels; ++p) {
    if (!open[p]) continue;
    part.put(drawing, (row + p * kRowStep) * drawing.canvas.columns + column,
             drawing.leaves.ground(random));
  }
}

PTYNET_DEVICE PicturePlace load_place(const PicturePlace* from) {
  return {load_readonly(&from->first), load_readonly(&from->rows), load_readonly(&from->columns)};
}

// A thread: one pixel.
PTYNET_KERNEL(kThreads)
draw_pixels_kernel(Drawing drawing) {
  const Part part(drawing);
  const CounterRandom random = part.stream(drawing);
  const ObjectSource& source = drawing.source;
  const CanvasSize& canvas = drawing.canvas;
  const std::int64_t pixel = std::int64_t{block().y} * kThreads + thread();
  if (pixel >= canvas.rows * canvas.columns) return;
  const std::int64_t r = pixel / canvas.columns;
  const std::int64_t c = pixel % canvas.columns;
  if (source.kind == ObjectKind::kSiemens) {
    part.put(drawing, pixel, Star::drawn(random, canvas).at(r, c));
  } else if (source.kind == ObjectKind::kText) {
    const Page page = Page::drawn(random, source.ranges);
    const std::int64_t glyph = page.glyph_at(r, c);
    const bool dark = glyph >= 0 && load_readonly(source.glyphs + glyph) != 0;
    part.put(drawing, pixel, dark ? page.levels.mark : page.levels.ground);
  } else {
    const auto picture = PictureWindow::picture(random, source.picture_count);
    const auto window = PictureWindow::drawn(random, load_place(source.places + picture), canvas);
    part.put(drawing, pixel, load_readonly(source.pictures + window.at(r, c)));
  }
}

}  // namespace

void draw_objects(const ObjectSource& source, const double* first, const DrawnObjects& to,
                  Stream stream) {
  const CanvasSize canvas{to.h, to.w};
  const ObjectRanges& ranges = source.ranges;
  Drawing drawing{
      source, {},           0,       canvas, Stretch::amplitude(ranges), Stretch::phase(ranges),
      first,  to.amplitude, to.phase};
  const int parts = ranges.shared ? to.n : 2 * to.n;
  if (source.kind == ObjectKind::kDeadLeaves || source.kind == ObjectKind::kCells) {
    drawing.leaves = Leaves::of(source.kind, ranges, canvas);
    drawing.shelves =
        blocks_for("draw_leaves", static_cast<std::int64_t>(drawing.leaves.count), kThreads);
    const Index3 tiles{parts, (to.w + kTileColumns - 1) / kTileColumns,
                       (to.h + kTileRows - 1) / kTileRows};
    launch("draw_leaves", draw_leaves_kernel, {tiles, kThreads}, stream, drawing);
    return;
  }
  const int blocks = blocks_for("draw_pixels", canvas.rows * canvas.columns, kThreads);
  launch("draw_pixels", draw_pixels_kernel, {grid_of("draw_pixels", parts, blocks), kThreads},
         stream, drawing);
}

}  // namespace ptynet::cuda
