#include "engine/workload.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "engine/canvas_session.h"
#include "engine/choice_cache.h"
#include "engine/trainer.h"
#include "kernels/random.h"

namespace ptynet {

namespace {

constexpr float kMostCounts = 100.0F;  // of a pixel of the made-up frames

template <typename T>
Array as_counts(const Array& values) {
  Array out = Array::host(values.shape(), DTypeOf<T>::kValue);
  std::transform(values.data<float>(), values.data<float>() + values.elements(), out.data<T>(),
                 [](float v) { return static_cast<T>(v); });
  return out;
}

Array made_up_frames(const SessionOptions& session) {
  Array values =
      uniform_values({session.batch, session.height, session.width}, kMostCounts, "frames");
  switch (session.frame_type) {
    case DType::kU8:
      return as_counts<std::uint8_t>(values);
    case DType::kU16:
      return as_counts<std::uint16_t>(values);
    case DType::kU32:
      return as_counts<std::uint32_t>(values);
    case DType::kI32:
      return as_counts<std::int32_t>(values);
    default:
      return values;
  }
}

class ToPatches final : public Workload {
 public:
  ToPatches(const Architecture& architecture, const StateDict& state, const SessionOptions& options,
            const Array& frames)
      : session_(architecture, state, options),
        frames_(frames),
        amplitude_(Array::host(frames.shape(), DType::kF32)),
        phase_(Array::host(frames.shape(), DType::kF32)) {}
  void call() override { session_.run(frames_, amplitude_, phase_); }
  std::vector<StepTime> profile() override { return session_.profile(); }
  std::size_t arena_bytes() const override { return session_.arena_bytes(); }
  Context& context() override { return session_.context(); }

 private:
  Session session_;
  Array frames_;
  Array amplitude_;
  Array phase_;
};

class Finetuning final : public Workload {
 public:
  Finetuning(const Architecture& architecture, const StateDict& state,
             const SessionOptions& options, const Array& frames)
      : trainer_(architecture, state, trainer_options(options)), batch_{frames, {}, {}, {}} {
    const Shape& batch = frames.shape();
    // The same frames for every step, each time in memory of their own, as a scan has them.
    Array scan = Array::host({batch[0] * steps_per_call(), batch[1], batch[2]}, DType::kF32);
    for (std::int64_t step = 0; step < steps_per_call(); ++step) {
      std::memcpy(scan.slice(step * batch[0], batch[0]).data(), frames.data(), frames.bytes());
    }
    order_.resize(static_cast<std::size_t>(scan.shape()[0]));
    std::iota(order_.begin(), order_.end(), std::int64_t{0});
    trainer_.keep({scan, order_, {}, {}});
  }
  void call() override {
    const std::int64_t steps = steps_per_call();
    trainer_.begin_epoch(order_,
                         std::vector<double>(static_cast<std::size_t>(steps), kLearningRate));
    for (std::int64_t i = 0; i < steps; ++i) trainer_.next_step();
    trainer_.outcomes();
  }
  // As an epoch of 256 frames in batches of 16 has; the CPU has done each step when it returns.
  std::int64_t steps_per_call() const override {
    return trainer_.context().device().kind == DeviceKind::kCpu ? 1 : 16;
  }
  std::vector<StepTime> profile() override { return trainer_.profile(batch_); }
  std::size_t arena_bytes() const override { return trainer_.arena_bytes(); }
  Context& context() override { return trainer_.context(); }

 private:
  static constexpr double kLearningRate = 1e-7;  // values stay where they are

  static TrainerOptions trainer_options(const SessionOptions& session) {
    const Array pairs = uniform_values({1, session.height, session.width, 2}, 1.0F, "probe");
    DiffractionObjective objective;
    objective.probe = Array::host({1, session.height, session.width}, DType::kC64);
    std::memcpy(objective.probe.data(), pairs.data(), pairs.bytes());
    TrainerOptions options;
    options.context = session.context;
    options.precision = session.precision;
    options.height = session.height;
    options.width = session.width;
    options.batch = session.batch;
    options.input_rule = session.input_rule;
    options.objective = objective;
    return options;
  }

