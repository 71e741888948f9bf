#include <limits>

#include "kernels/cuda/stitch.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr std::int64_t kRows = 61;
constexpr std::int64_t kColumns = 70;

struct Variant {
  StitchShape shape;
  bool subpixel;
  bool probe_weights;
  float scale;  // of the object
};

struct Canvas {
  std::vector<std::int64_t> object, coverage;
  std::vector<std::uint32_t> count;
};

// What others added before stays.
Canvas make_canvas() {
  constexpr auto kPixels = static_cast<std::size_t>(kRows * kColumns);
  Canvas out{std::vector<std::int64_t>(2 * kPixels, -12345),
             std::vector<std::int64_t>(kPixels, 777), std::vector<std::uint32_t>(kPixels, 3)};
  return out;
}

CanvasSums sums_of(void* object, void* coverage, void* count) {
  return {static_cast<std::int64_t*>(object), static_cast<std::int64_t*>(coverage),
          static_cast<std::uint32_t*>(count), kRows, kColumns};
}

struct Input {
  std::vector<float> object, weight;
  std::vector<double> corners;
};

Input make_input(const Variant& v) {
  const StitchShape& s = v.shape;
  const std::int64_t pixels = std::int64_t{s.h} * s.w;
  Input out{random_values("object", 2 * s.n * pixels, -v.scale, v.scale),
            random_values("weight", pixels, 0, 1),
            {}};
  if (!v.probe_weights) out.weight.assign(static_cast<std::size_t>(pixels), 1.0F);
  out.object[out.object.size() / 2] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> places = random_values("corners", 2 * std::int64_t{s.n}, 0, 1);
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::int64_t room = i % 2 == 0 ? kRows - s.h - 1 : kColumns - s.w - 1;
    const double place = double{places[i]} * static_cast<double>(room);
    // Every third whole along one axis only.
    out.corners.push_back(v.subpixel && i % 3 != 2 ? place : std::floor(place));
  }
  return out;
}

Canvas reference(const Variant& v, const Input& in) {
  const StitchShape& s = v.shape;
  Array object = Array::host({s.n, s.h, s.w}, DType::kC64);
  std::memcpy(object.data(), in.object.data(), object.bytes());
  Canvas out = make_canvas();
  make_reference_backend()->stitch(
      object, Array::copy_of(in.weight, {s.h, s.w}), Array::copy_of(in.corners, {s.n, 2}), s.border,
      sums_of(out.object.data(), out.coverage.data(), out.count.data()));
  return out;
}

// Byte by byte.
template <typename T>
Outcome same(const char* what, const std::vector<T>& expected, const std::vector<T>& found) {
  Outcome out;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (found[i] == expected[i]) continue;
    out = {1, std::numeric_limits<double>::infinity(),
           text(what, " ", i, ": expected ", expected[i], ", found ", found[i])};
  }
  return out;
}

Outcome run_variant(const Variant& v) {
  const Input in = make_input(v);
  const Canvas expected = reference(v, in);
  const Canvas before = make_canvas();
  const Placed object = placed(before.object);
  const Placed coverage = placed(before.coverage);
  const Placed count = placed(before.count);
  const Placed patches = placed(in.object);
  const Placed weight = placed(in.weight);
  const Placed corners = placed(in.corners);
  stitch(v.shape,
         {static_cast<const float*>(patches.data()), static_cast<const float*>(weight.data()),
          static_cast<const double*>(corners.data())},
         sums_of(object.data(), coverage.data(), count.data()), nullptr);
  const Outcome out = worse(same("object", expected.object, values_of<std::int64_t>(object)),
                            same("coverage", expected.coverage, values_of<std::int64_t>(coverage)));
  return worse(out, same("count", expected.count, values_of<std::uint32_t>(count)));
}

}  // namespace

std::vector<Case> stitch_cases() {
  constexpr StitchShape kShapes[] = {{1, 16, 16, 0}, {5, 16, 16, 3}, {5, 9, 13, 1},
                                     {3, 1, 40, 0},  {2, 33, 1, 0},  {1, 1, 1, 0},
                                     {7, 24, 20, 8}, {1, 59, 68, 0}};
  std::vector<Case> cases;
  for (const StitchShape& s : kShapes) {
    for (const bool subpixel : {false, true}) {
      for (const bool probe_weights : {false, true}) {
        const Variant v{s, subpixel, probe_weights, probe_weights ? 1.5F : 100.0F};
        cases.push_back({"stitch", "",
                         text("n", s.n, " ", s.h, "x", s.w, " border ", s.border,
                              subpixel ? " subpixel" : "", probe_weights ? " probe" : " plain"),
                         [v] { return run_variant(v); }});
      }
    }
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
