#include "kernels/cuda/launching.h"
#include "kernels/cuda/resize.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;

// Which channels of which place a thread works on: lanes go over channels first, then columns.
struct Place {
  int n, row, column, channel;
};

// N channels at a time of `rows` x `columns` places per image.
template <int N>
PTYNET_DEVICE Place place_of(int item, int rows, int columns, int channels) {
  const auto vectors = static_cast<std::uint32_t>(channels / N);
  const auto i = static_cast<std::uint32_t>(item);
  const std::uint32_t pixel = i / vectors;
  const std::uint32_t line = pixel / static_cast<std::uint32_t>(columns);
  const std::uint32_t image = line / static_cast<std::uint32_t>(rows);
  return {static_cast<int>(image),
          static_cast<int>(line - image * static_cast<std::uint32_t>(rows)),
          static_cast<int>(pixel - line * static_cast<std::uint32_t>(columns)),
          static_cast<int>(i - pixel * vectors) * N};
}

template <typename Element>
struct Resize {
  ResizeShape s;
  int rows, columns;  // that threads are dealt out over, per image
  int items;          // one per thread
  const Element* x;   // null where it is not read
  const Element* dy;  // null but for gradients
  Element* out;       // y or dx

  // An element of x or dx.
  PTYNET_DEVICE std::int64_t place(const Place& at, int row, int column) const {
    return element(at, s.h, s.w, row, column);
  }
  // An element of an array of such extents per image.
  PTYNET_DEVICE std::int64_t element(const Place& at, int h, int w, int row, int column) const {
    return ((std::int64_t{at.n} * h + row) * w + column) * s.c + at.channel;
  }
};

// A thread: N channels of a pixel of y.
template <typename Element, int N>
PTYNET_KERNEL(kThreads)
max_pool_kernel(Resize<Element> work) {
  const int item = block().x * kThreads + thread();
  if (item >= work.items) return;
  const Place at = place_of<N>(item, work.rows, work.columns, work.s.c);
  const int factor = work.s.factor;
  Vector<float, N> largest;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) largest[i] = -std::numeric_limits<float>::infinity();
  PTYNET_NO_UNROLL
  for (int u = 0; u < factor; ++u) {
    PTYNET_NO_UNROLL
    for (int v = 0; v < factor; ++v) {
      const Vector<float, N> in =
          load_floats<N>(work.x + work.place(at, at.row * factor + u, at.column * factor + v));
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) largest[i] = std::fmax(largest[i], in[i]);
    }
  }
  store_floats(work.out + work.element(at, work.rows, work.columns, at.row, at.column), largest);
}

template <int N>
PTYNET_DEVICE Vector<float, N> between(const Vector<float, N>& a, const Vector<float, N>& b,
                                       float share) {
  Vector<float, N> out;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) out[i] = a[i] + share * (b[i] - a[i]);
  return out;
}

// The outputs along one axis whose centres lie between those of inputs cell - 1 and cell, `factor`
// of them (fewer at the edges), all made of these two.
struct Cell {
  int before, after;  // inputs, clamped
  int first;          // output; may lie outside
  int factor;

  PTYNET_DEVICE Cell(int cell, int extent, int by)
      : before(cell > 0 ? cell - 1 : 0),
        after(cell < extent ? cell : extent - 1),
        first((cell - 1) * by + by / 2),
        factor(by) {}
  // Of the input after, in output first + i.
  PTYNET_DEVICE float share(int i) const {
    const float half = factor % 2 == 0 ? 0.5F : 0.0F;
    return (static_cast<float>(i) + half) / static_cast<float>(factor);
  }
};

