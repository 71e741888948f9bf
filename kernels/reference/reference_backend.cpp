// Every operation as its definition reads, in double, without libraries or threads.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/backend.h"
#include "kernels/random.h"
#include "kernels/scoped_value.h"

namespace ptynet {

namespace {

using Complex = std::complex<double>;

// Any real array as doubles.
std::vector<double> values_of(const Array& a) {
  std::vector<double> out(static_cast<std::size_t>(a.elements()));
  const auto widen_all = [&](const auto* from) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(from[i]);
  };
  switch (a.dtype()) {
    case DType::kF32:
      widen_all(a.data<float>());
      break;
    case DType::kF64:
      widen_all(a.data<double>());
      break;
    case DType::kU8:
      widen_all(a.data<std::uint8_t>());
      break;
    case DType::kU16:
      widen_all(a.data<std::uint16_t>());
      break;
    case DType::kU32:
      widen_all(a.data<std::uint32_t>());
      break;
    case DType::kI32:
      widen_all(a.data<std::int32_t>());
      break;
    case DType::kBf16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = double{widen(a.data<Bfloat16>()[i])};
      break;
    case DType::kF16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = double{widen(a.data<Half>()[i])};
      break;
    case DType::kC64:
      fail_runtime("expected a real array, found ", describe(a));
  }
  return out;
}

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
    default:
      fail_runtime("frames are u8, u16, u32, i32 or f32, found ", describe(frames));
  }
  return out;
}

std::vector<Complex> complex_values_of(const Array& a) {
  const auto* from = a.data<std::complex<float>>();
  return {from, from + a.elements()};
}

void store(const std::vector<double>& values, Array& y) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    switch (y.dtype()) {
      case DType::kF32:
        y.data<float>()[i] = static_cast<float>(values[i]);
        break;
      case DType::kF64:
        y.data<double>()[i] = values[i];
        break;
      case DType::kBf16:
        y.data<Bfloat16>()[i] = narrow_bf16(static_cast<float>(values[i]));
        break;
      default:
        fail_runtime("the reference backend writes f32, f64 and bf16, found ", describe(y));
    }
  }
}

void store(const std::vector<Complex>& values, Array& y) {
  auto* to = y.data<std::complex<float>>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    to[i] = {static_cast<float>(values[i].real()), static_cast<float>(values[i].imag())};
  }
}

// Index of [n, h, w, c] in an array of shape s.
std::size_t at(const Shape& s, std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c) {
  return static_cast<std::size_t>(((n * s[1] + h) * s[2] + w) * s[3] + c);
}

// Runs body(n, h, w, c) over a whole shape.
template <typename Body>
void for_each_element(const Shape& s, Body&& body) {
  for (std::int64_t n = 0; n < s[0]; ++n) {
    for (std::int64_t h = 0; h < s[1]; ++h) {
      for (std::int64_t w = 0; w < s[2]; ++w) {
        for (std::int64_t c = 0; c < s[3]; ++c) body(n, h, w, c);
      }
    }
  }
}

double activated(double v, const Activation& a) { return activate(v, a); }

// One-dimensional DFT of `count` elements `step` apart, by its definition.
void dft(std::vector<Complex>& data, std::size_t first, std::size_t step, std::size_t count,
         double sign) {
  std::vector<Complex> out(count);
  for (std::size_t k = 0; k < count; ++k) {
    for (std::size_t i = 0; i < count; ++i) {
      const double turn = static_cast<double>(k * i % count) / static_cast<double>(count);
      out[k] += data[first + i * step] * std::polar(1.0, sign * 2 * std::numbers::pi * turn);
    }
  }
  for (std::size_t k = 0; k < count; ++k) data[first + k * step] = out[k];
}

void dft2(std::vector<Complex>& image, std::size_t rows, std::size_t columns,
          FftDirection direction) {
  const double sign = direction == FftDirection::kForward ? -1.0 : 1.0;
  for (std::size_t r = 0; r < rows; ++r) dft(image, r * columns, 1, columns, sign);
  for (std::size_t c = 0; c < columns; ++c) dft(image, c, columns, rows, sign);
  if (direction == FftDirection::kInverse) {
    for (Complex& v : image) v /= static_cast<double>(rows * columns);
  }
}

struct ReferenceEvent final : Event {
  void wait() override {}
  std::chrono::steady_clock::time_point time = std::chrono::steady_clock::now();
};

