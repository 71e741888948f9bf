// Training patterns that are read from scans of known objects.
#include <algorithm>
#include <cmath>
#include <complex>
#include <filesystem>
#include <fstream>
#include <set>

#include "engine/simulate.h"
#include "engine/train.h"
#include "engine/training_pairs.h"
#include "io/bytes.h"
#include "io/npy.h"
#include "io/result.h"
#include "io/weights.h"
#include "tests/catch.h"
#include "tests/support.h"

using namespace ptynet;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kSide = 32;
constexpr std::int64_t kPixels = kSide * kSide;

// Two scans of dead leaves through one probe, and their truths.
struct Files {
  tests::TemporaryFolder folder;
  std::vector<KnownScan> scans;

  Files() {
    for (const char* name : {"a", "b"}) {
      SimulateOptions o;
      o.size_px = {72, 80};
      o.ranges.feature_low_px = 4;
      o.ranges.feature_high_px = 24;
      o.probe.kind = ProbeKind::kGaussian;
      o.frame_px = kSide;
      o.overlap_of = OverlapOf::kFrame;
      o.overlap = 0.8;
      o.jitter_px = 2;
      o.noise = Noise::kNone;
      o.seed = static_cast<std::uint64_t>(name[0]);
      o.output = path(std::string(name) + ".cxi");
      o.truth = path(std::string(name) + "-truth.h5");
      o.threads = 1;
      simulate(o);
      scans.push_back({o.output, o.truth});
    }
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }
  std::shared_ptr<const TrainingPairs> pairs() const {
    auto out = std::make_shared<TrainingPairs>(scans);
    out->read({});
    return out;
  }
  // The truth with a change.
  template <typename Change>
  void change_truth(std::size_t k, Change change) const {
    io::Result truth = io::read_result(scans[k].truth);
    change(truth);
    io::ResultWriter(scans[k].truth).finish(truth);
  }
};

std::int64_t middle(const io::Result& truth) {
  const Shape& shape = truth.object.shape();
  return shape[0] / 2 * shape[1] + shape[1] / 2;
}

constexpr const char* kTiny = R"({"name": "tiny",
  "input": {"quantity": "amplitude", "scale": "frame_max", "epsilon": 1e-6},
  "layers": [
    {"type": "conv2d", "name": "first", "in": 1, "out": 4, "kernel": 3, "stride": 1,
     "padding": 1, "groups": 1, "bias": true},
    {"type": "leaky_relu", "slope": 0.1},
    {"type": "conv2d", "name": "last", "in": 4, "out": 2, "kernel": 3, "stride": 1, "padding": 1,
     "groups": 1, "bias": true}],
  "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1, "scale": 3.14159}}})";

TrainOptions options_for(const Files& files) {
  std::ofstream(files.path("tiny.json")) << kTiny;
  TrainOptions o;
  o.architecture = files.path("tiny.json");
  o.scans = files.scans;
  o.epoch = {0, 16};
  o.epochs = 4;
  o.learning_rate = 1e-2;
  o.schedule = ScheduleKind::kConstant;
  o.threads = 1;
  o.device = Device{};
  o.output = files.path("weights.h5");
  return o;
}

bool same(const Array& a, const Array& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

// Frames tell the pairs apart: the index of each frame of a batch among all.
std::vector<std::int64_t> indices_of(const Patterns& batch, const Array& all) {
  std::vector<std::int64_t> out;
  for (std::int64_t k = 0; k < batch.frames.shape()[0]; ++k) {
    for (std::int64_t i = 0; i < all.shape()[0]; ++i) {
      if (same(batch.frames.slice(k, 1), all.slice(i, 1))) out.push_back(i);
    }
  }
  return out;
}

std::vector<std::int64_t> first_indices(std::int64_t n) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < n; ++i) out.push_back(i);
  return out;
}

}  // namespace

