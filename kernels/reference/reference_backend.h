// Every operation as its definition reads, in double, without libraries or threads: the oracle of
// the other backends, and where gradients are held against differences.
#pragma once

#include <complex>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "kernels/backend.h"

namespace ptynet::reference {

using Complex = std::complex<double>;

// Any real array as doubles; none of an empty one.
std::vector<double> values_of(const Array& a);
// c64, or real pairs [.., 2].
std::vector<Complex> complex_values_of(const Array& a);
// To f32, f64, bf16 or f16; to c64 or real pairs [.., 2]. An empty array is an output nobody wants.
void store(const std::vector<double>& values, Array& y);
void store(const std::vector<Complex>& values, Array& y);

// As many zeros as the array has elements.
inline std::vector<double> zeros_like(const Array& a) {
  return std::vector<double>(static_cast<std::size_t>(a.elements()));
}

// Index of [n, h, w, c] in an array of shape s.
inline std::size_t at(const Shape& s, std::int64_t n, std::int64_t h, std::int64_t w,
                      std::int64_t c) {
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

class ReferenceReplay;

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  Device device() const override { return {}; }
  bool computes_in(Precision precision) const override { return precision == Precision::kF32; }
  Allocator& allocator() override { return *allocator_; }
  void set_allocator(Allocator* allocator) override {
    allocator_ = allocator != nullptr ? allocator : &pool_;
  }

  void release_unused() override { pool_.trim(); }
  std::size_t bytes_held() const override { return pool_.bytes_held(); }
  void rehearse(const std::function<void()>& work) override;
  std::unique_ptr<Replay> record(const std::function<void()>& work) override;
  void synchronize() override {}
  std::unique_ptr<Event> event() override;
  double seconds_between(const Event& from, const Event& to) override;
  void copy(const Array& from, Array& to) override;
  void zero(Array& x) override;
  void random_uniform(std::uint64_t seed, std::string_view stream, float low, float high,
                      Array& y) override;

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
  void photon_noise(const Array& expected, std::uint64_t seed, const Array& first,
                    Array& counts) override;
  void vary_spectra(const Array& spectrum, const ProbeSeries& series, const Array& first,
                    Array& y) override;
  void r_factor_sums(const Array& predicted, const Array& measured, Array& sums) override;
  void stitch(const Array& object, const Array& weight, const Array& corners, std::int64_t border,
              const CanvasSums& canvas) override;

  void conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                       const ConvOptions& o, OperandGradients& d) override;
  void conv_transpose2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                 const ConvOptions& o, OperandGradients& d) override;
  void batch_norm_training(const Array& x, BatchNormParameters& p, BatchStatistics& batch,
                           Array& y) override;
  void batch_norm_gradient(const Array& x, const BatchStatistics& batch, const Activation& a,
                           const Array& dy, OperandGradients& d) override;
  void activation_gradient(const OutputGradient& out, const Activation& a, Array& dx) override;
  void max_pool2d_gradient(const Array& x, std::int64_t kernel, const Array& dy,
                           Array& dx) override;
  void upsample_bilinear2d_gradient(const Array& dy, std::int64_t scale, Array& dx) override;
  void slice_channels(const Array& x, std::int64_t first, Array& y) override;
  void output_heads_gradient(const Array& d_amplitude, const Array& d_phase,
                             const OutputHead& amplitude_head, const OutputHead& phase_head,
                             Array& dx) override;
  void diffract(const ExitWave& wave, Array& far, Array& intensity) override;
  void diffract_gradient(const ExitWave& wave, Array& far, const Array& d_intensity,
                         ExitWave& d) override;
  void intensity_loss(IntensityLoss kind, const Array& predicted, const Array& measured,
                      double factor, Array& sums, Array& d_predicted) override;
  void patch_error(const ExitWave& patch, const ExitWave& target, const Array& weight,
                   double factor, Array& sums, ExitWave& d) override;
  void object_error(const ExitWave& patch, const Array& target, const Array& weight, double factor,
                    Array& sums, ExitWave& d) override;
  void multiply(const Array& x, const Array& factor, Array& y) override;
  void adam(const AdamOptions& options, const std::vector<AdamTensor>& tensors, Array& state,
            Array& scaling) override;
  void keep_power(Array& x, double power) override;
  void draw_objects(const ObjectSeries& series, const Array& first, Array& amplitude,
                    Array& phase) override;
  void take_windows(const StepQueue& queue, const Array& canvas, const Array& corners,
                    Array& y) override;
  void take_rate(const StepQueue& queue, double factor, Array& rate) override;
  void put_rows(const StepQueue& queue, const Array& x, Array& rows) override;
  void advance(StepQueue& queue, std::int64_t n) override;

 private:
  // Does the step now, or adds it to the recording under way.
  void submit(std::string_view operation, std::function<void()> step);

  MemoryPool pool_;
  Allocator* allocator_ = &pool_;
  ReferenceReplay* recording_ = nullptr;
};

}  // namespace ptynet::reference
