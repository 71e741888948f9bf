// The recorded training step against PyTorch's (tests/golden/make_training.py) and against itself.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "autograd/losses.h"
#include "engine/trainer.h"
#include "io/npy.h"
#include "io/weights.h"
#include "kernels/random.h"
#include "tests/support.h"

using namespace ptynet;
using ptynet::tests::reference_folder;
using Json = nlohmann::json;

namespace {

const std::string kGolden = PTYNET_SOURCE_DIR "/tests/golden/training/";

Json golden(const std::string& name) {
  std::ifstream file(kGolden + name);
  REQUIRE(file);
  return Json::parse(file);
}

Array in_reference(const std::string& name) { return io::read_npy(*reference_folder() / name); }

// Frames [0, n) of the authors' scan, and their probe.
Array scan_frames(std::int64_t n) {
  return in_reference("data/ptynet-scan-0overlap/intensity.npy").slice(0, n).clone();
}
Array scan_probe() { return in_reference("data/probe.npy").reshape({1, 128, 128}); }

StateDict state_of(const Architecture& architecture, const Json& weights) {
  if (weights.contains("file")) {
    return io::read_weights(*reference_folder() / "weights" / weights["file"].get<std::string>())
        .tensors;
  }
  return random_state(architecture, weights["seed"], weights["gain"]);
}

TrainerOptions options_for(const Array& probe, std::int64_t batch) {
  DiffractionObjective objective;
  objective.probe = probe;
  TrainerOptions options;
  options.context.device = Device{};
  options.height = probe.shape()[1];
  options.width = probe.shape()[2];
  options.batch = batch;
  options.objective = objective;
  return options;
}

// Frames whose counts lie clearly on the side of the prediction that float64 finds them on. Where
// the two agree to rounding the L1 loss's derivative, a sign, is anybody's guess in f32.
Array decided(const Array& frames, const Json& undecided) {
  Array out = frames.clone();
  for (const Json& pixel : undecided) {
    const int side = pixel[1];
    out.data<float>()[pixel[0].get<std::int64_t>()] *= side > 0 ? 0.99F : 1.01F;
  }
  return out;
}

// Every gradient of the first step: its relative L2 error against float64 is at most three times
// the largest of PyTorch's own float32.
void check_first_gradients(const std::string& name) {
  const Json file = golden(name + "-gradients.json");
  const Architecture architecture = built_in_architecture(name);
  const Array frames = scan_frames(file["frames"]);
  const StateDict state = state_of(architecture, file["weights"]);
  Context context;
  Network network(context, architecture, state, {.fold_batch_norm = false});
  Tape tape(context);
  std::map<std::string, Tensor*> by_name;
  for (const Parameter& p : network.parameters()) {
    if (p.trainable) tape.watch(*p.tensor);
    by_name[p.name] = p.tensor;
  }
  const Tensor x = input_rule(context, frames, {}, architecture.input);
  const Tensor y = network.forward(context, x, {.training = true});
  const PatchTensors patch = output_heads(context, y, architecture.amplitude, architecture.phase);
  const Array probe = scan_probe();
  const Tensor pairs(Array::view(const_cast<void*>(probe.data()), {1, 128, 128, 2}, DType::kF32));
  Array sums = Array::zeros({frames.shape()[0], 4}, DType::kF64);
  intensity_loss(context, IntensityLoss::kL1, diffract(context, patch, pairs),
                 decided(frames, file["undecided_pixels"]), 1.0, sums);
  tape.backward();

  const io::NpzFile samples_file(kGolden + name + "-gradients.npz");
  std::size_t looked_at = 0;
  for (const Json& tensor : file["tensors"]) {
    if (tensor["before_batch_norm"]) continue;  // the true gradient is 0
    const std::string of = tensor["name"];
    const Array gradient = channels_second(by_name.at(of)->gradient());
    const Array samples = samples_file.read(of);
    const CounterRandom picks(0, "gradient." + of);
    double squares = 0;
    double error = 0;
    for (std::int64_t i = 0; i < samples.elements(); ++i) {
      const auto at = static_cast<std::int64_t>(picks.uniform(static_cast<std::uint64_t>(i)) *
                                                static_cast<double>(gradient.elements()));
      const double expected = samples.data<double>()[i];
      squares += expected * expected;
      error += std::pow(double{gradient.data<float>()[at]} - expected, 2);
    }
    const double allowed = 3 * std::max(tensor["float32_error_largest"].get<double>(),
                                        tensor["float32_error_samples_largest"].get<double>());
    INFO(of << ": relative error " << std::sqrt(error / squares) << ", allowed " << allowed);
    CHECK(std::sqrt(error / squares) <= allowed);
    ++looked_at;
  }
  CHECK(looked_at > 20);
}

Array random_array(const std::string& name, const Shape& shape, double low, double high) {
  const CounterRandom random(4, name);
  Array out = Array::host(shape, DType::kF32);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<float>()[i] =
        static_cast<float>(low + (high - low) * random.uniform(static_cast<std::uint64_t>(i)));
  }
  return out;
}