  Trainer trainer_;
  TrainingBatch batch_;
  std::vector<std::int64_t> order_;
};

// One frame after the other along a row, a quarter of its extent on, on a canvas four frames wide.
class ToCanvas final : public Workload {
 public:
  ToCanvas(const Architecture& architecture, const StateDict& state, const SessionOptions& options,
           const Array& frames)
      : session_(architecture, state, options, canvas_of(options)) {
    for (int slot = 0; slot < 2; ++slot) {  // both rooms once: from then on calls only push
      std::memcpy(session_.frames().data(), frames.data(), frames.bytes());
      double* corner = session_.corners().data<double>();
      for (std::int64_t i = 0; i < options.batch; ++i) {
        *corner++ = 0.5;
        *corner++ = 0.25 * static_cast<double>(i % 12 * options.width);
      }
      session_.push();
    }
  }
  void call() override { session_.push(); }
  std::vector<StepTime> profile() override { return session_.profile(); }
  std::size_t arena_bytes() const override { return session_.arena_bytes(); }
  Context& context() override { return session_.context(); }

 private:
  static CanvasOptions canvas_of(const SessionOptions& options) {
    CanvasOptions canvas;
    canvas.rows = options.height + 1;
    canvas.columns = 4 * options.width;
    return canvas;
  }

  CanvasSession session_;
};

class OnDevice final : public Workload {
 public:
  OnDevice(const Architecture& architecture, const StateDict& state, const SessionOptions& options,
           const Array& frames)
      : predictor_(architecture, state, options),
        frames_(on_device(context(), frames)),
        amplitude_(context().allocate(frames.shape(), DType::kF32)),
        phase_(context().allocate(frames.shape(), DType::kF32)),
        replay_(context(), [this] { predictor_.predict(frames_, amplitude_, phase_); }) {
    save_choices(choice_file(), context().backend());
  }
  void call() override {
    replay_.run();
    context().backend().synchronize();
  }
  std::vector<StepTime> profile() override { return replay_.profile(); }
  std::size_t arena_bytes() const override { return replay_.arena_bytes(); }
  Context& context() override { return predictor_.context(); }

 private:
  Predictor predictor_;
  Array frames_;
  Array amplitude_;
  Array phase_;
  PlannedReplay replay_;
};

}  // namespace

Array uniform_values(const Shape& shape, float high, std::string_view name) {
  Array array = Array::host(shape, DType::kF32);
  const CounterRandom random(0, name);
  auto* values = array.data<float>();
  for (std::int64_t i = 0; i < array.elements(); ++i) {
    values[i] = high * static_cast<float>(random.uniform(static_cast<std::uint64_t>(i)));
  }
  return array;
}

std::unique_ptr<Workload> make_workload(const Architecture& architecture, const StateDict& state,
                                        const BenchOptions& options) {
  SessionOptions wanted = options.session;
  InputRule rule = wanted.input_rule.value_or(architecture.input);
  if (rule.scale == InputScale::kScanMax) rule.scan_max = kMostCounts;
  wanted.input_rule = rule;
  const Array frames = made_up_frames(wanted);
  if (options.finetune) {
    if (wanted.frame_type != DType::kF32) fail_input("fine-tuning takes frames of f32");
    return std::make_unique<Finetuning>(architecture, state, wanted, frames);
  }
  switch (options.path) {
    case BenchPath::kPatches:
      return std::make_unique<ToPatches>(architecture, state, wanted, frames);
    case BenchPath::kCanvas:
      return std::make_unique<ToCanvas>(architecture, state, wanted, frames);
    case BenchPath::kDevice:
      return std::make_unique<OnDevice>(architecture, state, wanted, frames);
  }
  return nullptr;
}

}  // namespace ptynet
