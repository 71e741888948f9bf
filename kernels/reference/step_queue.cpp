#include "kernels/step_queue.h"

#include "kernels/reference/reference_backend.h"

namespace ptynet::reference {

void ReferenceBackend::take_windows(const StepQueue& queue, const Array& canvas,
                                    const Array& corners, Array& y) {
  submit("take_windows", [=]() mutable { take_windows_on_host(queue, canvas, corners, y); });
}

void ReferenceBackend::take_rate(const StepQueue& queue, double factor, Array& rate) {
  submit("take_rate", [=]() mutable { take_rate_on_host(queue, factor, rate); });
}

void ReferenceBackend::put_rows(const StepQueue& queue, const Array& x, Array& rows) {
  submit("put_rows", [=]() mutable { put_rows_on_host(queue, x, rows); });
}

void ReferenceBackend::advance(StepQueue& queue, std::int64_t n) {
  submit("advance", [=]() mutable { advance_on_host(queue, n); });
}

}  // namespace ptynet::reference