Array random_probe(std::int64_t modes, std::int64_t side) {
  const Array pairs = random_array("probe", {modes, side, side, 2}, -1, 1);
  Array out = Array::host({modes, side, side}, DType::kC64);
  std::memcpy(out.data(), pairs.data(), pairs.bytes());
  return out;
}

double power_of(const Array& probe) {
  const auto* p = probe.data<std::complex<float>>();
  double power = 0;
  for (std::int64_t i = 0; i < probe.elements(); ++i)
    power += std::norm(std::complex<double>(p[i]));
  return power;
}

bool same_bytes(const StateDict& a, const StateDict& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& entry) {
           const auto other = b.find(entry.first);
           return other != b.end() && other->second.bytes() == entry.second.bytes() &&
                  std::memcmp(other->second.data(), entry.second.data(), entry.second.bytes()) == 0;
         });
}

struct Small {
  Architecture architecture = built_in_architecture("ptynet-s");
  StateDict state = random_state(architecture, 2);
  Array probe = random_probe(2, 32);
  TrainingBatch batch{random_array("frames", {4, 32, 32}, 0, 3e3), {}, {}, {}};
};

}  // namespace

TEST_CASE("the first gradients of ptynet-s are PyTorch's") {
  PTYNET_NEED_REFERENCE();
  check_first_gradients("ptynet-s");
}

TEST_CASE("the first gradients of ptynet-b are PyTorch's", "[slow]") {
  PTYNET_NEED_REFERENCE();
  check_first_gradients("ptynet-b");
}

TEST_CASE("the first twenty losses of ptynet-s are PyTorch's") {
  PTYNET_NEED_REFERENCE();
  const Json file = golden("fine_tune.json")["ptynet-s"];
  const Architecture architecture = built_in_architecture("ptynet-s");
  const std::int64_t count = file["frames"];
  const std::int64_t batch = file["batch"];
  const Array frames = scan_frames(count);
  Trainer trainer(architecture, state_of(architecture, file["weights"]),
                  options_for(scan_probe(), batch));
  std::size_t step = 0;
  for (std::size_t epoch = 0; step < 20; ++epoch) {
    for (std::int64_t first = 0; first < count; first += batch) {
      const Array part = frames.slice(first, std::min(batch, count - first));
      const StepOutcome outcome =
          trainer.step({part, {}, {}, {}}, file["learning_rate_of_epoch"][epoch]);
      const double expected = file["losses"][step];
      INFO("step " << step << ": " << outcome.loss << ", expected " << expected);
      CHECK(std::abs(outcome.loss / expected - 1) <= 1e-4);
      ++step;
    }
  }
}

