// Training on a CUDA device (cuda_device.h).
#include <cmath>
#include <cstring>

#include "engine/bench.h"
#include "engine/trainer.h"
#include "kernels/random.h"
#include "tests/cuda_on_cpu/cuda_device.h"

using namespace ptynet;
using namespace ptynet::tests;

namespace {

constexpr std::int64_t kSide = 16;
constexpr std::int64_t kFrames = 5;

Array values(const char* name, const Shape& shape, double low, double high) {
  const CounterRandom random(5, name);
  Array out = Array::host(shape, DType::kF32);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    const double u = random.uniform(static_cast<std::uint64_t>(i));
    out.data<float>()[i] = static_cast<float>(low + (high - low) * u);
  }
  return out;
}

Array complex_values(const char* name, const Shape& shape) {
  const Array pairs = values(name, {2 * shape.elements()}, -1, 1);
  Array out = Array::host(shape, DType::kC64);
  std::memcpy(out.data(), pairs.data(), pairs.bytes());
  return out;
}

// Counts, with a few bad pixels.
Array frames() {
  Array out = values("frames", {kFrames, kSide, kSide}, 0, 3000);
  for (std::int64_t i = 40; i < out.elements(); i += 97) out.data<float>()[i] = -1;
  return out;
}

struct Variant {
  std::string architecture = "ptynet-s";
  Precision precision = Precision::kF32;
  double consistency = 0;
  bool update_probe = false;
  std::int64_t batch = 2;
  IntensityLoss loss = IntensityLoss::kL1;

  std::size_t steps() const { return static_cast<std::size_t>((kFrames + batch - 1) / batch); }
};

// Where the network does not matter: the twin takes seconds for a step of PtyNet-S.
Architecture tiny() {
  return parse_architecture(R"({
    "name": "tiny", "input": {"quantity": "amplitude", "scale": "frame_max", "epsilon": 1e-6},
    "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1}},
    "layers": [
      {"type": "conv2d", "name": "a", "in": 1, "out": 8, "kernel": 3, "stride": 1, "padding": 1,
       "groups": 1, "bias": true},
      {"type": "conv2d", "name": "b", "in": 8, "out": 2, "kernel": 3, "stride": 1, "padding": 1,
       "groups": 1, "bias": true}]})");
}

Trainer trainer_on(const ContextOptions& context, const Variant& v) {
  const Architecture architecture =
      v.architecture == "tiny" ? tiny() : built_in_architecture(v.architecture);
  TrainerOptions o;
  o.context = context;
  o.precision = v.precision;
  o.height = kSide;
  o.width = kSide;
  o.batch = v.batch;
  DiffractionObjective objective;
  objective.probe = complex_values("probe", {2, kSide, kSide});
  objective.consistency = v.consistency;
  objective.loss = v.loss;
  o.objective = objective;
  return {architecture, bench_state(architecture), o};
}

// In batches of two the last one of an epoch has one frame.
std::vector<StepOutcome> train(Trainer& trainer, const Variant& v, int epochs) {
  TrainingSet set{frames(), {0, 1, 2, 3, 4}, {}, {}};
  if (v.consistency > 0) {
    set.corners = Array::copy_of<std::int32_t>({0, 0, 3, 4, 8, 1, 2, 7, 5, 5}, {kFrames, 2});
    set.canvas = {24, 24};
  }
  trainer.keep(set);
  if (v.consistency > 0) trainer.set_canvas(complex_values("canvas", {24, 24}));
  std::vector<StepOutcome> out;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    std::vector<double> rates{1e-4, 5e-5, 2e-5};
    rates.resize(v.steps());
    trainer.begin_epoch({2, 0, 4, 1, 3}, rates);
    for (std::size_t step = 0; step < v.steps(); ++step) trainer.next_step(v.update_probe);
    for (const StepOutcome& outcome : trainer.outcomes()) out.push_back(outcome);
  }
  return out;
}