TEST_CASE("training pairs: a frame is the far field of the patch that goes with it", "[pairs]") {
  const Files files;
  const auto pairs = files.pairs();
  ScanOptions second;
  second.path = files.scans[1].scan;
  Scan scan = Scan::open(second);
  REQUIRE(pairs->count() > scan.count());
  const Patterns batch = pairs->batch({0, pairs->count() - scan.count(), 5});
  CHECK(same(batch.frames.slice(1, 1), scan.read(0, 1)));
  Context context;
  Array object = Array::host(batch.frames.shape(), DType::kC64);
  context.backend().compose_object(batch.amplitude, batch.phase, object);
  Array far = Array::host(batch.frames.shape(), DType::kF32);
  context.backend().far_field_intensity(object, pairs->probe(), far);
  const float* frames = batch.frames.data<float>();
  for (std::int64_t k = 0; k < 3; ++k) {
    const double most = *std::max_element(frames + k * kPixels, frames + (k + 1) * kPixels);
    double worst = 0;
    for (std::int64_t i = k * kPixels; i < (k + 1) * kPixels; ++i) {
      worst = std::max(worst, std::abs(double{far.data<float>()[i]} - double{frames[i]}));
    }
    CAPTURE(k);
    CHECK(worst < 1e-5 * most);
  }
}

TEST_CASE("training pairs: every pass shows each of them once, in an order of its own", "[pairs]") {
  const Files files;
  const auto pairs = files.pairs();
  const std::int64_t n = pairs->count() - 7;
  const Array all = pairs->batch(first_indices(pairs->count())).frames;
  Context context;
  const auto pass_from = [&](ShuffledPairs& series, std::uint64_t first, std::int64_t count) {
    return patterns_on_host(context, series, first, count, pairs->height(), pairs->width());
  };
  ShuffledPairs series(context, pairs, n, 3, 4);
  std::vector<std::vector<std::int64_t>> passes;
  for (std::uint64_t pass = 0; pass < 3; ++pass) {
    passes.push_back(indices_of(pass_from(series, pass * static_cast<std::uint64_t>(n), n), all));
    auto sorted = passes.back();
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted == first_indices(n));  // none of the last seven
    CHECK(passes.back() != first_indices(n));
  }
  CHECK(passes[0] != passes[1]);
  CHECK(passes[1] != passes[2]);
  // Across two passes, as a batch may lie.
  const auto across = indices_of(pass_from(series, static_cast<std::uint64_t>(n) - 2, 4), all);
  CHECK(across ==
        std::vector{passes[0][passes[0].size() - 2], passes[0].back(), passes[1][0], passes[1][1]});
  ShuffledPairs again(context, pairs, n, 3, 4);
  ShuffledPairs other(context, pairs, n, 4, 4);
  const Array frames = pass_from(series, 5, 9).frames;
  CHECK(same(pass_from(again, 5, 9).frames, frames));
  CHECK_FALSE(same(pass_from(other, 5, 9).frames, frames));
}

TEST_CASE("training pairs: a network learns from them and is judged by the last ones", "[pairs]") {
  const Files files;
  TrainOptions o = options_for(files);
  const std::int64_t all = files.pairs()->count();
  std::vector<std::string> lines;
  o.tell = [&lines](const std::string& line) { lines.push_back(line); };
  const TrainSummary s = train(o);
  CHECK_THAT(lines.at(0), Contains(text(all, " frames of 2 scans, the last ", all / 10)));
  CHECK(s.held_out.value().patterns == all / 10);
  CHECK(s.patterns == 4 * (all - all / 10));
  const io::WeightFile weights = io::read_weights(o.output);
  CHECK(same(weights.trained_for.probe, files.pairs()->probe()));
  CHECK(weights.trained_for.object_pixel_m == files.pairs()->object_pixel_m());
  CHECK(weights.trained_for.photons);
  // Longer, on many small steps.
  o.epochs = 12;
  o.epoch = {200, 2};
  o.held_out = 20;
  const TrainSummary longer = train(o);
  CHECK(longer.patterns == 12 * 200);
  CHECK(longer.held_out.value().patterns == 20);
  CHECK(longer.held_out->weighted.sum() < 0.9 * s.held_out->weighted.sum());
}

