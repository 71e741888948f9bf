#include <algorithm>
#include <cmath>

#include "kernels/reference/reference_backend.h"

namespace ptynet::reference {

namespace {

// Frames as doubles, with 0 where a pixel's value is no count.
std::vector<double> counts_of(const Array& frames) {
  std::vector<double> out = values_of(frames);
  const auto clean = [&](const auto* counts) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (!is_count(counts[i])) out[i] = 0;
    }
  };
  switch (frames.dtype()) {
    case DType::kU8:
      clean(frames.data<std::uint8_t>());
      break;
    case DType::kU16:
      clean(frames.data<std::uint16_t>());
      break;
    case DType::kU32:
      clean(frames.data<std::uint32_t>());
      break;
    case DType::kI32:
      clean(frames.data<std::int32_t>());
      break;
    case DType::kF32:
      clean(frames.data<float>());
      break;
    case DType::kF64:
      clean(frames.data<double>());
      break;
    default:
      fail_runtime("frames are u8, u16, u32, i32, f32 or f64, found ", describe(frames));
  }
  return out;
}

}  // namespace

void ReferenceBackend::batch_norm(const Array& x, const BatchNormParameters& p, Array& y) {
  submit("batch_norm", [=]() mutable {
    std::vector<double> values = values_of(x);
    const std::vector<double> weight = values_of(p.weight);
    const std::vector<double> bias = values_of(p.bias);
    const std::vector<double> mean = values_of(p.running_mean);
    const std::vector<double> variance = values_of(p.running_var);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t c = i % weight.size();
      const double scaled =
          (values[i] - mean[c]) / std::sqrt(variance[c] + double{p.epsilon}) * weight[c];
      values[i] = activate(scaled + bias[c], p.activation);
    }
    store(values, y);
  });
}

void ReferenceBackend::activation(const Array& x, const Activation& a, Array& y) {
  submit("activation", [=]() mutable {
    std::vector<double> values = values_of(x);
    for (double& v : values) v = activate(v, a);
    store(values, y);
  });
}

void ReferenceBackend::add(const Array& a, const Array& b, Array& y) {
  submit("add", [=]() mutable {
    std::vector<double> sum = values_of(a);
    const std::vector<double> other = values_of(b);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
    store(sum, y);
  });
}

void ReferenceBackend::concat_channels(std::span<const Array> parts, Array& y) {
  submit("concat_channels",
         [sources = std::vector<Array>(parts.begin(), parts.end()), y]() mutable {
           std::vector<double> out(static_cast<std::size_t>(y.elements()));
           std::int64_t first = 0;
           for (const Array& part : sources) {
             const std::vector<double> in = values_of(part);
             for_each_element(part.shape(), [&](auto n, auto h, auto w, auto c) {
               out[at(y.shape(), n, h, w, first + c)] = in[at(part.shape(), n, h, w, c)];
             });
             first += part.shape()[3];
           }
           store(out, y);
         });
}

void ReferenceBackend::input_rule(const Array& frames, const Array& mask, const InputRule& rule,
                                  Array& y) {
  submit("input_rule", [=]() mutable {
    std::vector<double> values = counts_of(frames);
    const auto pixels = static_cast<std::size_t>(frames.shape()[1] * frames.shape()[2]);
    for (std::size_t first = 0; first < values.size(); first += pixels) {
      double largest = 0;
      for (std::size_t i = 0; i < pixels; ++i) {
        double& v = values[first + i];
        const bool masked = !mask.empty() && mask.data<std::uint8_t>()[i] == 0;
        if (masked) v = 0;
        if (rule.scale == InputScale::kScanMax) {
          v *= double{rule.factor} / std::max(double{rule.scan_max}, 1e-20);
        }
        if (rule.quantity == InputQuantity::kAmplitude) v = std::sqrt(v);
        largest = std::max(largest, v);
      }
      if (rule.scale != InputScale::kFrameMax) continue;
      for (std::size_t i = 0; i < pixels; ++i) values[first + i] /= largest + double{rule.epsilon};
    }
    store(values, y);
  });
}

void ReferenceBackend::output_heads(const Array& x, const OutputHead& amplitude_head,
                                    const OutputHead& phase_head, Array& amplitude, Array& phase) {
  submit("output_heads", [=]() mutable {
    const std::vector<double> in = values_of(x);
    const auto c = static_cast<std::size_t>(x.shape()[3]);
    const auto head = [&](const OutputHead& h, Array& y) {
      std::vector<double> out(in.size() / c, 1.0);
      for (std::size_t i = 0; h.channel >= 0 && i < out.size(); ++i) {
        out[i] =
            in[i * c + static_cast<std::size_t>(h.channel)] * double{h.scale} + double{h.offset};
      }
      store(out, y);
    };
    head(amplitude_head, amplitude);
    head(phase_head, phase);
  });
}