double relative(double found, double expected) { return std::abs(found - expected) / expected; }

bool has_cpu() {
  const std::vector<DeviceReport> found = list_devices();
  return !found.empty() && found.front().usable;
}

}  // namespace

TEST_CASE("twelve steps of fine-tuning have the CPU's losses", "[slow]") {
  NEED_CUDA();
  if (!has_cpu()) PTYNET_SKIP("this build has no CPU backend to compare with");
  const Variant variants[] = {{}, {.consistency = 2.0, .update_probe = true}};
  for (const Variant& v : variants) {
    Trainer cuda = trainer_on(on_cuda(), v);
    Trainer cpu = trainer_on({}, v);
    const std::vector<StepOutcome> found = train(cuda, v, 4);
    const std::vector<StepOutcome> expected = train(cpu, v, 4);
    REQUIRE(found.size() == 12);
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO("step " << i << ": " << found[i].loss << " beside " << expected[i].loss);
      CHECK(relative(found[i].loss, expected[i].loss) < 1e-5);
      CHECK(relative(found[i].r_difference, expected[i].r_difference) < 1e-5);
      if (v.consistency > 0) CHECK(relative(found[i].consistency, expected[i].consistency) < 1e-5);
    }
    CHECK(found.back().loss < found.front().loss);
  }
}

void check_same_bytes(const TrainerState& a, const TrainerState& b) {
  for (const auto& [name, tensor] : a.weights) {
    INFO(name);
    CHECK(std::memcmp(tensor.data(), b.weights.at(name).data(), tensor.bytes()) == 0);
  }
  CHECK(std::memcmp(a.probe.data(), b.probe.data(), a.probe.bytes()) == 0);
}

TEST_CASE("the same training gives the same bytes, in fp32 and in tf32", "[slow]") {
  NEED_CUDA();
  for (const Precision precision : {Precision::kF32, Precision::kTf32}) {
    const Variant v{.precision = precision, .update_probe = true};
    Trainer first = trainer_on(on_cuda(), v);
    Trainer second = trainer_on(on_cuda(), v);
    const double loss = train(first, v, 1).back().loss;
    CHECK(train(second, v, 1).back().loss == loss);
    check_same_bytes(first.state(), second.state());
    CHECK(first.state().steps == 3);
  }
}

TEST_CASE("fp16 training goes on from a state with the same bytes") {
  NEED_CUDA();
  const Variant v{.architecture = "tiny", .precision = Precision::kF16, .batch = kFrames};
  Trainer whole = trainer_on(on_cuda(), v);
  train(whole, v, 2);
  Trainer first = trainer_on(on_cuda(), v);
  train(first, v, 1);
  Trainer second = trainer_on(on_cuda(), v);
  second.restore(first.state());
  train(second, v, 1);
  check_same_bytes(whole.state(), second.state());
  const LossScale expected = whole.state().scaling;
  const LossScale found = second.state().scaling;
  CHECK(expected.left_out > 0);  // or the scale says nothing
  CHECK(found.scale == expected.scale);
  CHECK(found.since == expected.since);
  CHECK(found.left_out == expected.left_out);
}

namespace {

// Steps [first, end) of two epochs of three, each in an order of its own.
std::vector<double> losses_of_steps(Trainer& trainer, const Variant& v, std::size_t first,
                                    std::size_t end) {
  const std::vector<std::int64_t> orders[] = {{2, 0, 4, 1, 3}, {3, 1, 0, 4, 2}};
  std::vector<double> out;
  for (std::size_t step = first; step < end; ++step) {
    const std::size_t batch = step % v.steps();
    if (step == first || batch == 0) {
      trainer.begin_epoch(orders[step / v.steps()], {1e-4, 5e-5, 2e-5},
                          static_cast<std::int64_t>(batch));
    }
    trainer.next_step(v.update_probe);
    if (batch + 1 < v.steps() && step + 1 < end) continue;
    for (const StepOutcome& outcome : trainer.outcomes()) out.push_back(outcome.loss);
  }
  return out;
}

}  // namespace