TEST_CASE("the first losses and statistics of ptynet-b are PyTorch's", "[slow]") {
  PTYNET_NEED_REFERENCE();
  const Json file = golden("fine_tune.json")["ptynet-b"];
  const Architecture architecture = built_in_architecture("ptynet-b");
  const Array frames = scan_frames(file["frames"]);
  Trainer trainer(architecture, state_of(architecture, file["weights"]),
                  options_for(scan_probe(), file["frames"]));
  // PyTorch's own float32 has several ways to compute, and Adam turns rounding into whole steps:
  // what they differ by from float64, at most, over the five losses; and in the first, before any
  // step.
  std::array<double, 5> spread{};
  for (const Json& losses : file["losses_float32"]) {
    for (std::size_t step = 0; step < 5; ++step) {
      const double deviation =
          std::abs(losses[step].get<double>() / file["losses"][step].get<double>() - 1);
      spread[step] = std::max(spread[step], deviation);
    }
  }
  const double widest = *std::max_element(spread.begin(), spread.end());
  for (std::size_t step = 0; step < 5; ++step) {
    const double loss = trainer.step({frames, {}, {}, {}}, file["rate"]).loss;
    const double expected = file["losses"][step];
    INFO("step " << step << ": " << loss << ", expected " << expected);
    CHECK(std::abs(loss / expected - 1) <= 3 * (step == 0 ? spread[0] : widest));
    if (step > 0) continue;
    // Later statistics follow weights that have drifted apart, in PyTorch too.
    const io::NpzFile statistics(kGolden + "ptynet-b-statistics-1.npz");
    for (const auto& [name, tensor] : trainer.state().weights) {
      if (name.find("running") == std::string::npos) continue;
      const Array wanted = statistics.read(name);
      for (std::int64_t i = 0; i < tensor.elements(); ++i) {
        const double value = wanted.data<double>()[i];
        INFO(name << " " << i);
        CHECK(std::abs(double{tensor.data<float>()[i]} - value) <=
              1e-4 * std::max(std::abs(value), 1e-2));
      }
    }
  }
}

TEST_CASE("steps make a diffraction loss smaller, with several probe modes") {
  const Small small;
  for (const IntensityLoss loss :
       {IntensityLoss::kL1, IntensityLoss::kAmplitude, IntensityLoss::kPoisson}) {
    TrainerOptions options = options_for(small.probe, 4);
    std::get<DiffractionObjective>(options.objective).loss = loss;
    Trainer trainer(small.architecture, small.state, options);
    const double first = trainer.step(small.batch, 1e-3).loss;
    double last = first;
    for (int i = 0; i < 20; ++i) last = trainer.step(small.batch, 1e-3).loss;
    CHECK(last < first);
    CHECK(trainer.trained_values() == 324452);
  }
}

TEST_CASE("a trainer goes on from a state to the same bytes") {
  const Small small;
  TrainerOptions options = options_for(small.probe, 4);
  Trainer undisturbed(small.architecture, small.state, options);
  Trainer first(small.architecture, small.state, options);
  for (int i = 0; i < 3; ++i) {
    undisturbed.step(small.batch, 1e-3, i > 1);
    first.step(small.batch, 1e-3, i > 1);
  }
  Trainer second(small.architecture, random_state(small.architecture, 99), options);
  second.restore(first.state());
  for (int i = 0; i < 3; ++i) {
    undisturbed.step(small.batch, 5e-4, true);
    second.step(small.batch, 5e-4, true);
  }
  CHECK(same_bytes(undisturbed.state().weights, second.state().weights));
  CHECK(same_bytes(undisturbed.state().second_moment, second.state().second_moment));
  CHECK(std::memcmp(undisturbed.probe().data(), second.probe().data(),
                    undisturbed.probe().bytes()) == 0);
  CHECK(second.state().steps == 6);
  CHECK(second.state().probe_steps == 4);
}

TEST_CASE("the caller's weights stay as they are") {
  const Small small;
  StateDict kept;
  for (const auto& [name, tensor] : small.state) kept.emplace(name, tensor.clone());
  Trainer trainer(small.architecture, small.state, options_for(small.probe, 4));
  trainer.step(small.batch, 1e-2);
  CHECK(same_bytes(kept, small.state));
}

