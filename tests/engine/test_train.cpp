#include <cmath>
#include <complex>
#include <fstream>
#include <limits>
#include <numbers>

#include "engine/train.h"
#include "io/bytes.h"
#include "io/checkpoint.h"
#include "io/png.h"
#include "io/weights.h"
#include "kernels/random.h"
#include "tests/catch.h"
#include "tests/support.h"

using namespace ptynet;

namespace {

constexpr std::int64_t kSide = 16;
constexpr std::int64_t kPixels = kSide * kSide;

// Localised and curved, so that the far field is a shadow of the sample.
Array probe() {
  Array out = Array::host({1, kSide, kSide}, DType::kC64);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    const double r = static_cast<double>(i / kSide) - 8;
    const double c = static_cast<double>(i % kSide) - 8;
    const auto v = std::polar(0.2 * std::exp(-(r * r + c * c) / 100),
                              std::numbers::pi * (r * r + c * c) / kSide);
    out.data<std::complex<float>>()[i] = {static_cast<float>(v.real()),
                                          static_cast<float>(v.imag())};
  }
  return out;
}

PatternRecipe recipe() {
  PatternRecipe out;
  out.ranges.feature_low_px = 4;
  out.ranges.feature_high_px = 24;
  out.probe = probe();
  out.seed = 5;
  return out;
}

constexpr const char* kTiny = R"({"name": "tiny",
  "input": {"quantity": "amplitude", "scale": "none"},
  "layers": [
    {"type": "conv2d", "name": "first", "in": 1, "out": 8, "kernel": 3, "stride": 2, "padding": 1,
     "groups": 1, "bias": true}, {"type": "leaky_relu", "slope": 0.2},
    {"type": "conv_transpose2d", "name": "last", "in": 8, "out": 2, "kernel": 4, "stride": 2,
     "padding": 1, "groups": 1, "bias": true}],
  "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1, "scale": 3.141592653589793}}})";

