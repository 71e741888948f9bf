#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>

#include "kernels/backend.h"
#include "kernels/scoped_value.h"

namespace ptynet {

namespace {

double value_at(const Array& a, std::int64_t i) {
  switch (a.dtype()) {
    case DType::kF32:
      return double{a.data<float>()[i]};
    case DType::kF64:
      return a.data<double>()[i];
    case DType::kBf16:
      return double{widen(a.data<Bfloat16>()[i])};
    case DType::kF16:
      return double{widen(a.data<Half>()[i])};
    case DType::kI32:
      return static_cast<double>(a.data<std::int32_t>()[i]);
    default:
      fail_runtime("cannot compare arrays of ", name_of(a.dtype()));
  }
}

// Complex arrays are compared by their parts.
Array real_parts(const Array& a) {
  if (a.dtype() != DType::kC64) return a;
  return Array::view(const_cast<void*>(a.data()), {a.elements() * 2}, DType::kF32);
}

// The two must also agree where one is NaN.
void expect_close(std::string_view operation, const Array& tested_output,
                  const Array& oracle_output, double tolerance) {
  const Array tested = real_parts(tested_output);
  const Array oracle = real_parts(oracle_output);
  double largest = 0;
  double worst = -1;
  std::int64_t place = 0;
  for (std::int64_t i = 0; i < oracle.elements(); ++i) {
    const double a = value_at(tested, i);
    const double b = value_at(oracle, i);
    largest = std::max(largest, std::abs(b));
    double difference = std::abs(a - b);
    if (std::isnan(difference)) {
      difference = a == b || (std::isnan(a) && std::isnan(b)) ? 0.0 : INFINITY;
    }
    if (difference > worst) {
      worst = difference;
      place = i;
    }
  }
  if (!(worst <= tolerance * largest)) {  // so that a tolerance of NaN passes nothing
    fail_runtime("check of ", operation, " ", describe(tested_output), ": element ", place,
                 " expected ", value_at(oracle, place), ", found ", value_at(tested, place),
                 ", difference ", worst, " over ", tolerance, " of ", largest);
  }
}

// Host backends only: it reads both results directly.
class CheckBackend final : public Backend {
 public:
  CheckBackend(std::unique_ptr<Backend> tested, std::unique_ptr<Backend> oracle, double tolerance)
      : tested_(std::move(tested)), oracle_(std::move(oracle)), tolerance_(tolerance) {}