TEST_CASE("frozen layers keep their weights, the others do not") {
  const Small small;
  TrainerOptions options = options_for(small.probe, 4);
  options.freeze = {"encoder.*", "*.bias"};
  Trainer trainer(small.architecture, small.state, options);
  trainer.step(small.batch, 1e-3);
  for (const auto& [name, tensor] : trainer.state().weights) {
    const bool frozen = name.starts_with("encoder.") || name.ends_with(".bias");
    INFO(name);
    CHECK((std::memcmp(tensor.data(), small.state.at(name).data(), tensor.bytes()) == 0) == frozen);
  }
  options.freeze = {"decodr.*"};
  CHECK_THROWS_WITH(Trainer(small.architecture, small.state, options),
                    Catch::Contains("'decodr.*'"));
}

TEST_CASE("an updated probe keeps its power, another stays") {
  const Small small;
  TrainerOptions options = options_for(small.probe, 4);
  std::get<DiffractionObjective>(options.objective).probe_rate = 10;
  Trainer trainer(small.architecture, small.state, options);
  trainer.step(small.batch, 1e-3);
  CHECK(std::memcmp(trainer.probe().data(), small.probe.data(), small.probe.bytes()) == 0);
  for (int i = 0; i < 5; ++i) trainer.step(small.batch, 1e-3, true);
  CHECK(std::memcmp(trainer.probe().data(), small.probe.data(), small.probe.bytes()) != 0);
  CHECK(power_of(trainer.probe()) == Approx(power_of(small.probe)).epsilon(1e-5));
}

TEST_CASE("known patches are learned") {
  const Small small;
  TrainerOptions options = options_for(small.probe, 4);
  options.objective = PatchObjective{random_array("weight", {32, 32}, 0, 1)};
  Trainer trainer(small.architecture, small.state, options);
  TrainingBatch batch = small.batch;
  batch.amplitude = random_array("amplitude", {4, 32, 32}, 0.3, 1);
  batch.phase = random_array("phase", {4, 32, 32}, -0.6, 0.6);
  const StepOutcome first = trainer.step(batch, 1e-3);
  CHECK(first.loss == Approx(first.amplitude_error + first.phase_error));
  StepOutcome last = first;
  for (int i = 0; i < 30; ++i) last = trainer.step(batch, 1e-3);
  CHECK(last.loss < 0.8 * first.loss);
  CHECK_THROWS_WITH(trainer.step(small.batch, 1e-3), Catch::Contains("amplitudes"));
}

TEST_CASE("a consistency term draws patches towards the canvas") {
  const Small small;
  TrainerOptions options = options_for(small.probe, 4);
  DiffractionObjective& objective = std::get<DiffractionObjective>(options.objective);
  objective.factor = 0;
  objective.consistency = 1;
  Trainer trainer(small.architecture, small.state, options);
  TrainingBatch batch = small.batch;
  batch.canvas = random_probe(4, 32);
  const StepOutcome first = trainer.step(batch, 1e-3);
  CHECK(first.loss == Approx(first.consistency));
  CHECK(first.intensity > 0);
  StepOutcome last = first;
  for (int i = 0; i < 20; ++i) last = trainer.step(batch, 1e-3);
  CHECK(last.consistency < 0.9 * first.consistency);
}

namespace {

// Frames, and where each one's patch lies on a canvas.
struct SmallScan {
  Array frames = random_array("scan", {6, 32, 32}, 0, 3e3);
  std::vector<std::int64_t> trained{5, 0, 2, 3, 1};  // frame 4 is held out
  std::vector<std::int64_t> order{3, 1, 4, 0, 2};    // places in `trained`
  Array corners = Array::copy_of<std::int32_t>({0, 0, 7, 3, 1, 8, 8, 8, 2, 5}, {5, 2});
  Array canvas = random_probe(1, 40).reshape({40, 40});

