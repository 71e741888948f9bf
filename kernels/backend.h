// The one list of operations a device offers. A new device is a new Backend.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/allocator.h"
#include "kernels/array.h"
#include "kernels/math.h"
#include "kernels/precision.h"

namespace ptynet {

struct ObjectSeries;  // kernels/drawing.h
struct ProbeSeries;   // kernels/probe_variation.h

// Shapes below: n frames, h rows, w columns, c channels; arrays inside the network are
// channels-last. Arrays are contiguous, on the backend's device, and `y` is allocated by the
// caller. Operands were checked by who calls (autograd/operations.h); a backend checks only what
// it cannot do, with Error (runtime).

struct ConvOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;  // zeros on all four sides, px
  std::int64_t groups = 1;
  Activation activation;  // applied to the biased sum
  // Weights and bias will not change while a recording lives: they may be reordered once.
  bool constant_weights = false;
};

// A convolution without its operand: weights and bias as conv2d() or conv_transpose2d() takes them.
struct ConvLayer {
  Array w;
  Array b;
  ConvOptions options;
  bool transposed = false;
};
// Of what the layer makes of x [n, h, w, ci].
Shape output_shape(const Shape& x, const ConvLayer& layer);

struct BatchNormParameters {  // each [c]
  Array weight;
  Array bias;
  Array running_mean;
  Array running_var;
  float epsilon = 1e-5F;
  float momentum = 0.1F;    // training: the share of a batch in the running statistics
  Activation activation{};  // applied to what was normalised, scaled and shifted
};

// Of one batch, per channel [c]: what normalised it, y = activation((x - mean) * scale + shift). As
// the parameters f32, also where x is of 16 bits.
struct BatchStatistics {
  Array mean;
  Array inverse_std;  // 1 / sqrt(variance + epsilon), the variance being the biased one
  Array scale;        // weight * inverse_std
  Array shift;        // the bias, and what rounding took from the mean
};

// Derivatives of the loss by an operation's operands. Those left empty are not wanted and not
// computed; the others are overwritten.
struct OperandGradients {
  Array x;
  Array w;
  Array b;
};

// What a forward operation gave, and the derivative of the loss by it.
struct OutputGradient {
  const Array& y;
  const Array& dy;
};

// The probe as real pairs (re, im) [modes, h, w, 2], the object as amplitude and phase (rad)
// [n, h, w]: complex numbers do not cross the tape.
struct ExitWave {
  Array amplitude;
  Array phase;
  Array probe;
};

// One trained tensor: all four of one shape and type; value and both moments are updated.
struct AdamTensor {
  Array value;
  Array gradient;
  Array first_moment;
  Array second_moment;
};

// The steps of an epoch, which find their own operands: one recording is replayed for each of them,
// and the host has nothing to say in between. All arrays are on the device.
struct StepQueue {
  Array order;   // i32 [frames]: which windows are taken, one step after the other
  Array rates;   // f64 [steps]: learning rates
  Array cursor;  // i32 [2]: frames and steps that are done
};

// How detector counts become the network's input.
enum class InputQuantity : std::uint8_t { kIntensity, kAmplitude };
enum class InputScale : std::uint8_t { kNone, kFrameMax, kScanMax };
struct InputRule {
  InputQuantity quantity = InputQuantity::kAmplitude;
  InputScale scale = InputScale::kFrameMax;
  float epsilon = 1e-6F;  // kFrameMax: value / (maximum over the frame's good pixels + epsilon)
  float factor = 1.0F;    // kScanMax: counts * factor / scan_max, before the root
  float scan_max = 0.0F;  // kScanMax: the largest good count of the scan, set by the job
  bool operator==(const InputRule&) const = default;
};

// A channel of the network's output: value * scale + offset; channel -1 means all ones.
struct OutputHead {
  int channel = -1;
  float scale = 1.0F;
  float offset = 0.0F;
  bool operator==(const OutputHead&) const = default;
};