class ReferenceReplay final : public Replay {
 public:
  void run() override {
    for (const auto& step : work) step();
  }
  std::vector<std::string> steps() const override { return names; }
  std::vector<double> time_steps() override {
    std::vector<double> seconds;
    for (const auto& step : work) {
      const ReferenceEvent start;
      step();
      seconds.push_back(std::chrono::duration<double>(ReferenceEvent().time - start.time).count());
    }
    return seconds;
  }

  std::vector<std::string> names;
  std::vector<std::function<void()>> work;
};

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  Device device() const override { return {}; }
  Allocator& allocator() override { return *allocator_; }
  void set_allocator(Allocator* allocator) override {
    allocator_ = allocator != nullptr ? allocator : &pool_;
  }

  void release_unused() override { pool_.trim(); }
  void rehearse(const std::function<void()>& work) override { work(); }
  std::unique_ptr<Replay> record(const std::function<void()>& work) override {
    auto replay = std::make_unique<ReferenceReplay>();
    const ScopedValue recording(recording_, replay.get());
    work();
    return replay;
  }
  void synchronize() override {}
  std::unique_ptr<Event> event() override { return std::make_unique<ReferenceEvent>(); }
  double seconds_between(const Event& from, const Event& to) override {
    const auto start = dynamic_cast<const ReferenceEvent&>(from).time;
    return std::chrono::duration<double>(dynamic_cast<const ReferenceEvent&>(to).time - start)
        .count();
  }
  void copy(const Array& from, Array& to) override {
    if (from.bytes() != to.bytes())
      fail_runtime("cannot copy ", describe(from), " to ", describe(to));
    submit("copy", [from, to]() mutable { std::memcpy(to.data(), from.data(), from.bytes()); });
  }
  std::size_t conv2d_workspace(const Array&, const Array&, const ConvOptions&) override {
    return 0;
  }
  void random_uniform(std::uint64_t seed, std::string_view stream, float low, float high,
                      Array& y) override {
    submit("random_uniform", [random = CounterRandom(seed, stream), low, high, y]() mutable {
      std::vector<double> out(static_cast<std::size_t>(y.elements()));
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = double{low} + (double{high} - double{low}) * random.uniform(i);
      }
      store(out, y);
    });
  }

  void conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
              Array& y) override;
  void conv_transpose2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                        Array& y) override;
  void batch_norm(const Array& x, const BatchNormParameters& p, Array& y) override;
  void activation(const Array& x, const Activation& a, Array& y) override;
  void max_pool2d(const Array& x, std::int64_t kernel, Array& y) override;
  void upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) override;
  void add(const Array& a, const Array& b, Array& y) override;
  void concat_channels(std::span<const Array> parts, Array& y) override;
  void input_rule(const Array& frames, const Array& mask, const InputRule& rule, Array& y) override;
  void output_heads(const Array& x, const OutputHead& amplitude_head, const OutputHead& phase_head,
                    Array& amplitude, Array& phase) override;
  void compose_object(const Array& amplitude, const Array& phase, Array& object) override;
  void fft2(const Array& x, FftDirection direction, Array& y) override;
  void far_field_intensity(const Array& object, const Array& probe, Array& y) override;
  void r_factor_sums(const Array& predicted, const Array& measured, Array& sums) override;
  void stitch(const Array& object, const Array& weight, const Array& corners, std::int64_t border,
              const CanvasSums& canvas) override;

 private:
  void submit(std::string_view operation, std::function<void()> step) {
    if (recording_ == nullptr) return step();
    recording_->names.emplace_back(operation);
    recording_->work.push_back(std::move(step));
  }

  MemoryPool pool_;
  Allocator* allocator_ = &pool_;
  ReferenceReplay* recording_ = nullptr;
};

