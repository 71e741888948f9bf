// The CUDA backend: one device, one stream. Its kernels are those of this folder, cuDNN's and
// cuBLASLt's convolutions beside them, and cuFFT.
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <tuple>

#include "kernels/context.h"
#include "kernels/cuda/conv_candidates.h"
#include "kernels/cuda/fft.h"
#include "kernels/cuda/fused_convs.h"
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/runtime.h"

namespace ptynet::cuda {

class CudaReplay;

// Of this library: it changes with every kernel.
std::string_view build_id();

// Why kernels do not run there, or nothing.
std::string why_unusable(const DeviceFacts& facts);

// Throws Error (runtime) when the device cannot be used, saying why.
std::unique_ptr<Backend> make_backend(const ContextOptions& options);

// Arrays of the pool are free for the next operation as soon as nobody holds them: all work
// is on one stream, in the order it was asked for (but for copies beside it, see beside()).
class CudaBackend final : public Backend {
 public:
  // On the current device, which is options.device and has these facts.
  CudaBackend(const ContextOptions& options, DeviceFacts facts);
  ~CudaBackend() override;

  std::string_view name() const override { return "cuda"; }
  Device device() const override { return {DeviceKind::kCuda, index_}; }
  std::string description() const override;
  bool computes_in(Precision precision) const override;
  Allocator& allocator() override { return *allocator_; }
  void set_allocator(Allocator* allocator) override;
  Array staging(const Shape& shape, DType type) override;
  void release_unused() override;
  std::size_t bytes_held() const override { return pool_.bytes_held(); }
  void rehearse(const std::function<void()>& work) override;
  std::unique_ptr<Replay> record(const std::function<void()>& work) override;
  void beside(const std::function<void()>& work) override;
  void synchronize() override;
  std::unique_ptr<Event> event() override;
  double seconds_between(const Event& from, const Event& to) override;
  ConvChoices* choices() override { return &choices_; }
  void copy(const Array& from, Array& to) override;
  void zero(Array& x) override;
  void random_uniform(std::uint64_t seed, std::string_view stream, float low, float high,
                      Array& y) override;

