#include "kernels/cuda/device.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/stitch.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;

// Where a patch lies along one axis: its first canvas pixel, and the share of the next one.
struct Axis {
  std::int64_t first;
  double fraction;

  PTYNET_DEVICE explicit Axis(double corner)
      : first(static_cast<std::int64_t>(std::floor(corner))),
        fraction(corner - std::floor(corner)) {}
  // Canvas pixels that it touches, of so many of its own.
  PTYNET_DEVICE int touched(int pixels) const { return fraction > 0 ? pixels + 1 : pixels; }
  PTYNET_DEVICE double share(int side) const { return side == 0 ? 1 - fraction : fraction; }
};

// Sums of one canvas pixel in units: coverage, and one part of the object.
struct Units {
  std::int64_t part = 0;
  std::int64_t coverage = 0;
};

struct Patch {
  const StitchShape& shape;
  const StitchPatches& patches;
  std::int64_t frame;
  Axis down, across;

  PTYNET_DEVICE Patch(const StitchShape& s, const StitchPatches& p, int index)
      : shape(s),
        patches(p),
        frame(index),
        down(load_readonly(p.corners + 2 * frame)),
        across(load_readonly(p.corners + 2 * frame + 1)) {}

  PTYNET_DEVICE bool inside(int row, int column) const {
    return row >= shape.border && row < shape.h - shape.border && column >= shape.border &&
           column < shape.w - shape.border;
  }

  // What canvas pixel first + (row, column) gets: of patch pixels (row, column), (row, column - 1)
  // .. each rounded for itself, so that no other order of adding gives other bytes.
  PTYNET_DEVICE Units at(int row, int column, int part) const {
    Units sum;
    PTYNET_UNROLL
    for (int side = 0; side < 4; ++side) {
      const int r = row - side / 2;
      const int c = column - side % 2;
      const double share = down.share(side / 2) * across.share(side % 2);
      if (share == 0 || !inside(r, c)) continue;
      const int pixel = r * shape.w + c;
      const double weight = share * double{load_readonly(patches.weight + pixel)};
      const std::int64_t place = frame * shape.h * shape.w + pixel;
      const double value = double{load_readonly(patches.object + 2 * place + part)};
      sum.part += stitch_units(weight * value);
      sum.coverage += stitch_units(weight);
    }
    return sum;
  }
};

// Two threads per canvas pixel that a patch may touch, one for each part of the complex number, so
// that a warp's additions lie side by side. The first adds the coverage too, the second counts.
PTYNET_KERNEL(kThreads)
stitch_kernel(StitchShape shape, StitchPatches patches, CanvasSums canvas) {
  const Patch patch(shape, patches, block().x);
  const int rows = patch.down.touched(shape.h - 2 * shape.border);
  const int columns = patch.across.touched(shape.w - 2 * shape.border);
  const int item = block().y * kThreads + thread();
  const int part = item % 2;
  const int row = item / 2 / columns;
  if (row >= rows) return;
  const int column = item / 2 - row * columns;
  const int r = shape.border + row;
  const int c = shape.border + column;
  const Units sum = patch.at(r, c, part);
  const std::int64_t pixel = (patch.down.first + r) * canvas.columns + patch.across.first + c;
  atomic_add(canvas.object + 2 * pixel + part, sum.part);
  if (part == 0) {
    atomic_add(canvas.coverage + pixel, sum.coverage);
  } else {
    atomic_add(canvas.count + pixel, std::uint32_t{1});
  }
}

}  // namespace

void stitch(const StitchShape& s, const StitchPatches& patches, const CanvasSums& canvas,
            Stream stream) {
  const int rows = s.h - 2 * s.border;
  const int columns = s.w - 2 * s.border;
  if (rows < 1 || columns < 1) {
    fail_runtime("stitch takes patches larger than twice their border, found ", s.h, " x ", s.w,
                 " with ", s.border, " px: use a smaller border");
  }
  const std::int64_t touched = std::int64_t{rows + 1} * (columns + 1);
  const LaunchShape blocks{grid_of("stitch", s.n, blocks_for("stitch", 2 * touched, kThreads)),
                           kThreads};
  launch("stitch", stitch_kernel, blocks, stream, s, patches, canvas);
}

}  // namespace ptynet::cuda