TEST_CASE("frames that do not fit on the device are fetched a step ahead: the same bytes") {
  NEED_CUDA();
  if (!on_twin()) PTYNET_SKIP("a GPU's memory cannot be made smaller");
  const Variant v{.architecture = "tiny", .consistency = 2.0, .update_probe = true};
  TrainingSet set{Array::zeros({std::int64_t{1} << 16, kSide, kSide}, DType::kF32),
                  {0, 1, 2, (1 << 16) - 2, (1 << 16) - 1},
                  Array::copy_of<std::int32_t>({0, 0, 3, 4, 8, 1, 2, 7, 5, 5}, {kFrames, 2}),
                  {24, 24}};
  for (std::size_t i = 0; i < kFrames; ++i) {
    const auto one = static_cast<std::int64_t>(i);
    Array to = set.frames.slice(set.indices[i], 1);
    std::memcpy(to.data(), frames().slice(one, 1).data(), to.bytes());
  }
  // Losses and state at the end of steps [first, end), from a state or from the beginning.
  const auto run = [&](std::size_t first, std::size_t end, const TrainerState* from) {
    Trainer trainer = trainer_on(on_cuda(), v);
    if (from != nullptr) trainer.restore(*from);
    trainer.keep(set);
    trainer.set_canvas(complex_values("canvas", {24, 24}));
    const std::vector<double> losses = losses_of_steps(trainer, v, first, end);
    return std::pair{losses, trainer.state()};
  };
  const auto [losses, resident] = run(0, 6, nullptr);
  const Setting small("PTYNET_TWIN_MEMORY", "60000000");  // the frames have 67 MB
  const auto [losses_ahead, ahead] = run(0, 6, nullptr);
  CHECK(losses_ahead == losses);
  check_same_bytes(ahead, resident);
  for (const std::size_t stop : {1, 5}) {
    CAPTURE(stop);
    const auto [before, state] = run(0, stop, nullptr);
    check_same_bytes(run(stop, 6, &state).second, resident);
  }
}

TEST_CASE("networks with batch norm, pooling and upsampling train as on the CPU", "[slow]") {
  NEED_CUDA();
  if (!has_cpu()) PTYNET_SKIP("this build has no CPU backend to compare with");
  for (const std::string name : {"ptychonn", "ptychonet"}) {
    const Variant v{.architecture = name, .batch = kFrames};
    Trainer cuda = trainer_on(on_cuda(), v);
    Trainer cpu = trainer_on({}, v);
    const std::vector<StepOutcome> found = train(cuda, v, 2);
    const std::vector<StepOutcome> expected = train(cpu, v, 2);
    REQUIRE(found.size() == 2);
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO(name << " step " << i << ": " << found[i].loss << " beside " << expected[i].loss);
      CHECK(relative(found[i].loss, expected[i].loss) < 1e-4);
    }
  }
}

// |found - expected| / |expected| over all elements of all tensors.
double norm_error(const StateDict& found, const StateDict& expected) {
  double off = 0;
  double size = 0;
  for (const auto& [name, tensor] : expected) {
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      const double e = double{tensor.data<float>()[i]};
      off += std::pow(double{found.at(name).data<float>()[i]} - e, 2);
      size += e * e;
    }
  }
  return std::sqrt(off / size);
}

// After one step on all frames, of which Adam's first moment is a share of the gradient. In fp16
// the loss scale of the beginning is too large for some: such steps are left out.
TrainerState after_one_step(const std::string& network, Precision precision) {
  // An l1 loss has slopes of either sign, which rounding turns where it is near its kink.
  const Variant v{.architecture = network,
                  .precision = precision,
                  .batch = kFrames,
                  .loss = IntensityLoss::kAmplitude};
  Trainer trainer = trainer_on(on_cuda(), v);
  for (int tries = 0; tries < 8 && trainer.state().steps < 1; ++tries) train(trainer, v, 1);
  CHECK(trainer.gradients_are_sound());
  return trainer.state();
}

