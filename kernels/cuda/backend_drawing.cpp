// The CUDA backend's objects to simulate with.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/drawing.h"

namespace ptynet::cuda {

void CudaBackend::draw_objects(const ObjectSeries& series, const Array& first, Array& amplitude,
                               Array& phase) {
  const Shape& s = amplitude.shape();
  const DrawnObjects to{static_cast<int>(s[0]), static_cast<int>(s[1]), static_cast<int>(s[2]),
                        amplitude.data<float>(), phase.data<float>()};
  submit("draw_objects", amplitude, [series, from = first.data<double>(), to](Stream stream) {
    cuda::draw_objects(series.source(), from, to, stream);
  });
}

}  // namespace ptynet::cuda