void ReferenceBackend::conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                              Array& y) {
  submit("conv2d", [=]() mutable {
    const std::vector<double> in = values_of(x);
    const std::vector<double> weights = values_of(w);
    const std::vector<double> bias = values_of(b);
    const std::int64_t ci_group = w.shape()[3];
    const std::int64_t co_group = w.shape()[0] / o.groups;
    std::vector<double> out(static_cast<std::size_t>(y.elements()));
    for_each_element(y.shape(), [&](auto n, auto h, auto wi, auto c) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<std::size_t>(c)];
      for (std::int64_t u = 0; u < w.shape()[1]; ++u) {
        for (std::int64_t v = 0; v < w.shape()[2]; ++v) {
          const std::int64_t row = h * o.stride - o.padding + u;
          const std::int64_t column = wi * o.stride - o.padding + v;
          if (row < 0 || row >= x.shape()[1] || column < 0 || column >= x.shape()[2]) continue;
          for (std::int64_t i = 0; i < ci_group; ++i) {
            sum += in[at(x.shape(), n, row, column, c / co_group * ci_group + i)] *
                   weights[at(w.shape(), c, u, v, i)];
          }
        }
      }
      out[at(y.shape(), n, h, wi, c)] = activated(sum, o.activation);
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
    std::vector<double> out(static_cast<std::size_t>(y.elements()));
    // Every input pixel adds its kernel, scaled, to the output.
    for_each_element(x.shape(), [&](auto n, auto h, auto wi, auto i) {
      const double value = in[at(x.shape(), n, h, wi, i)];
      for (std::int64_t u = 0; u < w.shape()[1]; ++u) {
        for (std::int64_t v = 0; v < w.shape()[2]; ++v) {
          const std::int64_t row = h * o.stride - o.padding + u;
          const std::int64_t column = wi * o.stride - o.padding + v;
          if (row < 0 || row >= y.shape()[1] || column < 0 || column >= y.shape()[2]) continue;
          for (std::int64_t c = 0; c < co_group; ++c) {
            out[at(y.shape(), n, row, column, i / ci_group * co_group + c)] +=
                value * weights[at(w.shape(), i, u, v, c)];
          }
        }
      }
    });
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t c = i % static_cast<std::size_t>(y.shape()[3]);
      out[i] = activated(out[i] + (bias.empty() ? 0.0 : bias[c]), o.activation);
    }
    store(out, y);
  });
}

void ReferenceBackend::batch_norm(const Array& x, const BatchNormParameters& p, Array& y) {
  submit("batch_norm", [=]() mutable {
    std::vector<double> values = values_of(x);
    const std::vector<double> weight = values_of(p.weight);
    const std::vector<double> bias = values_of(p.bias);
    const std::vector<double> mean = values_of(p.running_mean);
    const std::vector<double> variance = values_of(p.running_var);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t c = i % weight.size();
      values[i] =
          (values[i] - mean[c]) / std::sqrt(variance[c] + double{p.epsilon}) * weight[c] + bias[c];
    }
    store(values, y);
  });
}

void ReferenceBackend::activation(const Array& x, const Activation& a, Array& y) {
  submit("activation", [=]() mutable {
    std::vector<double> values = values_of(x);
    for (double& v : values) v = activated(v, a);
    store(values, y);
  });
}

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
    std::vector<double> out(static_cast<std::size_t>(y.elements()));
    const auto source = [scale](std::int64_t o, std::int64_t extent) {
      const double place = (static_cast<double>(o) + 0.5) / static_cast<double>(scale) - 0.5;
      return std::clamp(place, 0.0, static_cast<double>(extent - 1));
    };
    for_each_element(y.shape(), [&](auto n, auto h, auto w, auto c) {
      const double row = source(h, x.shape()[1]);
      const double column = source(w, x.shape()[2]);
      const auto r = static_cast<std::int64_t>(row);
      const auto q = static_cast<std::int64_t>(column);
      const std::int64_t below = std::min(r + 1, x.shape()[1] - 1);
      const std::int64_t right = std::min(q + 1, x.shape()[2] - 1);
      const double fr = row - static_cast<double>(r);
      const double fq = column - static_cast<double>(q);
      const auto value = [&](std::int64_t a, std::int64_t b) {
        return in[at(x.shape(), n, a, b, c)];
      };
      out[at(y.shape(), n, h, w, c)] = (1 - fr) * ((1 - fq) * value(r, q) + fq * value(r, right)) +
                                       fr * ((1 - fq) * value(below, q) + fq * value(below, right));
    });
    store(out, y);
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

void ReferenceBackend::compose_object(const Array& amplitude, const Array& phase, Array& object) {
  submit("compose_object", [=]() mutable {
    const std::vector<double> a = values_of(amplitude);
    const std::vector<double> p = values_of(phase);
    std::vector<Complex> out(a.size());
    // Not std::polar: a network's amplitude may be negative.
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = Complex(a[i] * std::cos(p[i]), a[i] * std::sin(p[i]));
    }
    store(out, object);
  });
}

void ReferenceBackend::fft2(const Array& x, FftDirection direction, Array& y) {
  submit("fft2", [=]() mutable {
    const auto rows = static_cast<std::size_t>(x.shape()[1]);
    const auto columns = static_cast<std::size_t>(x.shape()[2]);
    const std::vector<Complex> in = complex_values_of(x);
    std::vector<Complex> out;
    for (std::size_t first = 0; first < in.size(); first += rows * columns) {
      const auto from = in.begin() + static_cast<std::ptrdiff_t>(first);
      std::vector<Complex> image(from, from + static_cast<std::ptrdiff_t>(rows * columns));
      dft2(image, rows, columns, direction);
      out.insert(out.end(), image.begin(), image.end());
    }
    store(out, y);
  });
}