// Sums of a canvas in stitch_units() (kernels/math.h).
struct CanvasSums {
  std::int64_t* object = nullptr;    // [rows, columns, 2]: sum of weight * patch, re and im
  std::int64_t* coverage = nullptr;  // [rows, columns] sum of weight
  std::uint32_t* count = nullptr;    // [rows, columns] frames that touched the pixel
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

// A sequence of operations with all its addresses fixed. run() allocates nothing and may be called
// from any one thread at a time. It leans on its backend (plans of transforms) and must not outlive
// it.
class Replay {
 public:
  virtual ~Replay() = default;
  virtual void run() = 0;
  // One name per step ("conv2d 3x3 64->64 g2 [1, 32, 32, 64]"), for profiles.
  virtual std::vector<std::string> steps() const = 0;
  // The seconds each step takes, in one run or as the mean of several.
  virtual std::vector<double> time_steps() = 0;
};

// A point in the device's stream of work.
class Event {
 public:
  virtual ~Event() = default;
  virtual void wait() = 0;
  // From now on it is the point that the stream has come to here.
  virtual void renew() = 0;
};

// Which of a device's ways to compute a convolution, or a pair of them, was the fastest when all
// were timed.
struct ConvChoice {
  std::string chosen;
  std::map<std::string, double> seconds;  // of every way, by name
  bool used = false;                      // by a recording of this backend
};
using ConvChoices = std::map<std::string, ConvChoice>;  // by what is computed

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;
  virtual Device device() const = 0;
  // The device and the versions of what computes on it: choices() hold for the same ones.
  virtual std::string description() const { return std::string(name()); }
  // Whether networks predict in it. Training is in fp32, or tf32 where the context was opened so.
  virtual bool computes_in(Precision precision) const = 0;
  // Where operations take scratch memory from: the pool unless told otherwise.
  virtual Allocator& allocator() = 0;
  virtual void set_allocator(Allocator* allocator) = 0;  // null: back to the pool

  // Host memory that the device copies from and to without waiting.
  virtual Array staging(const Shape& shape, DType type) { return Array::host(shape, type); }

  // Gives memory of the pool that nobody uses back to the device.
  virtual void release_unused() = 0;
  virtual std::size_t bytes_held() const = 0;  // of the pool, used and unused

  // Goes through `work` as record() will, asking the allocator for the same memory in the same
  // order. What it leaves in its outputs is not defined (a device may do the work, to warm up), but
  // what operations update in place (running statistics, trained values) is left as it was.
  virtual void rehearse(const std::function<void()>& work) = 0;
  // Records what `work` asks for instead of doing it (but a device may do the work, to warm up and
  // to time its ways: outputs are not defined before the first run()). Operands and the backend
  // must outlive the Replay.
  virtual std::unique_ptr<Replay> record(const std::function<void()>& work) = 0;
  // Within record(): what `work` asks for, of arrays that were there before and without scratch
  // memory, may run beside what is recorded after it. It begins when all before it is done; the
  // recording ends when both have. Its results are for the next run: what comes after it neither
  // needs them nor touches its operands, and a device that does the work to warm up leaves them as
  // they were. Elsewhere, and where a device has one queue, it is done where it stands.
  virtual void beside(const std::function<void()>& work) { work(); }
  // What record() chose among, and chooses from without timing; null where there is no choice.
  virtual ConvChoices* choices() { return nullptr; }
  virtual void synchronize() = 0;
  virtual std::unique_ptr<Event> event() = 0;  // after all work so far
  virtual double seconds_between(const Event& from, const Event& to) = 0;
  virtual void copy(const Array& from, Array& to) = 0;  // between host and device, or within
  virtual void zero(Array& x) = 0;
  // y[i] = low + (high - low) * uniform(i) of CounterRandom(seed, stream); f32.
  virtual void random_uniform(std::uint64_t seed, std::string_view stream, float low, float high,
                              Array& y) = 0;

