#include "kernels/step_queue.h"

#include "kernels/cpu/cpu_backend.h"

namespace ptynet::cpu {

void CpuBackend::take_windows(const StepQueue& queue, const Array& canvas, const Array& corners,
                              Array& y) {
  submit("take_windows", y, [=]() mutable { take_windows_on_host(queue, canvas, corners, y); });
}

void CpuBackend::take_rate(const StepQueue& queue, double factor, Array& rate) {
  submit("take_rate", rate, [=]() mutable { take_rate_on_host(queue, factor, rate); });
}

void CpuBackend::put_rows(const StepQueue& queue, const Array& x, Array& rows) {
  submit("put_rows", x, [=]() mutable { put_rows_on_host(queue, x, rows); });
}

void CpuBackend::advance(StepQueue& queue, std::int64_t n) {
  submit("advance", queue.cursor, [=]() mutable { advance_on_host(queue, n); });
}

}  // namespace ptynet::cpu