// A run of a second or less, in a folder of its own.
class Run {
 public:
  Run() {
    std::ofstream(folder_ / "tiny.json") << kTiny;
    options.architecture = path("tiny.json");
    options.recipe = recipe();
    options.epoch = {40, 16};  // batches of 16, 16 and 8
    options.epochs = 4;
    options.learning_rate = 2e-3;
    options.held_out = 24;
    options.threads = 2;
    options.device = Device{};
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::vector<std::byte> bytes(const std::string& name) const {
    return io::read_all(*io::open_file(path(name)), 1U << 24U);
  }
  // What training says when it fails.
  std::string problem() const {
    try {
      train(options);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  TrainOptions options;

 private:
  tests::TemporaryFolder folder_;
};

bool same(const Array& a, const Array& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

bool same(const Patterns& a, const Patterns& b) {
  return same(a.frames, b.frames) && same(a.amplitude, b.amplitude) && same(a.phase, b.phase);
}

// Patterns [first, first + count) of a series, made some at a time on the CPU.
Patterns simulated(const PatternRecipe& recipe, const std::string& series, std::uint64_t first,
                   std::int64_t count, std::int64_t at_a_time = 8, int threads = 2) {
  Context context({Device{}, threads});
  PatternSimulator simulator(context, recipe, series, at_a_time);
  return patterns_on_host(context, simulator, first, count, kSide, kSide);
}

double counts_in(const Array& frames) {
  double sum = 0;
  for (std::int64_t i = 0; i < frames.elements(); ++i) sum += double{frames.data<float>()[i]};
  return sum;
}

}  // namespace

TEST_CASE("a training pattern is the far field of its own patch, and a function of its number") {
  const Patterns batch = simulated(recipe(), "training", 7, 3);
  Context context;
  Array object = Array::host(batch.frames.shape(), DType::kC64);
  context.backend().compose_object(batch.amplitude, batch.phase, object);
  Array far = Array::host(batch.frames.shape(), DType::kF32);
  context.backend().far_field_intensity(object, probe(), far);
  for (std::int64_t i = 0; i < far.elements(); ++i) {
    REQUIRE(batch.frames.data<float>()[i] ==
            Approx(far.data<float>()[i]).epsilon(1e-4).margin(1e-4));
  }
  const std::uint64_t seed = CounterRandom(5, "training").bits(0);
  const ObjectSeries objects = object_series(ObjectKind::kDeadLeaves, recipe().ranges, seed);
  CHECK(same(make_object(objects, kSide, kSide, 9).phase.reshape({1, kSide, kSide}),
             batch.phase.slice(2, 1)));
  CHECK(same(simulated(recipe(), "training", 9, 1).frames, batch.frames.slice(2, 1)));
  CHECK_FALSE(same(simulated(recipe(), "training", 8, 1).amplitude, batch.amplitude.slice(0, 1)));
  CHECK_FALSE(same(simulated(recipe(), "held-out", 7, 3).amplitude, batch.amplitude));
  PatternRecipe other = recipe();
  other.seed = 6;
  CHECK_FALSE(same(simulated(other, "training", 7, 3).amplitude, batch.amplitude));
}

TEST_CASE("patterns are the same however many are made at a time, by any number of threads") {
  PatternRecipe all = recipe();
  all.jitter = {2, 3, 0.2};
  all.noise = Noise::kPoisson;
  all.photons = {{1e3, 1e5}};
  const Patterns expected = simulated(all, "training", 3, 21, 21, 1);
  for (const std::int64_t at_a_time : {1, 8, 64}) {
    CHECK(same(simulated(all, "training", 3, 21, at_a_time, 3), expected));
  }
  // More of them than numbers are sent for at once.
  const Patterns many = simulated(recipe(), "training", 0, 2100, 1);
  const Patterns last = simulated(recipe(), "training", 2090, 10);
  CHECK(same(patterns_within(many, 2090, 10), last));
}

TEST_CASE("patterns of pictures are windows of them") {
  tests::TemporaryFolder folder;
  Array ramp = Array::host({30, 40}, DType::kU8);
  for (std::int64_t i = 0; i < ramp.elements(); ++i) {
    ramp.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i / 40 * 5 + i % 40 * 2);
  }
  io::write_png(folder / "ramp.png", ramp);
  PatternRecipe of_pictures = recipe();
  of_pictures.images = std::make_shared<const ImageLibrary>(folder.path(), kSide, kSide);
  of_pictures.ranges = {0, 1, 0, 1, false, 8, 90};
  const Patterns batch = simulated(of_pictures, "training", 0, 5);
  for (std::int64_t k = 0; k < 5; ++k) {
    const float* v = batch.amplitude.data<float>() + k * kPixels;
    const auto grey = [v](std::int64_t at) { return std::lround(v[at] * 255); };
    CHECK(grey(kPixels - 1) - grey(0) == 15 * (grey(kSide) - grey(0)) + 15 * (grey(1) - grey(0)));
    CHECK(std::abs(grey(1) - grey(0)) + std::abs(grey(kSide) - grey(0)) == 7);
  }
}

TEST_CASE("pictures smaller than the probe's frame are refused") {
  tests::TemporaryFolder folder;
  io::write_png(folder / "small.png", Array::zeros({kSide - 1, 40}, DType::kU8));
  PatternRecipe of_pictures = recipe();
  of_pictures.images = std::make_shared<const ImageLibrary>(folder.path(), 8, 8);
  CHECK_THROWS_WITH(simulated(of_pictures, "training", 0, 1), Catch::Contains("at least 16 px"));
}

TEST_CASE("photons of training patterns are whole, and spread evenly in their logarithm") {
  PatternRecipe noisy = recipe();
  noisy.ranges.amplitude_low = noisy.ranges.amplitude_high = 1;
  noisy.noise = Noise::kPoisson;
  noisy.photons = {{1e3, 1e5}};
  double mean_log = 0;
  constexpr std::int64_t kPatterns = 100;
  const Array frames = simulated(noisy, "training", 0, kPatterns).frames;
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    REQUIRE(frames.data<float>()[i] == std::floor(frames.data<float>()[i]));
  }
  for (std::int64_t k = 0; k < kPatterns; ++k) {
    const double counts = counts_in(frames.slice(k, 1));
    REQUIRE(counts > 1e3 - 5 * std::sqrt(1e3));
    REQUIRE(counts < 1e5 + 5 * std::sqrt(1e5));
    mean_log += std::log10(counts) / kPatterns;
  }
  // Uniform between 3 and 5: a standard deviation of 0.58, of the mean of 100 a tenth of it.
  CHECK(mean_log == Approx(4.0).margin(0.25));
  noisy.photons = {{0, 1e5}};
  CHECK_THROWS_AS(simulated(noisy, "training", 0, 1), Error);
  noisy.photons = {{1e3, 1e25}};
  CHECK_THROWS_WITH(simulated(noisy, "training", 0, 1), Catch::Contains("give fewer photons"));
}

TEST_CASE("the probe of training patterns varies within its jitter") {
  PatternRecipe moved = recipe();
  moved.ranges.amplitude_low = moved.ranges.amplitude_high = 1;
  moved.ranges.phase_low_rad = moved.ranges.phase_high_rad = 0;
  moved.jitter = {0, 0, 0.5};
  const Array frames = simulated(moved, "training", 0, 60).frames;
  const double photons = counts_of(probe());
  double least = 2;
  double most = 0;
  for (std::int64_t k = 0; k < 60; ++k) {
    const double share = counts_in(frames.slice(k, 1)) / photons;
    least = std::min(least, share);
    most = std::max(most, share);
  }
  CHECK(least > 0.499);
  CHECK(least < 0.6);
  CHECK(most < 1.501);
  CHECK(most > 1.4);
}

TEST_CASE("an epoch's last batch is what is left, and epochs follow each other") {
  const EpochPlan plan{40, 16};
  CHECK(plan.batches() == 3);
  const std::pair<std::uint64_t, std::int64_t> expected[] = {{0, 16},  {16, 16}, {32, 8},
                                                             {40, 16}, {56, 16}, {72, 8}};
  for (std::int64_t number = 0; number < 6; ++number) {
    CHECK(plan.first(number) == expected[number].first);
    CHECK(plan.size(number) == expected[number].second);
  }
}

TEST_CASE("training brings held-out losses under those of their mean, and writes the weights") {
  Run run;
  run.options.epoch = {512, 4};
  run.options.epochs = 6;
  run.options.learning_rate = 1e-2;
  run.options.schedule = ScheduleKind::kCosine;
  run.options.output = run.path("weights.h5");
  run.options.log = run.path("log.csv");
  const TrainSummary summary = train(run.options);
  CHECK(summary.epochs == 6);
  CHECK(summary.steps == 6 * 128);
  CHECK(summary.patterns == 6 * 512);
  REQUIRE(summary.held_out);
  // Two layers see amplitudes; the phase is beyond them.
  CHECK(summary.held_out->weighted.amplitude < 0.65 * summary.held_out->mean_weighted.amplitude);
  CHECK(*summary.loss < summary.held_out->mean_weighted.sum());
  std::ifstream log(run.path("log.csv"));
  std::string line;
  std::getline(log, line);
  CHECK(line ==
        "epoch,loss,amplitude_error,phase_error,held_out_loss,held_out_weighted_loss,"
        "learning_rate,seconds");
  std::size_t rows = 0;
  while (std::getline(log, line)) ++rows;
  CHECK(rows == 6);

  const io::WeightFile weights = io::read_weights(run.path("weights.h5"));
  CHECK(parse_architecture(weights.architecture_json).name == "tiny");
  CHECK(weights.trained_for.frame_px == std::array<std::int64_t, 2>{kSide, kSide});
  CHECK(same(weights.trained_for.probe, probe()));
  CHECK(weights.trained_for.photons);
  CHECK(weights.trained_for.settings.find("learning-rate 0.01") != std::string::npos);
  CHECK(weights.trained_for.scores.at("epochs") == 6);
  CHECK(weights.trained_for.scores.at("loss") == *summary.loss);
  CHECK(weights.trained_for.scores.at("held_out_weighted_loss") ==
        summary.held_out->weighted.sum());
  // Measured alone they score the same, whatever the seed of the run was.
  TrainOptions again = run.options;
  again.architecture.clear();
  again.from = run.path("weights.h5");
  again.output.clear();
  again.log.clear();
  again.epochs = 0;
  again.seed = 99;
  const TrainSummary measured = train(again);
  CHECK(measured.steps == 0);
  CHECK_FALSE(measured.loss);
  CHECK(measured.held_out->weighted.sum() == summary.held_out->weighted.sum());
  CHECK(measured.held_out->plain.phase == summary.held_out->plain.phase);
}

TEST_CASE("held-out losses are mean squares over the pixels, plain and by the probe's intensity") {
  Run run;
  // A network that says 0 for all.
  io::WeightFile nothing;
  for (const TensorSpec& tensor : tensors_of(parse_architecture(kTiny))) {
    nothing.tensors[tensor.name] = Array::zeros(tensor.shape, DType::kF32);
  }
  io::write_weights(run.path("zero.h5"), nothing);
  run.options.from = run.path("zero.h5");
  run.options.epochs = 0;
  run.options.held_out = 10;
  const HeldOutLosses found = train(run.options).held_out.value();

  PatternRecipe held_out = recipe();
  held_out.seed = 1;
  const Patterns batch = simulated(held_out, "held-out", 0, 10);
  double plain = 0;
  double weighted = 0;
  double weights = 0;
  const Array light = probe();
  for (std::int64_t i = 0; i < 10 * kPixels; ++i) {
    const double p = batch.phase.data<float>()[i];
    const double w = std::norm(light.data<std::complex<float>>()[i % kPixels]);
    plain += p * p / (10 * kPixels);
    weighted += w * p * p;
    weights += w;
  }
  CHECK(found.patterns == 10);
  CHECK(found.plain.phase == Approx(plain).epsilon(1e-6));
  CHECK(found.weighted.phase == Approx(weighted / weights).epsilon(1e-6));
  CHECK(found.plain.amplitude > found.mean_plain.amplitude);
}

TEST_CASE("a run that was stopped in an epoch and goes on ends with the same bytes") {
  Run run;
  run.options.output = run.path("whole.h5");
  train(run.options);
  run.options.output = run.path("parts.h5");
  int batches = 0;
  run.options.stop = [&batches] { return ++batches == 5; };  // in the second epoch
  CHECK_THAT(run.problem(), Catch::Matchers::Contains("parts.h5.checkpoint"));
  CHECK_FALSE(std::filesystem::exists(run.path("parts.h5")));
  run.options.resume = run.path("parts.h5.checkpoint");
  run.options.checkpoint = run.path("state.h5");
  batches = 100;
  const TrainSummary summary = train(run.options);
  CHECK(summary.steps == 12);
  CHECK(run.bytes("parts.h5") == run.bytes("whole.h5"));
  // From the last regular checkpoint, as after a kill.
  run.options.resume = run.path("state.h5");
  run.options.epochs = 6;
  train(run.options);
  run.options.resume.clear();
  run.options.checkpoint.clear();
  run.options.output = run.path("longer.h5");
  train(run.options);
  CHECK(run.bytes("parts.h5") == run.bytes("longer.h5"));
}

TEST_CASE("a checkpoint of another run is refused by name") {
  Run run;
  run.options.output = run.path("weights.h5");
  run.options.checkpoint = run.path("state.h5");
  run.options.epochs = 1;
  train(run.options);
  run.options.resume = run.path("state.h5");
  run.options.epochs = 2;
  run.options.learning_rate = 1e-3;
  CHECK_THAT(run.problem(), Catch::Matchers::Contains("learning-rate"));
  run.options.learning_rate = 2e-3;
  run.options.recipe.photons = {{10, 20}};
  CHECK_THAT(run.problem(), Catch::Matchers::Contains("photons"));
}

TEST_CASE("numbers of a checkpoint that no run can have are refused by name") {
  Run run;
  run.options.output = run.path("weights.h5");
  run.options.checkpoint = run.path("state.h5");
  run.options.epochs = 1;
  train(run.options);
  const io::Checkpoint good = io::read_checkpoint(run.path("state.h5"), "train");
  run.options.epochs = 2;
  run.options.checkpoint.clear();
  run.options.resume = run.path("hostile.h5");
  for (const char* name : {"batches", "seconds", "epoch_seconds", "epoch_patterns", "epoch_loss"}) {
    for (const double value : {std::nan(""), -1.0, std::numeric_limits<double>::infinity()}) {
      CAPTURE(name, value);
      io::Checkpoint bad = good;
      bad.numbers[name] = value;
      io::write_checkpoint(run.path("hostile.h5"), bad);
      CHECK_THAT(run.problem(), Catch::Matchers::Contains("hostile.h5: expected ") &&
                                    Catch::Matchers::Contains(name));
    }
  }
  for (const auto& [name, value] :
       {std::pair{"batches", 1.5}, std::pair{"batches", 1e300}, std::pair{"seconds", 1e300},
        std::pair{"epoch_seconds", 1e300}, std::pair{"epoch_patterns", 41.0}}) {
    io::Checkpoint bad = good;
    bad.numbers[name] = value;
    io::write_checkpoint(run.path("hostile.h5"), bad);
    CHECK_THAT(run.problem(), Catch::Matchers::Contains(name));
  }
}

TEST_CASE("pictures under the same name that changed are another run") {
  Run run;
  const auto paint = [&run](std::uint8_t value) {
    Array grey = Array::host({kSide + 2, kSide + 2}, DType::kU8);
    std::fill_n(grey.data<std::uint8_t>(), grey.elements(), value);
    io::write_png(run.path("pictures/a.png"), grey);
  };
  std::filesystem::create_directory(run.path("pictures"));
  paint(100);
  run.options.images = run.path("pictures");
  run.options.checkpoint = run.path("state.h5");
  run.options.epochs = 1;
  train(run.options);
  run.options.resume = run.path("state.h5");
  run.options.epochs = 2;
  CHECK(run.problem().empty());
  paint(101);
  CHECK_THAT(run.problem(), Catch::Matchers::Contains("objects"));
}

TEST_CASE("the object pixel is recorded only when it is known") {
  Run run;
  run.options.epochs = 1;
  run.options.output = run.path("weights.h5");
  train(run.options);
  CHECK_FALSE(io::read_weights(run.path("weights.h5")).trained_for.object_pixel_m);
  run.options.geometry.given = true;
  train(run.options);
  const auto known = io::read_weights(run.path("weights.h5")).trained_for.object_pixel_m;
  REQUIRE(known);
  CHECK((*known)[0] == Approx(run.options.geometry.object_pixel_m(kSide)));
  // A model's probe is made on that pixel.
  run.options.geometry.given = false;
  run.options.recipe.probe = Array();
  run.options.probe.kind = ProbeKind::kGaussian;
  run.options.frame_px = kSide;
  train(run.options);
  CHECK(io::read_weights(run.path("weights.h5")).trained_for.object_pixel_m == known);
}

TEST_CASE("a probe jitter along the beam is in metres, and must stay within the frame") {
  Run run;
  run.options.epochs = 1;
  run.options.output = run.path("weights.h5");
  const Geometry& g = run.options.geometry;
  const double pixel_m = g.object_pixel_m(kSide);
  const double unit_m = pixel_m * pixel_m / io::wavelength_m(g.energy_ev);
  run.options.recipe.jitter.defocus = 2;
  train(run.options);
  const auto by_units = io::read_weights(run.path("weights.h5")).tensors;
  run.options.recipe.jitter.defocus = 0;
  run.options.jitter_defocus_m = 2 * unit_m;
  train(run.options);
  const auto by_metres = io::read_weights(run.path("weights.h5")).tensors;
  CHECK(same(by_units.at("last.weight"), by_metres.at("last.weight")));
  run.options.jitter_defocus_m = 1.01 * kSide * unit_m;
  CHECK_THAT(run.problem(), Catch::Matchers::Contains("over the frame's edges"));
}

TEST_CASE("a run by the clock ends by the clock") {
  Run run;
  run.options.minutes = 0.01;
  run.options.schedule = ScheduleKind::kCosine;
  const TrainSummary summary = train(run.options);
  CHECK(summary.seconds >= 0.6);
  CHECK(summary.seconds < 30);
  CHECK(summary.steps > 0);
}

TEST_CASE("a diverging run names epoch and batch and writes no weights") {
  Run run;
  run.options.learning_rate = 1e30;
  run.options.schedule = ScheduleKind::kConstant;
  run.options.output = run.path("weights.h5");
  CHECK_THAT(run.problem(), Catch::Matchers::Contains("epoch 1, batch"));
  CHECK_FALSE(std::filesystem::exists(run.path("weights.h5")));
}

TEST_CASE("training refuses what cannot be, before it begins") {
  Run run;
  const auto refuses = [&run](const std::string& words) {
    CHECK_THAT(run.problem(), Catch::Matchers::Contains(words));
    run.options = Run().options;
    run.options.architecture = run.path("tiny.json");
  };
  run.options.architecture.clear();
  refuses("--architecture");
  run.options.epoch.batch = 41;
  refuses("batch of 1 to 40");
  run.options.minutes = 0;
  refuses("minutes");
  run.options.learning_rate = 0;
  refuses("learning rate");
  run.options.recipe.probe = Array::zeros({1, kSide, kSide}, DType::kC64);
  refuses("probe");
  run.options.output = run.path("tiny.json");
  refuses("tiny.json");
  run.options.output = run.options.log = run.path("same");
  refuses("two things");
  run.options.checkpoint = run.options.output = run.path("same");
  refuses("two things");
  run.options.epochs = 1LL << 60;
  refuses("batches in all");
  run.options.recipe.noise = Noise::kPoisson;
  run.options.recipe.photons = {{1e25, 1e25}};
  refuses("32 bits");
  {
    TrainOptions begun = run.options;
    begun.epochs = 1;
    begun.checkpoint = run.path("state.h5");
    train(begun);
  }
  run.options.output = run.options.resume = run.path("state.h5");
  refuses("state.h5");
  run.options.log = run.options.resume = run.path("state.h5");
  refuses("is the input");
  run.options.images = run.path("no-such-folder");
  refuses("no-such-folder");
}