// Where roundings of u put a share of a few u of the activations on the other side of their kinks,
// that share of the gradient's terms changes, and its norm by the root of it.
TEST_CASE("16-bit gradients are those of fp32 but for roundings", "[slow]") {
  NEED_CUDA();
  // With convolutions alone, and with batch norm and upsampling.
  for (const auto& [network, factor] : {std::pair{"ptynet-s", 1.5}, std::pair{"ptychonet", 5.0}}) {
    const TrainerState exact = after_one_step(network, Precision::kF32);
    for (const auto& [precision, unit] :
         {std::pair{Precision::kBf16, 0x1p-9}, std::pair{Precision::kF16, 0x1p-12}}) {
      const TrainerState found = after_one_step(network, precision);
      REQUIRE(found.steps == 1);
      if (precision == Precision::kBf16) CHECK(found.scaling.left_out == 0);
      const double error = norm_error(found.first_moment, exact.first_moment);
      INFO(network << " " << name_of(precision) << ": " << error);
      CHECK(error < factor * std::sqrt(unit));
    }
  }
}

TEST_CASE("twelve 16-bit steps have the losses of fp32", "[slow]") {
  NEED_CUDA();
  const auto losses = [](Precision precision) {
    const Variant v{.precision = precision};
    Trainer trainer = trainer_on(on_cuda(), v);
    const std::vector<StepOutcome> found = train(trainer, v, 4);
    CHECK(trainer.state().scaling.left_out <= (precision == Precision::kF16 ? 6 : 0));
    return found;
  };
  const std::vector<StepOutcome> exact = losses(Precision::kF32);
  for (const Precision precision : {Precision::kBf16, Precision::kF16}) {
    const std::vector<StepOutcome> found = losses(precision);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      INFO(name_of(precision) << " step " << i << ": " << found[i].loss << " beside "
                              << exact[i].loss);
      CHECK(relative(found[i].loss, exact[i].loss) < 0.02);
    }
    CHECK(found.back().loss < found.front().loss);
  }
}

TEST_CASE("16-bit training refuses a network whose last layer gives 16 bits") {
  NEED_CUDA();
  const Architecture network = parse_architecture(R"({
    "name": "sum", "input": {"quantity": "amplitude", "scale": "frame_max", "epsilon": 1e-6},
    "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1}},
    "layers": [
      {"type": "conv2d", "name": "a", "in": 1, "out": 2, "kernel": 1, "stride": 1, "padding": 0,
       "groups": 1, "bias": true},
      {"type": "residual", "shortcut": [],
       "main": [{"type": "conv2d", "name": "b", "in": 2, "out": 2, "kernel": 1, "stride": 1,
                 "padding": 0, "groups": 1, "bias": true}]}]})");
  TrainerOptions o;
  o.context = on_cuda();
  o.precision = Precision::kBf16;
  o.height = o.width = kSide;
  DiffractionObjective objective;
  objective.probe = complex_values("probe", {1, kSide, kSide});
  o.objective = objective;
  Trainer trainer(network, random_state(network, 1, 1.0), o);
  CHECK_THROWS_WITH(trainer.step({frames(), {}, {}, {}}, 1e-4),
                    Catch::Contains("training in bf16 needs a network that ends in a convolution"));
}

TEST_CASE("16-bit training needs a CUDA device") {
  for (const Precision precision : {Precision::kBf16, Precision::kF16}) {
    CHECK_THROWS_WITH(trainer_on({}, {.precision = precision}),
                      Catch::Contains(text("--precision ", name_of(precision),
                                           " trains on a CUDA device alone; cpu trains in fp32")));
  }
}