void ReferenceBackend::batch_norm_training(const Array& x, BatchNormParameters& p,
                                           BatchStatistics& batch, Array& y) {
  submit("batch_norm_training", [=]() mutable {
    std::vector<double> values = values_of(x);
    const std::vector<double> weight = values_of(p.weight);
    const std::vector<double> bias = values_of(p.bias);
    std::vector<double> running_mean = values_of(p.running_mean);
    std::vector<double> running_var = values_of(p.running_var);
    const std::size_t channels = weight.size();
    const std::size_t of_channel = values.size() / channels;
    const auto count = static_cast<double>(of_channel);
    std::vector<double> mean(channels);
    std::vector<double> squares(channels);  // sum (x - mean)^2
    for (std::size_t i = 0; i < values.size(); ++i) mean[i % channels] += values[i] / count;
    for (std::size_t i = 0; i < values.size(); ++i) {
      squares[i % channels] += std::pow(values[i] - mean[i % channels], 2);
    }
    store(mean, batch.mean);
    const std::vector<double> kept_mean = values_of(batch.mean);  // rounded, where it is f32
    std::vector<double> inverse_std(channels);
    std::vector<double> scale(channels);
    std::vector<double> shift(channels);
    for (std::size_t c = 0; c < channels; ++c) {
      inverse_std[c] = 1 / std::sqrt(squares[c] / count + double{p.epsilon});
      scale[c] = weight[c] * inverse_std[c];
      shift[c] = bias[c] + (kept_mean[c] - mean[c]) * scale[c];
      running_mean[c] += double{p.momentum} * (mean[c] - running_mean[c]);
      running_var[c] += double{p.momentum} * (squares[c] / (count - 1) - running_var[c]);
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t c = i % channels;
      values[i] = activate(normalised(values[i], kept_mean[c], scale[c], shift[c]), p.activation);
    }
    store(values, y);
    store(inverse_std, batch.inverse_std);
    store(scale, batch.scale);
    store(shift, batch.shift);
    store(running_mean, p.running_mean);
    store(running_var, p.running_var);
  });
}

namespace {

// dy times the activation's slope at the y that a batch norm gave. In Real, as y was computed on a
// device: next to a kink a double can lie on the other side.
template <typename Real>
std::vector<double> before_activation(const Array& x, const BatchStatistics& batch,
                                      const Activation& a, const Array& dy) {
  const std::vector<double> in = values_of(x);
  const std::vector<double> mean = values_of(batch.mean);
  const std::vector<double> scale = values_of(batch.scale);
  const std::vector<double> shift = values_of(batch.shift);
  std::vector<double> out = values_of(dy);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t c = i % mean.size();
    const Real y = activate(normalised(static_cast<Real>(in[i]), static_cast<Real>(mean[c]),
                                       static_cast<Real>(scale[c]), static_cast<Real>(shift[c])),
                            a);
    out[i] *= double{activation_slope(y, a)};
  }
  return out;
}

}  // namespace

// The chain rule through the variance and the mean (Ioffe and Szegedy 2015, section 3).
void ReferenceBackend::batch_norm_gradient(const Array& x, const BatchStatistics& batch,
                                           const Activation& a, const Array& dy,
                                           OperandGradients& d) {
  submit("batch_norm_gradient", [=]() mutable {
    const std::vector<double> in = values_of(x);
    const std::vector<double> upstream = x.dtype() == DType::kF64
                                             ? before_activation<double>(x, batch, a, dy)
                                             : before_activation<float>(x, batch, a, dy);
    const std::vector<double> mean = values_of(batch.mean);
    const std::vector<double> inverse_std = values_of(batch.inverse_std);
    const std::vector<double> scale = values_of(batch.scale);
    const std::size_t channels = scale.size();
    const std::size_t of_channel = in.size() / channels;
    const auto count = static_cast<double>(of_channel);
    std::vector<double> dw(channels);
    std::vector<double> db(channels);
    std::vector<double> d_variance(channels);
    std::vector<double> d_mean(channels);
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::size_t c = i % channels;
      const double excess = in[i] - mean[c];
      dw[c] += upstream[i] * excess * inverse_std[c];
      db[c] += upstream[i];
      d_variance[c] -= upstream[i] * scale[c] * excess * std::pow(inverse_std[c], 2) / 2;
      d_mean[c] -= upstream[i] * scale[c];
    }
    std::vector<double> dx(in.size());
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::size_t c = i % channels;
      dx[i] = upstream[i] * scale[c] + d_variance[c] * 2 * (in[i] - mean[c]) / count +
              d_mean[c] / count;
    }
    store(dx, d.x);
    store(dw, d.w);
    store(db, d.b);
  });
}

void ReferenceBackend::activation_gradient(const OutputGradient& out, const Activation& a,
                                           Array& dx) {
  submit("activation_gradient", [=, y = out.y, dy = out.dy]() mutable {
    const std::vector<double> results = values_of(y);
    std::vector<double> slopes = values_of(dy);
    for (std::size_t i = 0; i < slopes.size(); ++i) slopes[i] *= activation_slope(results[i], a);
    store(slopes, dx);
  });
}

void ReferenceBackend::slice_channels(const Array& x, std::int64_t first, Array& y) {
  submit("slice_channels", [=]() mutable {
    const std::vector<double> in = values_of(x);
    std::vector<double> out = zeros_like(y);
    for_each_element(y.shape(), [&](auto n, auto h, auto w, auto c) {
      out[at(y.shape(), n, h, w, c)] = in[at(x.shape(), n, h, w, first + c)];
    });
    store(out, y);
  });
}

void ReferenceBackend::output_heads_gradient(const Array& d_amplitude, const Array& d_phase,
                                             const OutputHead& amplitude_head,
                                             const OutputHead& phase_head, Array& dx) {
  submit("output_heads_gradient", [=]() mutable {
    const auto c = static_cast<std::size_t>(dx.shape()[3]);
    std::vector<double> out = zeros_like(dx);
    const auto head = [&](const OutputHead& h, const Array& dy) {
      const std::vector<double> upstream = values_of(dy);
      for (std::size_t i = 0; h.channel >= 0 && i < upstream.size(); ++i) {
        out[i * c + static_cast<std::size_t>(h.channel)] += upstream[i] * double{h.scale};
      }
    };
    head(amplitude_head, d_amplitude);
    head(phase_head, d_phase);
    store(out, dx);
  });
}

}  // namespace ptynet::reference