  // x [n, h, w, ci], w [co, kh, kw, ci / groups], b [co] f32 or empty; y [n, oh, ow, co], f32 or
  // bf16 as x or f32.
  virtual void conv2d(const Array& x, const Array& w, const Array& b, const ConvOptions& o,
                      Array& y) = 0;
  // x [n, h, w, ci], w [ci, kh, kw, co / groups] (a convolution's weights, seen from its output),
  // b [co] or empty; y [n, oh, ow, co], oh = (h - 1) * stride - 2 * padding + kh.
  virtual void conv_transpose2d(const Array& x, const Array& w, const Array& b,
                                const ConvOptions& o, Array& y) = 0;
  // y = second(first(x)), of which only y is wanted: what is between them need not reach memory.
  // The default is one after the other, with scratch from allocator(): recorded, it needs an arena.
  virtual void conv_pair(const Array& x, const ConvLayer& first, const ConvLayer& second, Array& y);
  // Whether conv_pair() is one step for these, and, where record() times its ways, the faster one.
  virtual bool fuses(const Array&, const ConvLayer&, const ConvLayer&) { return false; }
  // With stored statistics: activation((x - mean) / sqrt(var + epsilon) * weight + bias) per
  // channel.
  virtual void batch_norm(const Array& x, const BatchNormParameters& p, Array& y) = 0;
  virtual void activation(const Array& x, const Activation& a, Array& y) = 0;
  // Window and stride `kernel`; rows and columns left over are dropped.
  virtual void max_pool2d(const Array& x, std::int64_t kernel, Array& y) = 0;
  // By an integer factor, pixel centres at half-integers (align_corners=False), edges clamped.
  virtual void upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) = 0;
  virtual void add(const Array& a, const Array& b, Array& y) = 0;
  // parts [n, h, w, c_i] one after the other over channels; y [n, h, w, sum c_i].
  virtual void concat_channels(std::span<const Array> parts, Array& y) = 0;

  // frames [n, h, w] of u8, u16, u32, i32 or f32; mask [h, w] u8 (1 good) or empty; y [n, h, w, 1].
  // Bad pixels enter as 0 and do not count for the maximum: masked ones, and those whose value
  // is_count() (kernels/math.h) refuses.
  virtual void input_rule(const Array& frames, const Array& mask, const InputRule& rule,
                          Array& y) = 0;
  // x [n, h, w, c] -> amplitude, phase (rad) f32 [n, h, w].
  virtual void output_heads(const Array& x, const OutputHead& amplitude_head,
                            const OutputHead& phase_head, Array& amplitude, Array& phase) = 0;
  // object = amplitude * exp(i phase); c64 [n, h, w].
  virtual void compose_object(const Array& amplitude, const Array& phase, Array& object) = 0;
  // x, y c64 [n, h, w], which may be the same; forward exp(-i 2 pi), unnormalised; the inverse
  // carries 1 / (h w).
  virtual void fft2(const Array& x, FftDirection direction, Array& y) = 0;
  // I = sum over modes of |fftshift(fft2(probe * object))|^2; object c64 [n, h, w], probe c64
  // [modes, h, w], or [n, modes, h, w], one for each frame; y f32 [n, h, w].
  virtual void far_field_intensity(const Array& object, const Array& probe, Array& y) = 0;
  // Per frame: sums[.][0] = sum |sqrt I - sqrt I_predicted|, sums[.][1] = sum sqrt I over good
  // pixels (is_count(measured)); measured, predicted f32 [n, h, w], sums f64 [n, 2].
  virtual void r_factor_sums(const Array& predicted, const Array& measured, Array& sums) = 0;
  // Adds weight * patch with its first pixel at corners[i] = (row, column) px of the canvas, f64
  // [n, 2]. Whole corners land on pixels, fractional ones are spread bilinearly. object c64
  // [n, h, w], weight f32 [h, w]; border px at each edge of a patch are left out.
  virtual void stitch(const Array& object, const Array& weight, const Array& corners,
                      std::int64_t border, const CanvasSums& canvas) = 0;

  // Training. Derivatives of the loss are named d and the value they belong to, and are of its
  // element type; weights and theirs are f32. The reference backend also takes f64. On CUDA
  // activations may be bf16 or f16 from the first layer to the last, whose y and dy stay f32.

  // o.activation is part of the operation: its derivative is taken from y.
  virtual void conv2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                               const ConvOptions& o, OperandGradients& d) = 0;
  virtual void conv_transpose2d_gradient(const Array& x, const Array& w, const OutputGradient& out,
                                         const ConvOptions& o, OperandGradients& d) = 0;
  // Normalises with the batch's own statistics over n, h and w, which it leaves in `batch`, and
  // moves the running ones: running += momentum * (batch - running), the variance with n h w - 1.
  virtual void batch_norm_training(const Array& x, BatchNormParameters& p, BatchStatistics& batch,
                                   Array& y) = 0;
  // From what batch_norm_training() left in `batch`. The activation's slope is taken from y, which
  // is computed from x once more, by normalised() (kernels/math.h) in the type of `batch` as it was
  // the first time, before it was rounded to 16 bits: cheaper than to read it.
  virtual void batch_norm_gradient(const Array& x, const BatchStatistics& batch,
                                   const Activation& a, const Array& dy, OperandGradients& d) = 0;
  // y = x * factor, f64 [1]. What is f32 is multiplied in f32.
  virtual void multiply(const Array& x, const Array& factor, Array& y) = 0;
  // dx = dy * slope, from the activated y (kernels/math.h, activation_slope).
  virtual void activation_gradient(const OutputGradient& out, const Activation& a, Array& dx) = 0;
  // To the first largest value of each window, in row order; 0 for what was dropped.
  virtual void max_pool2d_gradient(const Array& x, std::int64_t kernel, const Array& dy,
                                   Array& dx) = 0;
  virtual void upsample_bilinear2d_gradient(const Array& dy, std::int64_t scale, Array& dx) = 0;
  // y = channels [first, first + y's) of x.
  virtual void slice_channels(const Array& x, std::int64_t first, Array& y) = 0;
  // d_amplitude and d_phase [n, h, w], or empty where nothing depends on one; dx is 0 in channels
  // that no head reads.
  virtual void output_heads_gradient(const Array& d_amplitude, const Array& d_phase,
                                     const OutputHead& amplitude_head, const OutputHead& phase_head,
                                     Array& dx) = 0;

  // I = sum over modes of |fftshift(fft2(probe * amplitude * exp(i phase)))|^2, [n, h, w]. `far`
  // [n, modes, h, w, 2] keeps the far field, in the backend's own order, for the gradient.
  virtual void diffract(const ExitWave& wave, Array& far, Array& intensity) = 0;
  // `far` as diffract() left it; it is used up. d's members may be empty. The probe's gradient sums
  // over frames in a fixed order.
  virtual void diffract_gradient(const ExitWave& wave, Array& far, const Array& d_intensity,
                                 ExitWave& d) = 0;
  // The mean over the batch's good pixels (is_count(measured)) of IntensityLoss (kernels/math.h),
  // times `factor`: its derivative goes to d_predicted (0 on bad pixels; may be empty: not wanted).
  // sums f64 [n, 4], per frame: loss before mean and factor, good pixels, and r_factor_sums().
  virtual void intensity_loss(IntensityLoss kind, const Array& predicted, const Array& measured,
                              double factor, Array& sums, Array& d_predicted) = 0;
  // factor * sum w ((amplitude - target)^2 + (phase - target)^2) / (n sum w), w [h, w] or empty for
  // ones. sums f64 [n, 2], per frame: both sums over sum w. Derivatives may be empty.
  virtual void patch_error(const ExitWave& patch, const ExitWave& target, const Array& weight,
                           double factor, Array& sums, ExitWave& d) = 0;
  // factor * sum w |amplitude exp(i phase) - target|^2 / (n sum w), target [n, h, w, 2] (re, im).
  // sums f64 [n], per frame, over sum w.
  virtual void object_error(const ExitWave& patch, const Array& target, const Array& weight,
                            double factor, Array& sums, ExitWave& d) = 0;
  // One step of Adam for all tensors. state f64 [2]: the learning rate, which the caller writes,
  // and the steps done, which this adds one to. scaling f64 [3]: a LossScale (kernels/math.h), by
  // which the gradients are divided; where one is not finite, the step is left out. Empty: they are
  // taken as they are.
  virtual void adam(const AdamOptions& options, const std::vector<AdamTensor>& tensors,
                    Array& state, Array& scaling) = 0;
  // x *= sqrt(power / sum x^2), unless x is all zeros.
  virtual void keep_power(Array& x, double power) = 0;

  // Simulation of patterns, which have numbers in an endless series: pattern i of a call is number
  // first[0] + i, f64 [1] on the device, whole and below 2^53. One recording makes any of them.

  // amplitude and phase (rad) f32 [n, h, w] of objects. Whether a pixel on the very edge of a thing
  // belongs to it may differ between devices.
  virtual void draw_objects(const ObjectSeries& series, const Array& first, Array& amplitude,
                            Array& phase) = 0;
  // counts[i] = a sample of the expected counts by poisson_sample() (kernels/poisson.h), at pixel p
  // from the numbers of photon_stream(seed, first + i) at p, p + h w, p + 2 h w, ...; f32 [n, h,
  // w]. `counts` may be `expected`. All host backends give the same; a GPU, whose logarithms round
  // otherwise, may take another sample for one pixel in millions.
  virtual void photon_noise(const Array& expected, std::uint64_t seed, const Array& first,
                            Array& counts) = 0;
  // y[i] = the spectrum of the probe under draw_variation(series, first + i), without its inverse
  // transform; spectrum c64 [modes, h, w] (fft2 of the probe), y c64 [n, modes, h, w].
  virtual void vary_spectra(const Array& spectrum, const ProbeSeries& series, const Array& first,
                            Array& y) = 0;

  // With `frames` and `steps` from queue.cursor; what is read beyond the queue's end is not
  // defined. y[i] = the window of `canvas` f32 [rows, columns] or [rows, columns, c] that begins at
  // corners[order[frames + i]], (row, column) i32 [m, 2]; y [n, h, w] or [n, h, w, c]. All windows
  // lie within the canvas: frames one below the other are one too.
  virtual void take_windows(const StepQueue& queue, const Array& canvas, const Array& corners,
                            Array& y) = 0;
  // rate f64 [1] = factor * rates[steps].
  virtual void take_rate(const StepQueue& queue, double factor, Array& rate) = 0;
  // rows[frames + i] = x[i], both f64, of n and of all the epoch's frames.
  virtual void put_rows(const StepQueue& queue, const Array& x, Array& rows) = 0;
  // The step is done, and n frames are.
  virtual void advance(StepQueue& queue, std::int64_t n) = 0;
};

// Naive loops in double, without libraries: the oracle of the others. Arrays of f32 or f64.
std::unique_ptr<Backend> make_reference_backend();

// oneDNN, FFTW and OpenMP on `threads` threads (0: as many as the machine has).
std::unique_ptr<Backend> make_cpu_backend(int threads);

// Runs every operation on both and throws Error (runtime) naming operation, shape and worst
// element where |tested - oracle| > tolerance * (largest magnitude of the oracle's output).
std::unique_ptr<Backend> make_check_backend(std::unique_ptr<Backend> tested,
                                            std::unique_ptr<Backend> oracle, double tolerance);

}  // namespace ptynet
