#include <cstring>

#include "kernels/drawing.h"
#include "tests/kernels/cases.h"

namespace ptynet::tests {

void add_drawing_cases(OperationCases& cases) {
  struct Objects {
    const char* name;
    ObjectKind kind;
    Shape shape;
    double low, high;
    bool shared;
    double first;
  };
  const Objects all[] = {
      {"dead leaves", ObjectKind::kDeadLeaves, {3, 33, 48}, 4, 30, false, 5},
      {"dead leaves of a number", ObjectKind::kDeadLeaves, {1, 16, 16}, 8, 90, true, 0x1p45},
      {"siemens", ObjectKind::kSiemens, {2, 40, 33}, 8, 90, false, 1},
      {"cells", ObjectKind::kCells, {2, 64, 40}, 4, 20, false, 0},
      {"text", ObjectKind::kText, {2, 30, 50}, 8, 20, true, 9},
      {"pictures", ObjectKind::kPictures, {5, 20, 31}, 8, 90, false, 2}};
  for (const Objects& v : all) {
    cases.push_back(
        {text("draw_objects ", v.name), [v](Backend& backend) {
           ObjectSeries series;
           series.kind = v.kind;
           series.ranges.feature_low_px = v.low;
           series.ranges.feature_high_px = v.high;
           series.ranges.shared = v.shared;
           series.seed = 77;
           if (v.kind == ObjectKind::kText) {
             series.glyphs = Array::host({kLetters, kGlyphRows, kGlyphColumns}, DType::kU8);
             for (std::int64_t i = 0; i < series.glyphs.elements(); ++i) {
               series.glyphs.data<std::uint8_t>()[i] = i % 3 == 0 ? 1 : 0;
             }
           }
           if (v.kind == ObjectKind::kPictures) {
             const std::vector<PicturePlace> places{{0, 31, 31}, {961, 40, 50}};
             series.pictures = random_array("pictures", {961 + 2000});
             series.places = Array::host({2, sizeof(PicturePlace)}, DType::kU8);
             std::memcpy(series.places.data(), places.data(), series.places.bytes());
           }
           Array amplitude = Array::host(v.shape, DType::kF32);
           Array phase = Array::host(v.shape, DType::kF32);
           backend.draw_objects(series, Array::copy_of<double>({v.first}, {1}), amplitude, phase);
           return std::vector<Output>{{amplitude}, {phase}};
         }});
  }
}

}  // namespace ptynet::tests