  void conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
              Array& y) override;
  void conv_transpose2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                        Array& y) override;
  void conv_pair(const Array& x, const ConvLayer& first, const ConvLayer& second,
                 Array& y) override;
  bool fuses(const Array& x, const ConvLayer& first, const ConvLayer& second) override;
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

  // Training.
  void batch_norm_training(const Array& x, BatchNormParameters& p, BatchStatistics& batch,
                           Array& y) override;
  void batch_norm_gradient(const Array& x, const BatchStatistics& batch, const Activation& a,
                           const Array& dy, OperandGradients& d) override;
  void conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                       const ConvOptions& o, OperandGradients& d) override;
  void conv_transpose2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                 const ConvOptions& o, OperandGradients& d) override;
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
  using Step = std::function<void(Stream)>;
  // Does the step now, or adds it to the recording under way. `operation` and the shape of `shown`
  // name it.
  void submit(std::string_view operation, const Array& shown, Step step);
  // Of a full device, what nobody uses is given back first.
  std::shared_ptr<void> allocate_raw(std::size_t bytes);
  // Scratch memory for a step; a recording that is not planned by an arena keeps it alive.
  Array scratch(const Shape& shape, DType type);
  bool recording() const { return recording_ != nullptr; }
  // The step that is submitted next updates them in place.
  void updates(std::initializer_list<Array> arrays);
  // A table for kernels to read, which lives as long as the recording under way.
  Array on_device(const Array& host);

  // A convolution and its arrays. `task` says what the arrays mean.
  struct Convolution {
    ConvTask task;
    Array x;
    Array w;  // f32; of a gradient by the weights: dz, of x's type
    Array b;  // f32 or empty
    Array y;  // of x's type or f32
    bool constant_weights = false;
  };
  static ConvTask task_of(const Shape& x, Precision precision, const ConvLayer& layer);
  void convolve(const Convolution& c);
  // A 16-bit network's last layer writes f32: its candidate does, or what it wrote is converted.
  static bool is_wide(const Convolution& c);
  static bool is_widened(const ConvCandidate& candidate, const Convolution& c);
  using Candidates = std::vector<std::shared_ptr<ConvCandidate>>;
  const Candidates& library_candidates(const Convolution& c);
  static std::string choice_key(const Convolution& c);
  Array zeros(std::int64_t count);  // f32, at least so many
  // What computes it: the fastest candidate, timed where a recording first asks for it, or the
  // suggested one.
  std::shared_ptr<ConvCandidate> candidate_for(const Convolution& c);
  std::shared_ptr<ConvCandidate> fastest(const Convolution& c, const Candidates& candidates,
                                         ConvChoice& choice);
  std::optional<double> time_of(const std::shared_ptr<ConvCandidate>& candidate,
                                const Convolution& c);
  // `narrow` is where a result that is converted lies before, else empty.
  static Step step_of(const std::shared_ptr<ConvCandidate>& candidate, const Convolution& c,
                      const void* weights, void* workspace, const Array& narrow);
  // `run`, which writes `narrow`, and then the conversion of that to y; `run` where it is empty.
  static Step widened(Step run, Array narrow, Array y);
  static bool is_on_vector(const Array& array);  // of 16 bytes, as all memory of ours is
  void mark_used(const std::string& task);       // by the recording under way, if there is one
  // The weights as a kernel wants them, packed (conv_transpose.h) or not, once `prepare` has run.
  struct Weights {
    const void* data = nullptr;
    Step prepare;  // none where they serve as they are
    std::vector<Array> memory;
  };
  static Weights weights_for(const Convolution& c, bool packed, Allocator& memory);
  // For a step: constant ones are prepared here, once for a recording.
  Weights step_weights(const Convolution& c, bool packed);

  // Gradients of convolutions. The first gives the derivative by the biased sum, dz, where it is
  // wanted, and d_bias unless that is empty.
  Array sum_gradient(const OutputGradient& out, const Activation& a, bool wanted, Array& d_bias);
  Array as_type(DType type, const Array& a);  // itself, or a converted copy
  // x and dz as ConvTask has them.
  void weight_gradient(ConvTask conv, const Array& x, const Array& dz, const Array& dw);

  // Two convolutions; what is between them has an array only where they run one by one.
  struct Pair {
    Convolution first;
    Convolution second;
  };
  Pair pair_of(const Array& x, const ConvLayer& first, const ConvLayer& second,
               const Array& y) const;
  static ConvPairTask task_of(const Pair& pair);
  // `narrow` as step_of() has it.
  static Step fused_step(const FusedConv& way, const Pair& pair, const Weights& first,
                         const Weights& second, const Array& narrow);
  ConvChoice time_pair(const Array& x, const ConvLayer& first, const ConvLayer& second);

  // Of f32 arrays it is what the context was asked for.
  Precision precision_of(const Array& array) const;
  struct Images {
    int n, h, w;
  };
  FftPlan& plan(const Images& images);  // of their transforms
  Array transform_space(const FftPlan& plan);

  int index_;
  DeviceFacts facts_;
  bool tf32_;
  bool tune_;
  OwnStream stream_;
  MemoryPool pool_;
  Allocator* allocator_;
  std::unique_ptr<Libraries> libraries_;  // made when first asked
  std::map<std::string, Candidates> library_candidates_;
  ConvChoices choices_;
  Array zeros_;
  std::map<std::tuple<int, int, int>, std::unique_ptr<FftPlan>> plans_;
  CudaReplay* recording_ = nullptr;
  bool rehearsing_ = false;  // the recording is thrown away: nothing is prepared for it
};

}  // namespace ptynet::cuda