  // The batch of places order[first, first + n).
  TrainingBatch batch(std::int64_t first, std::int64_t n) const {
    TrainingBatch out{
        Array::host({n, 32, 32}, DType::kF32), {}, {}, Array::host({n, 32, 32}, DType::kC64)};
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t place = order[static_cast<std::size_t>(first + i)];
      const std::int64_t frame = trained[static_cast<std::size_t>(place)];
      std::memcpy(out.frames.slice(i, 1).data(), frames.slice(frame, 1).data(), 4 * 32 * 32);
      const std::int32_t* corner = corners.data<std::int32_t>() + 2 * place;
      for (std::int64_t r = 0; r < 32; ++r) {
        std::copy_n(canvas.data<std::complex<float>>() + (corner[0] + r) * 40 + corner[1], 32,
                    out.canvas.data<std::complex<float>>() + (i * 32 + r) * 32);
      }
    }
    return out;
  }
};

}  // namespace

TEST_CASE("steps that take frames from the device are those on batches given, to the byte") {
  const Small small;
  const SmallScan scan;
  for (const double consistency : {0.0, 2.0}) {
    TrainerOptions options = options_for(small.probe, 2);
    DiffractionObjective& objective = std::get<DiffractionObjective>(options.objective);
    objective.consistency = consistency;
    objective.probe_rate = 3;
    const bool has_canvas = consistency > 0;
    Trainer given(small.architecture, small.state, options);
    Trainer queued(small.architecture, small.state, options);
    queued.keep({scan.frames, scan.trained, has_canvas ? scan.corners : Array(),
                 has_canvas ? Shape{40, 40} : Shape()});
    if (has_canvas) queued.set_canvas(scan.canvas);
    const std::vector<double> rates{1e-3, 5e-4, 2e-4};
    for (const std::int64_t first : {0, 1}) {  // a whole epoch, and one that goes on
      queued.begin_epoch(scan.order, rates, first);
      CHECK(queued.outcomes().empty());
      std::vector<StepOutcome> expected;
      for (std::int64_t batch = first; batch < 3; ++batch) {
        const bool update_probe = first == 1;
        TrainingBatch of_step = scan.batch(2 * batch, batch == 2 ? 1 : 2);
        if (!has_canvas) of_step.canvas = {};
        expected.push_back(
            given.step(of_step, rates[static_cast<std::size_t>(batch)], update_probe));
        queued.next_step(update_probe);
      }
      const std::vector<StepOutcome> found = queued.outcomes();
      REQUIRE(found.size() == expected.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].loss == expected[i].loss);
        CHECK(found[i].consistency == expected[i].consistency);
        CHECK(found[i].r_total == expected[i].r_total);
      }
      CHECK_THROWS_WITH(queued.next_step(), Catch::Contains("no step 4"));
    }
    CHECK(same_bytes(given.state().weights, queued.state().weights));
    CHECK(same_bytes(given.state().second_moment, queued.state().second_moment));
    CHECK(std::memcmp(given.probe().data(), queued.probe().data(), given.probe().bytes()) == 0);
  }
}