void ReferenceBackend::far_field_intensity(const Array& object, const Array& probe, Array& y) {
  submit("far_field_intensity", [=]() mutable {
    const auto h = static_cast<std::size_t>(object.shape()[1]);
    const auto w = static_cast<std::size_t>(object.shape()[2]);
    const std::vector<Complex> sample = complex_values_of(object);
    const std::vector<Complex> light = complex_values_of(probe);
    std::vector<double> out(sample.size());
    for (std::size_t first = 0; first < sample.size(); first += h * w) {
      for (std::size_t mode = 0; mode < light.size(); mode += h * w) {
        std::vector<Complex> wave(h * w);
        for (std::size_t i = 0; i < h * w; ++i) wave[i] = light[mode + i] * sample[first + i];
        dft2(wave, h, w, FftDirection::kForward);
        for (std::size_t r = 0; r < h; ++r) {
          for (std::size_t c = 0; c < w; ++c) {
            out[first + (r + h / 2) % h * w + (c + w / 2) % w] += std::norm(wave[r * w + c]);
          }
        }
      }
    }
    store(out, y);
  });
}

void ReferenceBackend::r_factor_sums(const Array& predicted, const Array& measured, Array& sums) {
  submit("r_factor_sums", [=]() mutable {
    const std::vector<double> model = values_of(predicted);
    const std::vector<double> data = values_of(measured);
    const auto pixels = static_cast<std::size_t>(measured.shape()[1] * measured.shape()[2]);
    std::vector<double> out(static_cast<std::size_t>(sums.elements()), 0.0);
    for (std::size_t i = 0; i < data.size(); ++i) {
      if (!is_count(data[i])) continue;
      out[2 * (i / pixels)] += std::abs(std::sqrt(data[i]) - std::sqrt(std::max(0.0, model[i])));
      out[2 * (i / pixels) + 1] += std::sqrt(data[i]);
    }
    store(out, sums);
  });
}

void ReferenceBackend::stitch(const Array& object, const Array& weight, const Array& corners,
                              std::int64_t border, const CanvasSums& canvas) {
  submit("stitch", [=] {
    const std::vector<Complex> patches = complex_values_of(object);
    const std::vector<double> weights = values_of(weight);
    const std::vector<double> places = values_of(corners);
    const std::int64_t h = object.shape()[1];
    const std::int64_t w = object.shape()[2];
    const auto units = [](double v) {
      if (std::isnan(v)) return 0LL;
      return std::llrint(std::clamp(v, -kStitchLimit, kStitchLimit) * kStitchUnitsPerOne);
    };
    const auto add = [&](std::int64_t pixel, double share, Complex value) {
      canvas.object[2 * pixel] += units(share * value.real());
      canvas.object[2 * pixel + 1] += units(share * value.imag());
      canvas.coverage[pixel] += units(share);
    };
    for (std::int64_t image = 0; image < object.shape()[0]; ++image) {
      const double row = places[static_cast<std::size_t>(2 * image)];
      const double column = places[static_cast<std::size_t>(2 * image + 1)];
      const auto r0 = static_cast<std::int64_t>(std::floor(row));
      const auto c0 = static_cast<std::int64_t>(std::floor(column));
      const double fr = row - std::floor(row);
      const double fc = column - std::floor(column);
      const std::int64_t down = fr > 0 ? 1 : 0;
      const std::int64_t right = fc > 0 ? 1 : 0;
      for (std::int64_t r = border; r < h - border; ++r) {
        for (std::int64_t c = border; c < w - border; ++c) {
          const auto from = static_cast<std::size_t>(r * w + c);
          const Complex value = patches[static_cast<std::size_t>(image * h * w) + from];
          for (std::int64_t dr = 0; dr <= down; ++dr) {
            for (std::int64_t dc = 0; dc <= right; ++dc) {
              const double share = (dr == 0 ? 1 - fr : fr) * (dc == 0 ? 1 - fc : fc);
              add((r0 + r + dr) * canvas.columns + c0 + c + dc, share * weights[from], value);
            }
          }
        }
      }
      for (std::int64_t r = border; r < h - border + down; ++r) {
        for (std::int64_t c = border; c < w - border + right; ++c) {
          ++canvas.count[(r0 + r) * canvas.columns + c0 + c];
        }
      }
    }
  });
}

}  // namespace

std::unique_ptr<Backend> make_reference_backend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace ptynet
