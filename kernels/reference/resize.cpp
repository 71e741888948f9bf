#include <algorithm>
#include <limits>

#include "kernels/reference/reference_backend.h"

namespace ptynet::reference {

namespace {

// The two input pixels along one axis between which an upsampled one lies, and their shares.
struct Neighbours {
  std::int64_t place[2];
  double share[2];
};

Neighbours neighbours(std::int64_t o, std::int64_t scale, std::int64_t extent) {
  const double centre = (static_cast<double>(o) + 0.5) / static_cast<double>(scale) - 0.5;
  const double held = std::clamp(centre, 0.0, static_cast<double>(extent - 1));
  const auto before = static_cast<std::int64_t>(held);
  const double share = held - static_cast<double>(before);
  return {{before, std::min(before + 1, extent - 1)}, {1 - share, share}};
}

}  // namespace

void ReferenceBackend::max_pool2d(const Array& x, std::int64_t kernel, Array& y) {
  submit("max_pool2d", [=]() mutable {
    const std::vector<double> in = values_of(x);
    std::vector<double> out(static_cast<std::size_t>(y.elements()));
    for_each_element(y.shape(), [&](auto n, auto h, auto w, auto c) {
      double largest = -std::numeric_limits<double>::infinity();
      for (std::int64_t u = 0; u < kernel; ++u) {
        for (std::int64_t v = 0; v < kernel; ++v) {
          largest = std::max(largest, in[at(x.shape(), n, h * kernel + u, w * kernel + v, c)]);
        }
      }
      out[at(y.shape(), n, h, w, c)] = largest;
    });
    store(out, y);
  });
}

void ReferenceBackend::upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) {
  submit("upsample_bilinear2d", [=]() mutable {
    const std::vector<double> in = values_of(x);
    std::vector<double> out = zeros_like(y);
    for_each_element(y.shape(), [&](auto n, auto h, auto w, auto c) {
      const Neighbours rows = neighbours(h, scale, x.shape()[1]);
      const Neighbours columns = neighbours(w, scale, x.shape()[2]);
      double& sum = out[at(y.shape(), n, h, w, c)];
      for (const int r : {0, 1}) {
        for (const int q : {0, 1}) {
          sum += rows.share[r] * columns.share[q] *
                 in[at(x.shape(), n, rows.place[r], columns.place[q], c)];
        }
      }
    });
    store(out, y);
  });
}

void ReferenceBackend::max_pool2d_gradient(const Array& x, std::int64_t kernel, const Array& dy,
                                           Array& dx) {
  submit("max_pool2d_gradient", [=]() mutable {
    const std::vector<double> in = values_of(x);
    const std::vector<double> upstream = values_of(dy);
    std::vector<double> out = zeros_like(dx);
    for_each_element(dy.shape(), [&](auto n, auto h, auto w, auto c) {
      std::size_t largest = at(x.shape(), n, h * kernel, w * kernel, c);
      for (std::int64_t u = 0; u < kernel; ++u) {
        for (std::int64_t v = 0; v < kernel; ++v) {
          const std::size_t i = at(x.shape(), n, h * kernel + u, w * kernel + v, c);
          if (in[i] > in[largest]) largest = i;
        }
      }
      out[largest] += upstream[at(dy.shape(), n, h, w, c)];
    });
    store(out, dx);
  });
}

void ReferenceBackend::upsample_bilinear2d_gradient(const Array& dy, std::int64_t scale,
                                                    Array& dx) {
  submit("upsample_bilinear2d_gradient", [=]() mutable {
    const std::vector<double> upstream = values_of(dy);
    std::vector<double> out = zeros_like(dx);
    for_each_element(dy.shape(), [&](auto n, auto h, auto w, auto c) {
      const Neighbours rows = neighbours(h, scale, dx.shape()[1]);
      const Neighbours columns = neighbours(w, scale, dx.shape()[2]);
      const double slope = upstream[at(dy.shape(), n, h, w, c)];
      for (const int r : {0, 1}) {
        for (const int q : {0, 1}) {
          out[at(dx.shape(), n, rows.place[r], columns.place[q], c)] +=
              rows.share[r] * columns.share[q] * slope;
        }
      }
    });
    store(out, dx);
  });
}

}  // namespace ptynet::reference
