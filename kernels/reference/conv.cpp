#include "kernels/reference/reference_backend.h"

namespace ptynet::reference {

namespace {

// The derivative by the biased sum, of which the activation made y.
std::vector<double> before_activation(const Array& y, const Array& dy, const Activation& a) {
  std::vector<double> out = values_of(dy);
  if (a.kind == ActivationKind::kNone) return out;
  const std::vector<double> result = values_of(y);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] *= activation_slope(result[i], a);
  return out;
}

}  // namespace

void ReferenceBackend::conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                              Array& y) {
  submit("conv2d", [=]() mutable {
    const std::vector<double> in = values_of(x);
    const std::vector<double> weights = values_of(w);
    const std::vector<double> bias = values_of(b);
    const std::int64_t ci_group = w.shape()[3];
    const std::int64_t co_group = w.shape()[0] / o.groups;
    const auto channels = static_cast<std::size_t>(ci_group);
    std::vector<double> out(static_cast<std::size_t>(y.elements()));
    for_each_element(y.shape(), [&](auto n, auto h, auto wi, auto c) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<std::size_t>(c)];
      for (std::int64_t u = 0; u < w.shape()[1]; ++u) {
        for (std::int64_t v = 0; v < w.shape()[2]; ++v) {
          const std::int64_t row = h * o.stride - o.padding + u;
          const std::int64_t column = wi * o.stride - o.padding + v;
          if (row < 0 || row >= x.shape()[1] || column < 0 || column >= x.shape()[2]) continue;
          const std::size_t from = at(x.shape(), n, row, column, c / co_group * ci_group);
          const std::size_t by = at(w.shape(), c, u, v, 0);
          for (std::size_t i = 0; i < channels; ++i) sum += in[from + i] * weights[by + i];
        }
      }
      out[at(y.shape(), n, h, wi, c)] = activate(sum, o.activation);
    });
    store(out, y);
  });
}

void ReferenceBackend::conv_transpose2d(const Array& x, const Array& w, const Array& b,
                                        const ConvOptions& o, Array& y) {
  submit("conv_transpose2d", [=]() mutable {
    const std::vector<double> in = values_of(x);
    const std::vector<double> weights = values_of(w);
    const std::vector<double> bias = values_of(b);
    const std::int64_t ci_group = x.shape()[3] / o.groups;
    const std::int64_t co_group = w.shape()[3];
    const auto channels = static_cast<std::size_t>(co_group);
    std::vector<double> out(static_cast<std::size_t>(y.elements()));
    // Every input pixel adds its kernel, scaled, to the output.
    for_each_element(x.shape(), [&](auto n, auto h, auto wi, auto i) {
      const double value = in[at(x.shape(), n, h, wi, i)];
      for (std::int64_t u = 0; u < w.shape()[1]; ++u) {
        for (std::int64_t v = 0; v < w.shape()[2]; ++v) {
          const std::int64_t row = h * o.stride - o.padding + u;
          const std::int64_t column = wi * o.stride - o.padding + v;
          if (row < 0 || row >= y.shape()[1] || column < 0 || column >= y.shape()[2]) continue;
          const std::size_t to = at(y.shape(), n, row, column, i / ci_group * co_group);
          const std::size_t by = at(w.shape(), i, u, v, 0);
          for (std::size_t c = 0; c < channels; ++c) out[to + c] += value * weights[by + c];
        }
      }
    });
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t c = i % static_cast<std::size_t>(y.shape()[3]);
      out[i] = activate(out[i] + (bias.empty() ? 0.0 : bias[c]), o.activation);
    }
    store(out, y);
  });
}

// Both gradients walk the products that made the output: where y += x * w, x's derivative gets
// dy * w and w's dy * x.

void ReferenceBackend::conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                       const ConvOptions& o, OperandGradients& d) {
  submit("conv2d_gradient", [=, y = out.y, dy = out.dy]() mutable {
    const std::vector<double> in = values_of(x);
    const std::vector<double> weights = values_of(w);
    const std::vector<double> upstream = before_activation(y, dy, o.activation);
    const std::int64_t ci_group = w.shape()[3];
    const std::int64_t co_group = w.shape()[0] / o.groups;
    std::vector<double> dx(in.size());
    std::vector<double> dw(weights.size());
    std::vector<double> db(static_cast<std::size_t>(w.shape()[0]));
    for_each_element(dy.shape(), [&](auto n, auto h, auto wi, auto c) {
      const double slope = upstream[at(dy.shape(), n, h, wi, c)];
      db[static_cast<std::size_t>(c)] += slope;
      for (std::int64_t u = 0; u < w.shape()[1]; ++u) {
        for (std::int64_t v = 0; v < w.shape()[2]; ++v) {
          const std::int64_t row = h * o.stride - o.padding + u;
          const std::int64_t column = wi * o.stride - o.padding + v;
          if (row < 0 || row >= x.shape()[1] || column < 0 || column >= x.shape()[2]) continue;
          for (std::int64_t i = 0; i < ci_group; ++i) {
            const std::size_t from = at(x.shape(), n, row, column, c / co_group * ci_group + i);
            const std::size_t by = at(w.shape(), c, u, v, i);
            dx[from] += slope * weights[by];
            dw[by] += slope * in[from];
          }
        }
      }
    });
    store(dx, d.x);
    store(dw, d.w);
    store(db, d.b);
  });
}

void ReferenceBackend::conv_transpose2d_gradient(const Array& x, const Array& w,
                                                 const OutputGradient& out, const ConvOptions& o,
                                                 OperandGradients& d) {
  submit("conv_transpose2d_gradient", [=, y = out.y, dy = out.dy]() mutable {
    const std::vector<double> in = values_of(x);
    const std::vector<double> weights = values_of(w);
    const std::vector<double> upstream = before_activation(y, dy, o.activation);
    const std::int64_t ci_group = x.shape()[3] / o.groups;
    const std::int64_t co_group = w.shape()[3];
    std::vector<double> dx(in.size());
    std::vector<double> dw(weights.size());
    std::vector<double> db(static_cast<std::size_t>(co_group * o.groups));
    for_each_element(x.shape(), [&](auto n, auto h, auto wi, auto i) {
      const std::size_t from = at(x.shape(), n, h, wi, i);
      for (std::int64_t u = 0; u < w.shape()[1]; ++u) {
        for (std::int64_t v = 0; v < w.shape()[2]; ++v) {
          const std::int64_t row = h * o.stride - o.padding + u;
          const std::int64_t column = wi * o.stride - o.padding + v;
          if (row < 0 || row >= dy.shape()[1] || column < 0 || column >= dy.shape()[2]) continue;
          for (std::int64_t c = 0; c < co_group; ++c) {
            const std::size_t by = at(w.shape(), i, u, v, c);
            const double slope =
                upstream[at(dy.shape(), n, row, column, i / ci_group * co_group + c)];
            dx[from] += slope * weights[by];
            dw[by] += slope * in[from];
          }
        }
      }
    });
    for (std::size_t i = 0; i < upstream.size(); ++i) db[i % db.size()] += upstream[i];
    store(dx, d.x);
    store(dw, d.w);
    store(db, d.b);
  });
}

}  // namespace ptynet::reference