// Where each of N channels has its first largest value within the window, in row order.
template <int N, typename Element>
PTYNET_DEVICE Vector<int, N> first_largest(const Resize<Element>& work, const Place& at) {
  const int factor = work.s.factor;
  Vector<int, N> found{};
  Vector<float, N> largest{};
  PTYNET_NO_UNROLL
  for (int u = 0; u < factor; ++u) {
    PTYNET_NO_UNROLL
    for (int v = 0; v < factor; ++v) {
      const Vector<float, N> in =
          load_floats<N>(work.x + work.place(at, at.row * factor + u, at.column * factor + v));
      const int tap = u * factor + v;
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) {
        const bool larger = tap == 0 || in[i] > largest[i];
        largest[i] = larger ? in[i] : largest[i];
        found[i] = larger ? tap : found[i];
      }
    }
  }
  return found;
}

// A thread: N channels of a window of dx, or of what the edges leave of one.
template <typename Element, int N>
PTYNET_KERNEL(kThreads)
max_pool_gradient_kernel(Resize<Element> work) {
  const int item = block().x * kThreads + thread();
  if (item >= work.items) return;
  const Place at = place_of<N>(item, work.rows, work.columns, work.s.c);
  const ResizeShape& s = work.s;
  const int windows_down = s.h / s.factor;
  const int windows_across = s.w / s.factor;
  Vector<float, N> slope{};
  Vector<int, N> chosen{};
  if (at.row < windows_down && at.column < windows_across) {
    slope =
        load_floats<N>(work.dy + work.element(at, windows_down, windows_across, at.row, at.column));
    chosen = first_largest<N>(work, at);
  }
  PTYNET_NO_UNROLL
  for (int u = 0; u < s.factor; ++u) {
    const int row = at.row * s.factor + u;
    if (row >= s.h) return;
    PTYNET_NO_UNROLL
    for (int v = 0; v < s.factor; ++v) {
      const int column = at.column * s.factor + v;
      if (column >= s.w) break;
      Vector<float, N> out;
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) out[i] = chosen[i] == u * s.factor + v ? slope[i] : 0.0F;
      store_floats(work.out + work.place(at, row, column), out);
    }
  }
}

// A thread: N channels of all pixels of y between four of x, which it reads once.
template <typename Element, int N>
PTYNET_KERNEL(kThreads)
upsample_kernel(Resize<Element> work) {
  const int item = block().x * kThreads + thread();
  if (item >= work.items) return;
  const Place at = place_of<N>(item, work.rows, work.columns, work.s.c);
  const ResizeShape& s = work.s;
  const Cell down(at.row, s.h, s.factor);
  const Cell across(at.column, s.w, s.factor);
  const auto upper_left = load_floats<N>(work.x + work.place(at, down.before, across.before));
  const auto upper_right = load_floats<N>(work.x + work.place(at, down.before, across.after));
  const auto lower_left = load_floats<N>(work.x + work.place(at, down.after, across.before));
  const auto lower_right = load_floats<N>(work.x + work.place(at, down.after, across.after));
  PTYNET_NO_UNROLL
  for (int u = 0; u < s.factor; ++u) {
    const auto left = between(upper_left, lower_left, down.share(u));
    const auto right = between(upper_right, lower_right, down.share(u));
    const int row = down.first + u;
    if (row < 0 || row >= s.h * s.factor) continue;
    PTYNET_NO_UNROLL
    for (int v = 0; v < s.factor; ++v) {
      const int column = across.first + v;
      if (column < 0 || column >= s.w * s.factor) continue;
      store_floats(work.out + work.element(at, s.h * s.factor, s.w * s.factor, row, column),
                   between(left, right, across.share(v)));
    }
  }
}

