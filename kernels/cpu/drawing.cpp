#include "kernels/drawing.h"

#include "kernels/cpu/cpu_backend.h"

namespace ptynet::cpu {

void CpuBackend::draw_objects(const ObjectSeries& series, const Array& first, Array& amplitude,
                              Array& phase) {
  const Shape& s = amplitude.shape();
  submit("draw_objects", amplitude,
         [series, from = first.data<double>(), n = s[0], canvas = CanvasSize{s[1], s[2]},
          amplitudes = amplitude.data<float>(), phases = phase.data<float>()] {
           const ObjectSource source = series.source();
           const std::int64_t pixels = canvas.rows * canvas.columns;
#pragma omp parallel for schedule(dynamic)
           for (std::int64_t i = 0; i < n; ++i) {
             const auto number =
                 static_cast<std::uint64_t>(from[0]) + static_cast<std::uint64_t>(i);
             draw_object(source, number, canvas, amplitudes + i * pixels, phases + i * pixels);
           }
         });
}

}  // namespace ptynet::cpu