TEST_CASE("training pairs: stopped and resumed, a run ends with the same bytes", "[pairs]") {
  const Files files;
  TrainOptions o = options_for(files);
  const auto bytes = [&] { return io::read_all(*io::open_file(o.output), 1U << 24U); };
  train(o);
  const auto whole = bytes();
  o.output = files.path("parts.h5");
  o.stop = [n = 0]() mutable { return ++n == 7; };
  CHECK_THROWS_WITH(train(o), Contains("parts.h5.checkpoint"));
  o.stop = {};
  o.resume = files.path("parts.h5.checkpoint");
  train(o);
  CHECK(bytes() == whole);
  bool read = false;
  o.progress = [&read](const std::string& stage, std::int64_t, std::int64_t) {
    read = read || stage == "reading";
  };
  SECTION("other options are refused before the frames are read") {
    o.learning_rate = 2e-2;
    CHECK_THROWS_WITH(train(o), Contains("learning-rate 0.01, this one has 0.02"));
    CHECK_FALSE(read);
  }
  SECTION("other frames are refused") {
    std::swap(o.scans[0], o.scans[1]);
    CHECK_THROWS_WITH(train(o), Contains("had scans"));
    CHECK(read);
  }
  SECTION("other truths are refused") {
    files.change_truth(1, [](io::Result& truth) {
      truth.object.data<std::complex<float>>()[middle(truth)] += 0.5F;
    });
    CHECK_THROWS_WITH(train(o), Contains("had scans"));
  }
}

TEST_CASE("training pairs: what does not go together is refused by name", "[pairs]") {
  const Files files;
  TrainOptions o = options_for(files);
  bool read = false;
  o.progress = [&read](const std::string&, std::int64_t, std::int64_t) { read = true; };
  const auto refuses = [&](const std::string& words) {
    CHECK_THROWS_WITH(train(o), Contains(words));
    CHECK_FALSE(read);
    CHECK_FALSE(fs::exists(o.output));
  };
  SECTION("an object that ends before the frames do") {
    files.change_truth(1, [](io::Result& truth) { truth.origin_px[1] += 20; });
    refuses("b-truth.h5: expected the object of");
  }
  SECTION("an object that is not known everywhere") {
    files.change_truth(
        0, [](io::Result& truth) { truth.count.data<std::uint32_t>()[middle(truth)] = 0; });
    refuses("a-truth.h5: expected the object of");
  }
  SECTION("an object with holes") {
    files.change_truth(0, [](io::Result& truth) {
      truth.object.data<std::complex<float>>()[middle(truth)] = std::nanf("");
    });
    refuses("a-truth.h5: expected the object of");
  }
  SECTION("a scan without positions") {
    io::write_npy(files.path("frames.npy"), Array::zeros({4, kSide, kSide}, DType::kF32));
    o.scans[1].scan = files.path("frames.npy");
    refuses("frames.npy: expected positions");
  }
  SECTION("frames of another extent") {
    SimulateOptions other;
    other.frame_px = 2 * kSide;
    other.probe.kind = ProbeKind::kGaussian;
    other.size_px = {80, 80};
    other.output = files.path("large.cxi");
    other.truth = files.path("large.h5");
    simulate(other);
    o.scans[1] = {other.output, other.truth};
    refuses("large.cxi: expected frames of 32x32 px like the scans before, found 64x64");
  }
  SECTION("a truth that is none") {
    o.scans[0].truth = o.scans[0].scan;
    refuses("a.cxi: expected a result file");
  }
  SECTION("a probe of another extent") {
    o.recipe.probe = Array::zeros({1, 16, 16}, DType::kC64);
    refuses("like the scans' frames");
  }
  SECTION("all frames held out") {
    o.held_out = 65536;
    refuses("lower --held-out");
  }
  SECTION("a batch larger than what is left") {
    o.held_out = files.pairs()->count() - 10;
    refuses("a batch of 1 to 10");
  }
  SECTION("an output that is a truth") {
    const std::string before = std::exchange(o.output, o.scans[1].truth);
    CHECK_THROWS_WITH(train(o), Contains("is the input"));
    o.output = before;
  }
  SECTION("more frames than memory holds") {
    CHECK_THROWS_WITH(TrainingPairs(files.scans, 1000), Contains("give fewer scans"));
  }
}
