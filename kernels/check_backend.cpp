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
  if (worst > tolerance * largest) {
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
  Allocator& allocator() override { return tested_->allocator(); }
  void set_allocator(Allocator* allocator) override { tested_->set_allocator(allocator); }
  void release_unused() override {
    tested_->release_unused();
    oracle_->release_unused();
  }
  void rehearse(const std::function<void()>& work) override { work(); }
  // Recordings hold the tested backend's steps alone: what they do was checked when run eagerly.
  std::unique_ptr<Replay> record(const std::function<void()>& work) override {
    const ScopedValue recording(recording_, true);
    return tested_->record(work);
  }
  void synchronize() override { tested_->synchronize(); }
  std::unique_ptr<Event> event() override { return tested_->event(); }
  double seconds_between(const Event& from, const Event& to) override {
    return tested_->seconds_between(from, to);
  }
  void copy(const Array& from, Array& to) override { tested_->copy(from, to); }
  std::size_t conv2d_workspace(const Array& x, const Array& w, const ConvOptions& o) override {
    return tested_->conv2d_workspace(x, w, o);
  }
  void random_uniform(std::uint64_t seed, std::string_view stream, float low, float high,
                      Array& y) override {
    both("random_uniform", y,
         [&](Backend& b, Array& out) { b.random_uniform(seed, stream, low, high, out); });
  }
  void conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
              Array& y) override {
    both("conv2d", y, [&](Backend& backend, Array& out) { backend.conv2d(x, w, b, o, out); });
  }
  void conv_transpose2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                        Array& y) override {
    both("conv_transpose2d", y,
         [&](Backend& backend, Array& out) { backend.conv_transpose2d(x, w, b, o, out); });
  }
  void batch_norm(const Array& x, const BatchNormParameters& p, Array& y) override {
    both("batch_norm", y, [&](Backend& b, Array& out) { b.batch_norm(x, p, out); });
  }
  void activation(const Array& x, const Activation& a, Array& y) override {
    both("activation", y, [&](Backend& b, Array& out) { b.activation(x, a, out); });
  }
  void max_pool2d(const Array& x, std::int64_t kernel, Array& y) override {
    both("max_pool2d", y, [&](Backend& b, Array& out) { b.max_pool2d(x, kernel, out); });
  }
  void upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) override {
    both("upsample_bilinear2d", y,
         [&](Backend& b, Array& out) { b.upsample_bilinear2d(x, scale, out); });
  }
  void add(const Array& a, const Array& b, Array& y) override {
    both("add", y, [&](Backend& backend, Array& out) { backend.add(a, b, out); });
  }
  void concat_channels(std::span<const Array> parts, Array& y) override {
    both("concat_channels", y, [&](Backend& b, Array& out) { b.concat_channels(parts, out); });
  }
  void input_rule(const Array& frames, const Array& mask, const InputRule& rule,
                  Array& y) override {
    both("input_rule", y, [&](Backend& b, Array& out) { b.input_rule(frames, mask, rule, out); });
  }
  void output_heads(const Array& x, const OutputHead& amplitude_head, const OutputHead& phase_head,
                    Array& amplitude, Array& phase) override {
    Array oracle_phase = Array::host(phase.shape(), phase.dtype());
    both("output_heads", amplitude, [&](Backend& b, Array& out) {
      Array& phase_out = &b == oracle_.get() ? oracle_phase : phase;
      b.output_heads(x, amplitude_head, phase_head, out, phase_out);
    });
    if (!recording_) expect_close("output_heads, phase", phase, oracle_phase, tolerance_);
  }
  void compose_object(const Array& amplitude, const Array& phase, Array& object) override {
    both("compose_object", object,
         [&](Backend& b, Array& out) { b.compose_object(amplitude, phase, out); });
  }
  void fft2(const Array& x, FftDirection direction, Array& y) override {
    both("fft2", y, [&](Backend& b, Array& out) { b.fft2(x, direction, out); });
  }
  void far_field_intensity(const Array& object, const Array& probe, Array& y) override {
    both("far_field_intensity", y,
         [&](Backend& b, Array& out) { b.far_field_intensity(object, probe, out); });
  }
  void r_factor_sums(const Array& predicted, const Array& measured, Array& sums) override {
    both("r_factor_sums", sums,
         [&](Backend& b, Array& out) { b.r_factor_sums(predicted, measured, out); });
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

 private:
  template <typename Run>
  void both(std::string_view operation, Array& y, Run&& run) {
    run(*tested_, y);
    if (recording_) return;
    Array expected = Array::host(y.shape(), y.dtype());
    run(*oracle_, expected);
    expect_close(operation, y, expected, tolerance_);
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
