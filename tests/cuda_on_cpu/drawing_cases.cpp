#include "kernels/backend.h"
#include "kernels/cuda/drawing.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

struct Objects {
  ObjectKind kind;
  int n, h, w;
  double low, high;  // features
  bool shared;
  double first;
};

const char* name_of(ObjectKind kind) {
  constexpr const char* kNames[] = {"dead leaves", "siemens", "cells", "text", "pictures"};
  return kNames[static_cast<int>(kind)];
}

// Operands where the kernel reads them, and where the reference does.
struct Operands {
  std::vector<std::uint8_t> glyphs;
  std::vector<float> pictures;
  std::vector<PicturePlace> places;
  Placed on_device[3];

  explicit Operands(const Objects& v)
      : glyphs(static_cast<std::size_t>(kLetters * kGlyphRows * kGlyphColumns)),
        on_device{placed(std::vector<int>{0}), placed(std::vector<int>{0}),
                  placed(std::vector<int>{0})} {
    const CounterRandom random(3, "glyphs");
    for (std::size_t i = 0; i < glyphs.size(); ++i) glyphs[i] = random.bits(i) % 2;
    glyphs.front() = 1;
    // One is no larger than the window may be, in either orientation.
    const int side = std::max(v.h, v.w);
    std::int64_t first = 0;
    for (const auto& [rows, columns] :
         {std::pair{side, side}, std::pair{side + 9, side + 2}, std::pair{side + 1, side + 30}}) {
      places.push_back({first, rows, columns});
      first += std::int64_t{rows} * columns;
    }
    pictures = random_values("pictures", first, 0, 1);
    on_device[0] = placed(glyphs);
    on_device[1] = placed(pictures);
    on_device[2] = placed(places);
  }

  ObjectSeries series(const Objects& v) const {
    ObjectSeries out;
    out.kind = v.kind;
    out.ranges.feature_low_px = v.low;
    out.ranges.feature_high_px = v.high;
    out.ranges.shared = v.shared;
    out.seed = 12345;
    if (v.kind == ObjectKind::kText) {
      out.glyphs = Array::copy_of(glyphs, {kLetters, kGlyphRows, kGlyphColumns});
    }
    if (v.kind == ObjectKind::kPictures) {
      const auto count = static_cast<std::int64_t>(places.size());
      out.pictures = Array::copy_of(pictures, {static_cast<std::int64_t>(pictures.size())});
      out.places = Array::host({count, sizeof(PicturePlace)}, DType::kU8);
      std::memcpy(out.places.data(), places.data(), out.places.bytes());
    }
    return out;
  }
  ObjectSource source(const ObjectSeries& series) const {
    ObjectSource out = series.source();
    out.glyphs = static_cast<const std::uint8_t*>(on_device[0].data());
    out.pictures = static_cast<const float*>(on_device[1].data());
    out.places = static_cast<const PicturePlace*>(on_device[2].data());
    return out;
  }
};

// A device's sines and fused products move a value by its rounding; an edge by 1e-13 px, which lies
// between pixels.
Outcome run_objects(const Objects& v) {
  const Operands operands(v);
  const ObjectSeries series = operands.series(v);
  const Shape shape{v.n, v.h, v.w};
  Array amplitude = Array::host(shape, DType::kF32);
  Array phase = Array::host(shape, DType::kF32);
  make_reference_backend()->draw_objects(series, Array::copy_of<double>({v.first}, {1}), amplitude,
                                         phase);
  const Placed first = placed(std::vector<double>{v.first});
  const Placed found[] = {unwritten(amplitude.bytes(), sizeof(float)),
                          unwritten(phase.bytes(), sizeof(float))};
  draw_objects(
      operands.source(series), static_cast<const double*>(first.data()),
      {v.n, v.h, v.w, static_cast<float*>(found[0].data()), static_cast<float*>(found[1].data())},
      nullptr);
  const auto wide = [](const Array& a) {
    return std::vector<double>(a.data<float>(), a.data<float>() + a.elements());
  };
  constexpr Tolerance kRounding{0x1p-23, 0x1p-23};
  return worse(compare(wide(amplitude), values_of<float>(found[0]), kRounding),
               compare(wide(phase), values_of<float>(found[1]), kRounding));
}

}  // namespace

std::vector<Case> drawing_cases() {
  std::vector<Case> cases;
  const auto add = [&cases](const Objects& v) {
    cases.push_back({"draw_objects", "",
                     text(name_of(v.kind), " n", v.n, " ", v.h, "x", v.w, " of ", v.low, " to ",
                          v.high, " px", v.shared ? " shared" : "", " from ", v.first),
                     [v] { return run_objects(v); }});
  };
  for (const ObjectKind kind : {ObjectKind::kDeadLeaves, ObjectKind::kSiemens, ObjectKind::kCells,
                                ObjectKind::kText, ObjectKind::kPictures}) {
    add({kind, 1, 1, 1, 8, 90, false, 0});
    add({kind, 5, 33, 70, 8, 90, false, 7});
    add({kind, 2, 40, 31, 4, 20, true, 0x1p40});
  }
  // More leaves than a block draws at once, of which the front ones leave gaps.
  add({ObjectKind::kDeadLeaves, 1, 20, 40, 1, 2, false, 3});
  add({ObjectKind::kCells, 1, 40, 33, 1, 2, false, 3});
  return cases;
}

}  // namespace ptynet::cuda::tests
