// The CUDA backend's steps that find their own operands.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/step_queue.h"

namespace ptynet::cuda {

void CudaBackend::take_windows(const StepQueue& queue, const Array& canvas, const Array& corners,
                               Array& y) {
  const Shape& s = y.shape();
  const auto channels = s.rank() == 4 ? s[3] : 1;
  const WindowShape shape{static_cast<int>(s[0]), static_cast<int>(s[1]), static_cast<int>(s[2]),
                          static_cast<int>(channels), canvas.shape()[1]};
  const WindowSource from{queue.order.data<std::int32_t>(), queue.cursor.data<std::int32_t>(),
                          corners.data<std::int32_t>(), canvas.data<float>()};
  submit("take_windows", y, [shape, from, to = y.data<float>()](Stream stream) {
    cuda::take_windows(shape, from, to, stream);
  });
}

void CudaBackend::take_rate(const StepQueue& queue, double factor, Array& rate) {
  submit("take_rate", rate,
         [rates = queue.rates.data<double>(), cursor = queue.cursor.data<std::int32_t>(), factor,
          to = rate.data<double>()](Stream stream) {
           cuda::take_rate(rates, cursor, factor, to, stream);
         });
}

void CudaBackend::put_rows(const StepQueue& queue, const Array& x, Array& rows) {
  const auto n = static_cast<int>(x.shape()[0]);
  submit("put_rows", x,
         [from = x.data<double>(), n, columns = static_cast<int>(x.elements() / n),
          cursor = queue.cursor.data<std::int32_t>(), to = rows.data<double>()](Stream stream) {
           cuda::put_rows(from, n, columns, cursor, to, stream);
         });
}

void CudaBackend::advance(StepQueue& queue, std::int64_t n) {
  updates({queue.cursor});
  submit("advance", queue.cursor,
         [cursor = queue.cursor.data<std::int32_t>(), n = static_cast<int>(n)](Stream stream) {
           cuda::advance(cursor, n, stream);
         });
}

}  // namespace ptynet::cuda
