// Training patterns simulated on a CUDA device (cuda_device.h), and training on them.
#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>

#include "engine/bench.h"
#include "engine/pattern_simulator.h"
#include "io/png.h"
#include "kernels/random.h"
#include "layers/built_in.h"
#include "tests/cuda_on_cpu/cuda_device.h"

using namespace ptynet;
using namespace ptynet::tests;

namespace {

constexpr std::int64_t kSide = 16;

// Two modes, localised.
Array probe() {
  Array out = Array::host({2, kSide, kSide}, DType::kC64);
  const CounterRandom random(5, "probe");
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    const double r = static_cast<double>(i / kSide % kSide) - 8;
    const double c = static_cast<double>(i % kSide) - 8;
    const double phase = 6.28 * random.uniform(static_cast<std::uint64_t>(i));
    const auto v = std::polar(3 * std::exp(-(r * r + c * c) / 20), phase);
    out.data<std::complex<float>>()[i] = {static_cast<float>(v.real()),
                                          static_cast<float>(v.imag())};
  }
  return out;
}

PatternRecipe recipe(ObjectKind kind) {
  PatternRecipe out;
  out.objects = kind;
  out.ranges.feature_low_px = 4;
  out.ranges.feature_high_px = 12;
  out.probe = probe();
  out.seed = 3;
  return out;
}

std::shared_ptr<const ImageLibrary> pictures() {
  TemporaryFolder folder;
  Array picture = Array::host({20, 24}, DType::kU8);
  for (std::int64_t i = 0; i < picture.elements(); ++i) {
    picture.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * i % 251);
  }
  io::write_png(folder / "one.png", picture);
  return std::make_shared<const ImageLibrary>(folder.path(), kSide, kSide);
}

Patterns simulated(const ContextOptions& on, const PatternRecipe& recipe) {
  Context context(on);
  PatternSimulator series(context, recipe, "training", 2);
  return patterns_on_host(context, series, 11, 5, kSide, kSide);
}

// The largest difference over the largest value.
double difference(const Array& found, const Array& expected) {
  double worst = 0;
  double most = 0;
  for (std::int64_t i = 0; i < expected.elements(); ++i) {
    const double e = expected.data<float>()[i];
    worst = std::max(worst, std::abs(double{found.data<float>()[i]} - e));
    most = std::max(most, std::abs(e));
  }
  return worst / most;
}

bool has_cpu() {
  const std::vector<DeviceReport> found = list_devices();
  return !found.empty() && found.front().usable;
}

Trainer trainer_on(const ContextOptions& context) {
  const Architecture architecture = built_in_architecture("ptynet-s");
  TrainerOptions o;
  o.context = context;
  o.height = o.width = kSide;
  o.batch = 2;
  o.objective = PatchObjective{};
  return {architecture, bench_state(architecture), o};
}

// Two rounds over patterns that are made anew; the last batch of a round has one.
std::vector<StepOutcome> train(const ContextOptions& on) {
  Trainer trainer = trainer_on(on);
  PatternRecipe varied = recipe(ObjectKind::kDeadLeaves);
  varied.jitter = {1, 2, 0.2};
  PatternSimulator series(trainer.context(), varied, "training", 2);
  Patterns& room = trainer.keep_patterns(3);
  std::vector<StepOutcome> out;
  for (const std::uint64_t first : {0, 3}) {
    series.make(first, room);
    trainer.begin_epoch({0, 1, 2}, {1e-4, 5e-5});
    trainer.next_step();
    trainer.next_step();
    for (const StepOutcome& outcome : trainer.outcomes()) out.push_back(outcome);
  }
  return out;
}

}  // namespace

TEST_CASE("patterns simulated on CUDA are the CPU's") {
  NEED_CUDA();
  if (!has_cpu()) PTYNET_SKIP("this build has no CPU backend to compare with");
  for (const ObjectKind kind : {ObjectKind::kDeadLeaves, ObjectKind::kSiemens, ObjectKind::kCells,
                                ObjectKind::kText, ObjectKind::kPictures}) {
    PatternRecipe plain = recipe(kind);
    if (kind == ObjectKind::kPictures) plain.images = pictures();
    PatternRecipe varied = plain;
    varied.jitter = {2, 3, 0.2};
    varied.photons = {{1e3, 1e6}};
    for (const PatternRecipe& r : {plain, varied}) {
      CAPTURE(static_cast<int>(kind), r.jitter.any());
      const Patterns found = simulated(on_cuda(), r);
      const Patterns expected = simulated({}, r);
      CHECK(difference(found.amplitude, expected.amplitude) < 1e-6);
      CHECK(difference(found.phase, expected.phase) < 1e-6);
      CHECK(difference(found.frames, expected.frames) < 1e-5);
    }
  }
}

// A mean that differs by its rounding may give another count here and there, near by.
TEST_CASE("photon noise on CUDA is the CPU's") {
  NEED_CUDA();
  if (!has_cpu()) PTYNET_SKIP("this build has no CPU backend to compare with");
  PatternRecipe noisy = recipe(ObjectKind::kDeadLeaves);
  noisy.noise = Noise::kPoisson;
  const Array found = simulated(on_cuda(), noisy).frames;
  const Array expected = simulated({}, noisy).frames;
  std::int64_t others = 0;
  double counts = 0;
  for (std::int64_t i = 0; i < found.elements(); ++i) {
    const double n = found.data<float>()[i];
    REQUIRE(n == std::floor(n));
    others += n != double{expected.data<float>()[i]} ? 1 : 0;
    counts += n;
  }
  CHECK(counts > 1e3);
  CHECK(others <= found.elements() / 100);
}

TEST_CASE("training on patterns from the device has the CPU's losses") {
  NEED_CUDA();
  if (!has_cpu()) PTYNET_SKIP("this build has no CPU backend to compare with");
  const std::vector<StepOutcome> found = train(on_cuda());
  const std::vector<StepOutcome> expected = train({});
  REQUIRE(found.size() == 4);
  REQUIRE(expected.size() == 4);
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(found[i].loss / expected[i].loss - 1) < 1e-5);
    CHECK(found[i].loss == found[i].amplitude_error + found[i].phase_error);
  }
  // Other patterns, other losses.
  CHECK(found[2].loss != found[0].loss);
}