// A thread: N channels of a pixel of dx. Shares are counted in whole units until the end.
template <typename Element, int N>
PTYNET_KERNEL(kThreads)
upsample_gradient_kernel(Resize<Element> work) {
  const int item = block().x * kThreads + thread();
  if (item >= work.items) return;
  const Place at = place_of<N>(item, work.rows, work.columns, work.s.c);
  const ResizeShape& s = work.s;
  const int taps = 2 * s.factor;
  Vector<float, N> sum{};
  PTYNET_NO_UNROLL
  for (int u = 0; u < taps; ++u) {
    const int row = at.row * s.factor - s.factor / 2 + u;
    if (row < 0 || row >= s.h * s.factor) continue;
    Vector<float, N> line{};
    PTYNET_NO_UNROLL
    for (int v = 0; v < taps; ++v) {
      const int column = at.column * s.factor - s.factor / 2 + v;
      if (column < 0 || column >= s.w * s.factor) continue;
      const auto share = static_cast<float>(upsampling_share(column, at.column, s.w, s.factor));
      const Vector<float, N> dy =
          load_floats<N>(work.dy + work.element(at, s.h * s.factor, s.w * s.factor, row, column));
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) line[i] += share * dy[i];
    }
    const auto share = static_cast<float>(upsampling_share(row, at.row, s.h, s.factor));
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) sum[i] += share * line[i];
  }
  const float unit = 1.0F / static_cast<float>(taps * taps);
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) sum[i] *= unit;
  store_floats(work.out + work.place(at, at.row, at.column), sum);
}

// The kernel for whole vectors of channels, and the one for single channels.
template <typename Element>
struct Kernels {
  using Kernel = void (*)(Resize<Element>);
  Kernel wide;
  Kernel narrow;
};

template <typename Element>
void launch_resize(const char* name, Resize<Element> work, const Kernels<Element>& kernels,
                   Stream stream) {
  constexpr int kVector = kPerAccess<Element>;
  const bool wide = work.s.c % kVector == 0 && are_aligned(16, work.x, work.dy, work.out);
  const std::int64_t vectors = wide ? work.s.c / kVector : work.s.c;
  const std::int64_t items = std::int64_t{work.s.n} * work.rows * work.columns * vectors;
  const int blocks = blocks_for(name, items, kThreads);
  work.items = static_cast<int>(items);
  launch(name, wide ? kernels.wide : kernels.narrow, LaunchShape{{blocks}, kThreads}, stream, work);
}

}  // namespace

void max_pool2d(const ResizeShape& s, Precision precision, const void* x, void* y, Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    launch_resize<Element>(
        "max_pool2d",
        {s, s.h / s.factor, s.w / s.factor, 0, static_cast<const Element*>(x), nullptr,
         static_cast<Element*>(y)},
        {max_pool_kernel<Element, kPerAccess<Element>>, max_pool_kernel<Element, 1>}, stream);
  });
}

void max_pool2d_gradient(const ResizeShape& s, Precision precision, const PoolGradient& arrays,
                         Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    const auto windows = [&](int extent) { return (extent + s.factor - 1) / s.factor; };
    launch_resize<Element>(
        "max_pool2d_gradient",
        {s, windows(s.h), windows(s.w), 0, static_cast<const Element*>(arrays.x),
         static_cast<const Element*>(arrays.dy), static_cast<Element*>(arrays.dx)},
        {max_pool_gradient_kernel<Element, kPerAccess<Element>>,
         max_pool_gradient_kernel<Element, 1>},
        stream);
  });
}

void upsample_bilinear2d(const ResizeShape& s, Precision precision, const void* x, void* y,
                         Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    launch_resize<Element>(
        "upsample_bilinear2d",
        {s, s.h + 1, s.w + 1, 0, static_cast<const Element*>(x), nullptr, static_cast<Element*>(y)},
        {upsample_kernel<Element, kPerAccess<Element>>, upsample_kernel<Element, 1>}, stream);
  });
}

void upsample_bilinear2d_gradient(const ResizeShape& s, Precision precision, const void* dy,
                                  void* dx, Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    launch_resize<Element>(
        "upsample_bilinear2d_gradient",
        {s, s.h, s.w, 0, nullptr, static_cast<const Element*>(dy), static_cast<Element*>(dx)},
        {upsample_gradient_kernel<Element, kPerAccess<Element>>,
         upsample_gradient_kernel<Element, 1>},
        stream);
  });
}

}  // namespace ptynet::cuda
