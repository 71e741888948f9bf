#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/reference/reference_backend.h"

namespace ptynet::reference {

namespace {

// Weights of a frame's pixels, ones where there are none given.
std::vector<double> weights_of(const Array& weight, std::int64_t pixels) {
  return weight.empty() ? std::vector<double>(static_cast<std::size_t>(pixels), 1.0)
                        : values_of(weight);
}

bool all_finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

std::int64_t pixels_of(const Array& frames) { return frames.shape()[1] * frames.shape()[2]; }

}  // namespace

void ReferenceBackend::intensity_loss(IntensityLoss kind, const Array& predicted,
                                      const Array& measured, double factor, Array& sums,
                                      Array& d_predicted) {
  submit("intensity_loss", [=]() mutable {
    const std::vector<double> model = values_of(predicted);
    const std::vector<double> data = values_of(measured);
    const auto pixels = static_cast<std::size_t>(pixels_of(measured));
    const auto good = std::count_if(data.begin(), data.end(), is_count<double>);
    std::vector<double> slopes(data.size());
    std::vector<double> out = zeros_like(sums);
    for (std::size_t i = 0; i < data.size(); ++i) {
      if (!is_count(data[i])) continue;
      const PixelLoss<double> loss = pixel_loss(kind, model[i], data[i]);
      slopes[i] = factor * loss.slope / static_cast<double>(good);
      double* frame = &out[4 * (i / pixels)];
      frame[0] += loss.value;
      frame[1] += 1;
      frame[2] += std::abs(std::sqrt(data[i]) - std::sqrt(std::max(0.0, model[i])));
      frame[3] += std::sqrt(data[i]);
    }
    store(out, sums);
    store(slopes, d_predicted);
  });
}

void ReferenceBackend::patch_error(const ExitWave& patch, const ExitWave& target,
                                   const Array& weight, double factor, Array& sums, ExitWave& d) {
  submit("patch_error", [=]() mutable {
    const std::vector<double> share = weights_of(weight, pixels_of(patch.amplitude));
    const double whole = std::accumulate(share.begin(), share.end(), 0.0);
    const double frames = static_cast<double>(patch.amplitude.shape()[0]);
    std::vector<double> out = zeros_like(sums);
    const auto compare = [&](const Array& found, const Array& wanted, std::size_t column,
                             Array& derivative) {
      const std::vector<double> a = values_of(found);
      const std::vector<double> b = values_of(wanted);
      std::vector<double> slopes(a.size());
      for (std::size_t i = 0; i < a.size(); ++i) {
        const double w = share[i % share.size()] / whole;
        out[2 * (i / share.size()) + column] += w * (a[i] - b[i]) * (a[i] - b[i]);
        slopes[i] = factor / frames * w * 2 * (a[i] - b[i]);
      }
      store(slopes, derivative);
    };
    compare(patch.amplitude, target.amplitude, 0, d.amplitude);
    compare(patch.phase, target.phase, 1, d.phase);
    store(out, sums);
  });
}

void ReferenceBackend::object_error(const ExitWave& patch, const Array& target, const Array& weight,
                                    double factor, Array& sums, ExitWave& d) {
  submit("object_error", [=]() mutable {
    const std::vector<double> amplitude = values_of(patch.amplitude);
    const std::vector<double> phase = values_of(patch.phase);
    const std::vector<Complex> wanted = complex_values_of(target);
    const std::vector<double> share = weights_of(weight, pixels_of(patch.amplitude));
    const double whole = std::accumulate(share.begin(), share.end(), 0.0);
    const double frames = static_cast<double>(patch.amplitude.shape()[0]);
    std::vector<double> out = zeros_like(sums);
    std::vector<double> d_amplitude(amplitude.size());
    std::vector<double> d_phase(amplitude.size());
    for (std::size_t i = 0; i < amplitude.size(); ++i) {
      const double w = share[i % share.size()] / whole;
      // Seen along exp(i phase), the error is amplitude - (along + i across).
      const double along =
          wanted[i].real() * std::cos(phase[i]) + wanted[i].imag() * std::sin(phase[i]);
      const double across =
          wanted[i].imag() * std::cos(phase[i]) - wanted[i].real() * std::sin(phase[i]);
      out[i / share.size()] += w * (std::pow(amplitude[i] - along, 2) + across * across);
      d_amplitude[i] = factor / frames * w * 2 * (amplitude[i] - along);
      d_phase[i] = factor / frames * w * -2 * amplitude[i] * across;
    }
    store(out, sums);
    store(d_amplitude, d.amplitude);
    store(d_phase, d.phase);
  });
}

void ReferenceBackend::multiply(const Array& x, const Array& factor, Array& y) {
  submit("multiply", [=]() mutable {
    std::vector<double> values = values_of(x);
    for (double& v : values) v *= factor.data<double>()[0];
    store(values, y);
  });
}

void ReferenceBackend::adam(const AdamOptions& options, const std::vector<AdamTensor>& tensors,
                            Array& state, Array& scaling) {
  submit("adam", [=]() mutable {
    LossScale kept;
    if (!scaling.empty()) kept = LossScale::from(scaling.data<double>());
    const double scale = kept.scale;
    if (!scaling.empty()) {
      const bool taken = std::all_of(tensors.begin(), tensors.end(), [](const AdamTensor& t) {
        return all_finite(values_of(t.gradient));
      });
      kept.follow(taken, options.adapts_scale);
      kept.write(scaling.data<double>());
      if (!taken) return;
    }
    const double learning_rate = state.data<double>()[0];
    const double steps = state.data<double>()[1] += 1;
    const AdamStep<double> step{1 - options.beta1,
                                options.beta2,
                                1 - options.beta2,
                                options.epsilon,
                                learning_rate / (1 - std::pow(options.beta1, steps)),
                                1 / std::sqrt(1 - std::pow(options.beta2, steps))};
    for (const AdamTensor& tensor : tensors) {
      AdamTensor t = tensor;
      const std::vector<double> gradient = values_of(t.gradient);
      std::vector<double> value = values_of(t.value);
      std::vector<double> first = values_of(t.first_moment);
      std::vector<double> second = values_of(t.second_moment);
      for (std::size_t i = 0; i < value.size(); ++i) {
        step.update(gradient[i] / scale, value[i], first[i], second[i]);
      }
      store(value, t.value);
      store(first, t.first_moment);
      store(second, t.second_moment);
    }
  });
}

void ReferenceBackend::keep_power(Array& x, double power) {
  submit("keep_power", [=]() mutable {
    std::vector<double> values = values_of(x);
    const double found = std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
    if (found == 0) return;
    for (double& v : values) v *= std::sqrt(power / found);
    store(values, x);
  });
}

}  // namespace ptynet::reference