TEST_CASE("epochs that do not fit their frames are refused") {
  const Small small;
  const SmallScan scan;
  TrainerOptions options = options_for(small.probe, 2);
  Trainer trainer(small.architecture, small.state, options);
  CHECK_THROWS_WITH(trainer.next_step(), Catch::Contains("need keep() or"));
  CHECK_THROWS_WITH(trainer.keep({random_array("f", {5, 32, 16}, 0, 1), {0}, {}, {}}),
                    Catch::Contains("f32[m, 32, 32]"));
  CHECK_THROWS_WITH(trainer.keep({scan.frames, {}, {}, {}}), Catch::Contains("at least one"));
  CHECK_THROWS_WITH(trainer.keep({scan.frames, scan.trained, scan.corners, {40, 40}}),
                    Catch::Contains("consistency term"));
  trainer.keep({scan.frames, scan.trained, {}, {}});
  CHECK_THROWS_WITH(trainer.begin_epoch(scan.order, {1e-3}), Catch::Contains("3 rates"));
  CHECK_THROWS_WITH(trainer.begin_epoch({0, 1}, {1e-3}), Catch::Contains("5 frames"));
  CHECK_THROWS_WITH(trainer.set_canvas(scan.canvas), Catch::Contains("found c64[40, 40]"));
  options.objective = PatchObjective{};
  Trainer patches(small.architecture, small.state, options);
  CHECK_THROWS_WITH(patches.keep({scan.frames, scan.trained, {}, {}}),
                    Catch::Contains("diffraction alone"));
  CHECK_THROWS_WITH(trainer.keep_patterns(3), Catch::Contains("known patches alone"));
  CHECK_THROWS_WITH(patches.keep_patterns(0), Catch::Contains("at least one pattern"));
  patches.keep_patterns(3);
  CHECK_THROWS_WITH(patches.begin_epoch({0, 1, 2, 0}, {1, 1}), Catch::Contains("up to 3 frames"));
  CHECK_THROWS_WITH(patches.begin_epoch({0, 1, 2}, {1}), Catch::Contains("2 rates"));
  patches.begin_epoch({1}, {1});
}

TEST_CASE("predictions follow the weights, for any number of frames") {
  const Small small;
  Trainer trainer(small.architecture, small.state, options_for(small.probe, 3));
  const Shape shape{4, 32, 32};
  Array amplitude = Array::host(shape, DType::kF32);
  Array phase = Array::host(shape, DType::kF32);
  Array later = Array::host(shape, DType::kF32);
  trainer.predict(small.batch.frames, amplitude, phase);
  trainer.step({small.batch.frames.slice(0, 3), {}, {}, {}}, 1e-2);
  trainer.predict(small.batch.frames, later, phase);
  CHECK(std::memcmp(amplitude.data(), later.data(), amplitude.bytes()) != 0);

  // The same weights in a network for inference.
  Context context;
  Network network(context, small.architecture, trainer.state().weights);
  const Tensor y = network.forward(
      context, input_rule(context, small.batch.frames, {}, small.architecture.input));
  const PatchTensors patch =
      output_heads(context, y, small.architecture.amplitude, small.architecture.phase);
  for (std::int64_t i = 0; i < later.elements(); ++i) {
    REQUIRE(later.data<float>()[i] ==
            Approx(patch.amplitude.value().data<float>()[i]).epsilon(1e-4).margin(1e-5));
  }
}

TEST_CASE("a trainer refuses what does not fit") {
  const Small small;
  TrainerOptions options = options_for(small.probe, 4);
  Trainer trainer(small.architecture, small.state, options);
  CHECK_THROWS_WITH(trainer.step({random_array("f", {5, 32, 32}, 0, 1), {}, {}, {}}, 1e-3),
                    Catch::Contains("n from 1 to 4"));
  CHECK_THROWS_WITH(trainer.step({random_array("f", {2, 32, 16}, 0, 1), {}, {}, {}}, 1e-3),
                    Catch::Contains("f32[2, 32, 32]"));
  CHECK_THROWS_WITH(trainer.restore({}), Catch::Contains("no tensor"));
  Architecture changed = small.architecture;
  changed.layers.back().activation = {ActivationKind::kLeakyRelu, -0.1F, 0};
  CHECK_THROWS_WITH(Trainer(changed, small.state, options), Catch::Contains("slope 0 or more"));
  changed = small.architecture;
  LayerSpec dropout;
  dropout.type = LayerType::kDropout;
  dropout.probability = 0.5F;
  changed.layers.push_back(dropout);
  CHECK_THROWS_WITH(Trainer(changed, small.state, options), Catch::Contains("dropout"));
  changed = small.architecture;
  changed.input.scale = InputScale::kScanMax;
  CHECK_THROWS_WITH(Trainer(changed, small.state, options), Catch::Contains("largest count"));
  options.height = 64;
  CHECK_THROWS_WITH(Trainer(small.architecture, small.state, options), Catch::Contains("probe"));
}
