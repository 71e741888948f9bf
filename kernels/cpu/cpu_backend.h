// The CPU backend: oneDNN for convolutions, FFTW for transforms, OpenMP loops for the rest.
#pragma once

#include <map>
#include <tuple>

#include "kernels/backend.h"
#include "kernels/cpu/fft.h"
#include "kernels/thread_scope.h"

namespace ptynet::cpu {

class CpuReplay;
class BoundPrimitive;
struct ConvolutionProblem;
struct WeightShape;

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads);

  std::string_view name() const override { return "cpu"; }
  Device device() const override { return {}; }
  // bf16 where the CPU has instructions for it: else the first operation says that it has not.
  bool computes_in(Precision precision) const override {
    return precision == Precision::kF32 || precision == Precision::kBf16;
  }
  Allocator& allocator() override { return *allocator_; }
  void set_allocator(Allocator* allocator) override;
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
  void conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                       const ConvOptions& o, OperandGradients& d) override;
  void conv_transpose2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                 const ConvOptions& o, OperandGradients& d) override;
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
  using Step = std::function<void()>;
  // Does the step now, or adds it to the recording under way.
  void submit(std::string_view operation, const Array& shown, Step step);
  // A step with weights to prepare: once when it is recorded with constant ones, else every time.
  void submit_prepared(std::string_view operation, const Array& shown, bool constant,
                       const Step& prepare, const Step& compute);
  // Scratch memory for a step; a recording that is not planned by an arena keeps it alive.
  Array scratch(const Shape& shape, DType type);
  // Memory for what is made of weights: the step's own where they are constant, which keeps it.
  Array weight_memory(const Shape& shape, DType type, bool constant) {
    return constant ? Array::host(shape, type) : scratch(shape, type);
  }
  struct Convolution;
  void convolve(ConvolutionProblem problem, const Convolution& c);
  template <typename Description>
  void submit_convolution(const ConvolutionProblem& problem, const Convolution& c,
                          const Description& description,
                          const std::vector<BoundPrimitive>& pieces);
  Array ungrouped(const ConvolutionProblem& problem, const WeightShape& shape, Convolution& c);
  // dz = dy * slope, the derivative by the sum that the activation was applied to; dy itself where
  // there is none. Sums dz to the bias's derivative, unless `d_bias` is empty.
  Array sum_gradient(const OutputGradient& out, const Activation& a, bool wanted, Array& d_bias);
  void data_gradient(ConvolutionProblem problem, const Array& w, const Array& dz, Array& dx);
  // dw in the order and the groups of `problem`; `after` follows, in the same step.
  void weight_gradient(const ConvolutionProblem& problem, const Array& x, const Array& dz,
                       float* dw, const Array& shown, const Step& after);
  void grouped_weight_gradient(ConvolutionProblem problem, const Array& x, const Array& dz,
                               Array& dw);
  // A convolution with so few outputs that it pays to compute its taps as channels (thin_conv.cpp).
  static bool is_thin(const Array& x, const Array& w, const ConvOptions& o);
  void thin_conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o, Array& y);
  void wide_conv2d(std::string_view kind, const Array& x, const Array& w, const Array& b,
                   const ConvOptions& o, Array& y);
  bool recording() const { return recording_ != nullptr; }
  const Fft2<float>& plan(std::int64_t rows, std::int64_t columns, FftDirection direction);

  int threads_;
  MemoryPool pool_;
  Allocator* allocator_;
  CpuReplay* recording_ = nullptr;
  bool rehearsing_ = false;  // the recording is thrown away: nothing is prepared for it
  std::map<std::tuple<std::int64_t, std::int64_t, FftDirection>, std::unique_ptr<Fft2<float>>>
      plans_;
};

}  // namespace ptynet::cpu
