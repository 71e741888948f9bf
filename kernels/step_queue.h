// Internal: what both host backends do with a StepQueue (kernels/backend.h).
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/backend.h"

namespace ptynet {

inline std::int64_t frames_done(const StepQueue& q) { return q.cursor.data<std::int32_t>()[0]; }
inline std::int64_t steps_done(const StepQueue& q) { return q.cursor.data<std::int32_t>()[1]; }

inline void take_windows_on_host(const StepQueue& queue, const Array& canvas, const Array& corners,
                                 Array& y) {
  const Shape& s = y.shape();
  const std::int64_t channels = s.rank() == 4 ? s[3] : 1;
  const std::size_t pixel = size_of(y.dtype()) * static_cast<std::size_t>(channels);
  const std::int64_t columns = canvas.shape()[1];
  const auto* from = static_cast<const unsigned char*>(canvas.data());
  auto* to = static_cast<unsigned char*>(y.data());
  const std::int32_t* order = queue.order.data<std::int32_t>() + frames_done(queue);
  for (std::int64_t i = 0; i < s[0]; ++i) {
    const std::int32_t* corner = corners.data<std::int32_t>() + 2 * std::int64_t{order[i]};
    for (std::int64_t r = 0; r < s[1]; ++r) {
      const std::int64_t first = (corner[0] + r) * columns + corner[1];
      const std::size_t bytes = static_cast<std::size_t>(s[2]) * pixel;
      std::memcpy(to, from + static_cast<std::size_t>(first) * pixel, bytes);
      to += bytes;
    }
  }
}

inline void take_rate_on_host(const StepQueue& queue, double factor, Array& rate) {
  rate.data<double>()[0] = factor * queue.rates.data<double>()[steps_done(queue)];
}

inline void put_rows_on_host(const StepQueue& queue, const Array& x, Array& rows) {
  const std::int64_t columns = x.elements() / x.shape()[0];
  std::copy_n(x.data<double>(), x.elements(), rows.data<double>() + frames_done(queue) * columns);
}

inline void advance_on_host(StepQueue& queue, std::int64_t n) {
  queue.cursor.data<std::int32_t>()[0] += static_cast<std::int32_t>(n);
  queue.cursor.data<std::int32_t>()[1] += 1;
}

}  // namespace ptynet