  std::string_view name() const override { return "check"; }
  Device device() const override { return tested_->device(); }
  bool computes_in(Precision precision) const override {
    return tested_->computes_in(precision) && oracle_->computes_in(precision);
  }
  Allocator& allocator() override { return tested_->allocator(); }
  void set_allocator(Allocator* allocator) override { tested_->set_allocator(allocator); }
  std::string description() const override { return tested_->description(); }
  Array staging(const Shape& shape, DType type) override { return tested_->staging(shape, type); }
  ConvChoices* choices() override { return tested_->choices(); }
  std::size_t bytes_held() const override { return tested_->bytes_held(); }
  void release_unused() override {
    tested_->release_unused();
    oracle_->release_unused();
  }
  void rehearse(const std::function<void()>& work) override {
    const ScopedValue recording(recording_, true);
    tested_->rehearse(work);
  }
  // Recordings hold the tested backend's steps alone: what they do was checked when run eagerly.
  std::unique_ptr<Replay> record(const std::function<void()>& work) override {
    const ScopedValue recording(recording_, true);
    return tested_->record(work);
  }
  void beside(const std::function<void()>& work) override { tested_->beside(work); }
  void synchronize() override { tested_->synchronize(); }
  std::unique_ptr<Event> event() override { return tested_->event(); }
  double seconds_between(const Event& from, const Event& to) override {
    return tested_->seconds_between(from, to);
  }
  void copy(const Array& from, Array& to) override { tested_->copy(from, to); }
  void zero(Array& x) override { tested_->zero(x); }
  void random_uniform(std::uint64_t seed, std::string_view stream, float low, float high,
                      Array& y) override {
    both("random_uniform", {y},
         [&](Backend& on, Arrays& r) { on.random_uniform(seed, stream, low, high, r[0]); });
  }
  void conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
              Array& y) override {
    both("conv2d", {y}, [&](Backend& on, Arrays& r) { on.conv2d(x, w, b, o, r[0]); });
  }
  void conv_transpose2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                        Array& y) override {
    both("conv_transpose2d", {y},
         [&](Backend& on, Arrays& r) { on.conv_transpose2d(x, w, b, o, r[0]); });
  }
  void conv_pair(const Array& x, const ConvLayer& first, const ConvLayer& second,
                 Array& y) override {
    both("conv_pair", {y}, [&](Backend& on, Arrays& r) { on.conv_pair(x, first, second, r[0]); });
  }
  bool fuses(const Array& x, const ConvLayer& first, const ConvLayer& second) override {
    return tested_->fuses(x, first, second);
  }
  void batch_norm(const Array& x, const BatchNormParameters& p, Array& y) override {
    both("batch_norm", {y}, [&](Backend& on, Arrays& r) { on.batch_norm(x, p, r[0]); });
  }
  void activation(const Array& x, const Activation& a, Array& y) override {
    both("activation", {y}, [&](Backend& on, Arrays& r) { on.activation(x, a, r[0]); });
  }
  void max_pool2d(const Array& x, std::int64_t kernel, Array& y) override {
    both("max_pool2d", {y}, [&](Backend& on, Arrays& r) { on.max_pool2d(x, kernel, r[0]); });
  }
  void upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) override {
    both("upsample_bilinear2d", {y},
         [&](Backend& on, Arrays& r) { on.upsample_bilinear2d(x, scale, r[0]); });
  }
  void add(const Array& a, const Array& b, Array& y) override {
    both("add", {y}, [&](Backend& on, Arrays& r) { on.add(a, b, r[0]); });
  }
  void concat_channels(std::span<const Array> parts, Array& y) override {
    both("concat_channels", {y}, [&](Backend& on, Arrays& r) { on.concat_channels(parts, r[0]); });
  }
  void input_rule(const Array& frames, const Array& mask, const InputRule& rule,
                  Array& y) override {
    both("input_rule", {y},
         [&](Backend& on, Arrays& r) { on.input_rule(frames, mask, rule, r[0]); });
  }
  void output_heads(const Array& x, const OutputHead& amplitude_head, const OutputHead& phase_head,
                    Array& amplitude, Array& phase) override {
    both("output_heads", {amplitude, phase}, [&](Backend& on, Arrays& r) {
      on.output_heads(x, amplitude_head, phase_head, r[0], r[1]);
    });
  }
  void compose_object(const Array& amplitude, const Array& phase, Array& object) override {
    both("compose_object", {object},
         [&](Backend& on, Arrays& r) { on.compose_object(amplitude, phase, r[0]); });
  }
  void fft2(const Array& x, FftDirection direction, Array& y) override {
    both("fft2", {y}, [&](Backend& on, Arrays& r) { on.fft2(x, direction, r[0]); });
  }
  void far_field_intensity(const Array& object, const Array& probe, Array& y) override {
    both("far_field_intensity", {y},
         [&](Backend& on, Arrays& r) { on.far_field_intensity(object, probe, r[0]); });
  }
  void photon_noise(const Array& expected, std::uint64_t seed, const Array& first,
                    Array& counts) override {
    both("photon_noise", {counts},
         [&](Backend& on, Arrays& r) { on.photon_noise(expected, seed, first, r[0]); });
  }
  void vary_spectra(const Array& spectrum, const ProbeSeries& series, const Array& first,
                    Array& y) override {
    both("vary_spectra", {y},
         [&](Backend& on, Arrays& r) { on.vary_spectra(spectrum, series, first, r[0]); });
  }
  void r_factor_sums(const Array& predicted, const Array& measured, Array& sums) override {
    both("r_factor_sums", {sums},
         [&](Backend& on, Arrays& r) { on.r_factor_sums(predicted, measured, r[0]); });
  }
  // Integer sums are equal exactly.
  void stitch(const Array& object, const Array& weight, const Array& corners, std::int64_t border,
              const CanvasSums& canvas) override {
    if (recording_) return tested_->stitch(object, weight, corners, border, canvas);
    const std::int64_t pixels = canvas.rows * canvas.columns;
    std::vector<std::int64_t> sums(canvas.object, canvas.object + 2 * pixels);
    std::vector<std::int64_t> coverage(canvas.coverage, canvas.coverage + pixels);
    std::vector<std::uint32_t> count(canvas.count, canvas.count + pixels);
    CanvasSums oracle_canvas = canvas;
    oracle_canvas.object = sums.data();
    oracle_canvas.coverage = coverage.data();
    oracle_canvas.count = count.data();
    oracle_->stitch(object, weight, corners, border, oracle_canvas);
    tested_->stitch(object, weight, corners, border, canvas);
    if (!std::equal(sums.begin(), sums.end(), canvas.object) ||
        !std::equal(coverage.begin(), coverage.end(), canvas.coverage) ||
        !std::equal(count.begin(), count.end(), canvas.count)) {
      fail_runtime("check of stitch ", describe(object), ": the canvases differ");
    }
  }

  void conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                       const ConvOptions& o, OperandGradients& d) override {
    both("conv2d_gradient", {d.x, d.w, d.b}, [&](Backend& on, Arrays& r) {
      OperandGradients found{r[0], r[1], r[2]};
      on.conv2d_gradient(x, w, out, o, found);
    });
  }
  void conv_transpose2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                 const ConvOptions& o, OperandGradients& d) override {
    both("conv_transpose2d_gradient", {d.x, d.w, d.b}, [&](Backend& on, Arrays& r) {
      OperandGradients found{r[0], r[1], r[2]};
      on.conv_transpose2d_gradient(x, w, out, o, found);
    });
  }
  void batch_norm_training(const Array& x, BatchNormParameters& p, BatchStatistics& batch,
                           Array& y) override {
    both(
        "batch_norm_training",
        {y, p.running_mean, p.running_var, batch.mean, batch.inverse_std, batch.scale, batch.shift},
        [&](Backend& on, Arrays& r) {
          BatchNormParameters moved = p;
          moved.running_mean = r[1];
          moved.running_var = r[2];
          BatchStatistics found{r[3], r[4], r[5], r[6]};
          on.batch_norm_training(x, moved, found, r[0]);
        });
  }
  void batch_norm_gradient(const Array& x, const BatchStatistics& batch, const Activation& a,
                           const Array& dy, OperandGradients& d) override {
    both("batch_norm_gradient", {d.x, d.w, d.b}, [&](Backend& on, Arrays& r) {
      OperandGradients found{r[0], r[1], r[2]};
      on.batch_norm_gradient(x, batch, a, dy, found);
    });
  }
  void activation_gradient(const OutputGradient& out, const Activation& a, Array& dx) override {
    both("activation_gradient", {dx},
         [&](Backend& on, Arrays& r) { on.activation_gradient(out, a, r[0]); });
  }
  void max_pool2d_gradient(const Array& x, std::int64_t kernel, const Array& dy,
                           Array& dx) override {
    both("max_pool2d_gradient", {dx},
         [&](Backend& on, Arrays& r) { on.max_pool2d_gradient(x, kernel, dy, r[0]); });
  }
  void upsample_bilinear2d_gradient(const Array& dy, std::int64_t scale, Array& dx) override {
    both("upsample_bilinear2d_gradient", {dx},
         [&](Backend& on, Arrays& r) { on.upsample_bilinear2d_gradient(dy, scale, r[0]); });
  }
  void slice_channels(const Array& x, std::int64_t first, Array& y) override {
    both("slice_channels", {y}, [&](Backend& on, Arrays& r) { on.slice_channels(x, first, r[0]); });
  }
  void output_heads_gradient(const Array& d_amplitude, const Array& d_phase,
                             const OutputHead& amplitude_head, const OutputHead& phase_head,
                             Array& dx) override {
    both("output_heads_gradient", {dx}, [&](Backend& on, Arrays& r) {
      on.output_heads_gradient(d_amplitude, d_phase, amplitude_head, phase_head, r[0]);
    });
  }
  // The far field is kept in each backend's own order: the oracle computes one of its own.
  void diffract(const ExitWave& wave, Array& far, Array& intensity) override {
    Array own = recording_ ? Array() : Array::host(far.shape(), far.dtype());
    both("diffract", {intensity}, [&](Backend& on, Arrays& r) {
      on.diffract(wave, &on == oracle_.get() ? own : far, r[0]);
    });
  }
  void diffract_gradient(const ExitWave& wave, Array& far, const Array& d_intensity,
                         ExitWave& d) override {
    Array own;
    if (!recording_) {
      own = Array::host(far.shape(), far.dtype());
      Array intensity = Array::host(d_intensity.shape(), d_intensity.dtype());
      oracle_->diffract(wave, own, intensity);
    }
    both("diffract_gradient", {d.amplitude, d.phase, d.probe}, [&](Backend& on, Arrays& r) {
      ExitWave found{r[0], r[1], r[2]};
      on.diffract_gradient(wave, &on == oracle_.get() ? own : far, d_intensity, found);
    });
  }
  void intensity_loss(IntensityLoss kind, const Array& predicted, const Array& measured,
                      double factor, Array& sums, Array& d_predicted) override {
    both("intensity_loss", {sums, d_predicted}, [&](Backend& on, Arrays& r) {
      on.intensity_loss(kind, predicted, measured, factor, r[0], r[1]);
    });
  }
  void patch_error(const ExitWave& patch, const ExitWave& target, const Array& weight,
                   double factor, Array& sums, ExitWave& d) override {
    both("patch_error", {sums, d.amplitude, d.phase}, [&](Backend& on, Arrays& r) {
      ExitWave found{r[1], r[2], {}};
      on.patch_error(patch, target, weight, factor, r[0], found);
    });
  }
  void object_error(const ExitWave& patch, const Array& target, const Array& weight, double factor,
                    Array& sums, ExitWave& d) override {
    both("object_error", {sums, d.amplitude, d.phase}, [&](Backend& on, Arrays& r) {
      ExitWave found{r[1], r[2], {}};
      on.object_error(patch, target, weight, factor, r[0], found);
    });
  }
  void multiply(const Array& x, const Array& factor, Array& y) override {
    both("multiply", {y}, [&](Backend& on, Arrays& r) { on.multiply(x, factor, r[0]); });
  }
  void adam(const AdamOptions& options, const std::vector<AdamTensor>& tensors, Array& state,
            Array& scaling) override {
    Arrays updated{state, scaling};
    for (const AdamTensor& t : tensors) {
      updated.insert(updated.end(), {t.value, t.first_moment, t.second_moment});
    }
    both("adam", updated, [&](Backend& on, Arrays& r) {
      std::vector<AdamTensor> own;
      for (std::size_t i = 0; i < tensors.size(); ++i) {
        own.push_back({r[3 * i + 2], tensors[i].gradient, r[3 * i + 3], r[3 * i + 4]});
      }
      on.adam(options, own, r[0], r[1]);
    });
  }
  void keep_power(Array& x, double power) override {
    both("keep_power", {x}, [&](Backend& on, Arrays& r) { on.keep_power(r[0], power); });
  }
  void draw_objects(const ObjectSeries& series, const Array& first, Array& amplitude,
                    Array& phase) override {
    both("draw_objects", {amplitude, phase},
         [&](Backend& on, Arrays& r) { on.draw_objects(series, first, r[0], r[1]); });
  }
  void take_windows(const StepQueue& queue, const Array& canvas, const Array& corners,
                    Array& y) override {
    both("take_windows", {y},
         [&](Backend& on, Arrays& r) { on.take_windows(queue, canvas, corners, r[0]); });
  }
  void take_rate(const StepQueue& queue, double factor, Array& rate) override {
    both("take_rate", {rate}, [&](Backend& on, Arrays& r) { on.take_rate(queue, factor, r[0]); });
  }
  void put_rows(const StepQueue& queue, const Array& x, Array& rows) override {
    both("put_rows", {rows}, [&](Backend& on, Arrays& r) { on.put_rows(queue, x, r[0]); });
  }
  void advance(StepQueue& queue, std::int64_t n) override {
    both("advance", {queue.cursor}, [&](Backend& on, Arrays& r) {
      StepQueue moved{queue.order, queue.rates, r[0]};
      on.advance(moved, n);
    });
  }

 private:
  using Arrays = std::vector<Array>;

  // `results` are what the operation writes or updates. The oracle goes first, on copies of them,
  // so that both update the same values.
  template <typename Run>
  void both(std::string_view operation, Arrays results, Run&& run) {
    if (recording_) return run(*tested_, results);
    Arrays expected;
    for (const Array& a : results) expected.push_back(a.empty() ? Array() : a.clone());
    run(*oracle_, expected);
    run(*tested_, results);
    for (std::size_t i = 0; i < results.size(); ++i) {
      const std::string what = i == 0 ? std::string(operation) : text(operation, ", result ", i);
      if (!results[i].empty()) expect_close(what, results[i], expected[i], tolerance_);
    }
  }

  std::unique_ptr<Backend> tested_;
  std::unique_ptr<Backend> oracle_;
  double tolerance_;
  bool recording_ = false;
};

}  // namespace

std::unique_ptr<Backend> make_check_backend(std::unique_ptr<Backend> tested,
                                            std::unique_ptr<Backend> oracle, double tolerance) {
  return std::make_unique<CheckBackend>(std::move(tested), std::move(oracle), tolerance);
}

}  // namespace ptynet
