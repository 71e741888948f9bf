// Sessions on a CUDA device (cuda_device.h).
#include <atomic>
#include <chrono>
#include <cmath>
#include <complex>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "autograd/operations.h"
#include "engine/bench.h"
#include "engine/canvas_session.h"
#include "engine/choice_cache.h"
#include "engine/session.h"
#include "engine/stitcher.h"
#include "kernels/random.h"
#include "tests/catch.h"
#include "tests/cuda_on_cpu/cuda_device.h"

using namespace ptynet;
using namespace ptynet::tests;

namespace {

// Choices of these tests are their own.
const TemporaryFolder cache;
const int cache_is_set = setenv("PTYNET_CACHE", cache.path().c_str(), 1);

Array counts(const Shape& shape) {
  const CounterRandom random(3, "frames");
  Array frames = Array::host(shape, DType::kU16);
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    const double u = random.uniform(static_cast<std::uint64_t>(i));
    frames.data<std::uint16_t>()[i] = static_cast<std::uint16_t>(4000 * u * u * u * u);
  }
  return frames;
}

// What the golden values of tests/layers have as input.
Array uniform(const Shape& shape) {
  const CounterRandom random(0, "input");
  Array frames = Array::host(shape, DType::kF32);
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    frames.data<float>()[i] = static_cast<float>(random.uniform(static_cast<std::uint64_t>(i)));
  }
  return frames;
}

struct Patches {
  explicit Patches(const Shape& shape)
      : amplitude(Array::host(shape, DType::kF32)), phase(Array::host(shape, DType::kF32)) {}
  Array amplitude;
  Array phase;
};

Patches expected_patches(const Architecture& architecture, const StateDict& state,
                         const Array& frames, const InputRule& rule, const Array& mask = {}) {
  Context context(make_reference_backend());
  Network network(context, architecture, state);
  const Tensor x = input_rule(context, frames, mask, rule);
  const Tensor y = network.forward(context, x);
  Patches out(frames.shape());
  context.backend().output_heads(y.value(), architecture.amplitude, architecture.phase,
                                 out.amplitude, out.phase);
  return out;
}

// |found - expected| / |expected|, Euclidean.
double norm_error(const Patches& found, const Patches& expected) {
  double off = 0;
  double all = 0;
  const auto add = [&](const Array& a, const Array& b) {
    for (std::int64_t i = 0; i < b.elements(); ++i) {
      const double e = double{b.data<float>()[i]};
      off += std::pow(double{a.data<float>()[i]} - e, 2);
      all += e * e;
    }
  };
  add(found.amplitude, expected.amplitude);
  add(found.phase, expected.phase);
  return std::sqrt(off / all);
}

double allowed(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return 1e-5;
    case Precision::kTf32:
      return 2e-3;
    case Precision::kBf16:
      return 2e-2;
    case Precision::kF16:
      return 3e-3;
  }
  return 0;
}

SessionOptions session_options(const Array& frames, Precision precision, bool tune) {
  SessionOptions o;
  o.context = on_cuda(tune);
  o.precision = precision;
  o.height = frames.shape()[1];
  o.width = frames.shape()[2];
  o.batch = frames.shape()[0];
  o.frame_type = frames.dtype();
  return o;
}

}  // namespace

TEST_CASE("the five networks equal the reference in every precision", "[slow]") {
  NEED_CUDA();
  const bool twin = on_twin();
  for (const std::string name :
       {"ptynet-s", "ptychonn", "ptychonn-small-phase", "ptychonet", "ptynet-b"}) {
    const Architecture architecture = built_in_architecture(name);
    const StateDict state = bench_state(architecture);
    const std::int64_t side = twin ? 32 : 64;
    const Array frames = uniform({twin ? 1 : 3, side, side});
    const InputRule as_it_is{InputQuantity::kIntensity, InputScale::kNone};
    const Patches expected = expected_patches(architecture, state, frames, as_it_is);
    for (const Precision precision : kPrecisions) {
      for (const bool tune : {false, true}) {
        if (tune && twin) continue;
        SessionOptions o = session_options(frames, precision, tune);
        o.input_rule = as_it_is;
        Session session(architecture, state, o);
        Patches found(frames.shape());
        session.run(frames, found.amplitude, found.phase);
        const double error = norm_error(found, expected);
        INFO(name << " " << name_of(precision) << (tune ? " tuned" : ""));
        CHECK(error < allowed(precision));
        CHECK(error > 0);
        WARN(name << " " << name_of(precision) << (tune ? " tuned" : "") << ": " << error);
      }
    }
  }
}

TEST_CASE("runs repeat to the byte, and one call does not leak into the next") {
  NEED_CUDA();
  const Architecture architecture = built_in_architecture("ptynet-s");
  const Array frames = counts({3, 16, 16});
  Session session(architecture, bench_state(architecture),
                  session_options(frames, Precision::kF16, false));
  const auto run = [&](std::int64_t n) {
    Patches out({n, 16, 16});
    session.run(frames.data(), n, out.amplitude.data<float>(), out.phase.data<float>());
    return std::vector<float>(out.phase.data<float>(), out.phase.data<float>() + n * 256);
  };
  const std::vector<float> first = run(3);
  std::vector<float> two = run(2);
  CHECK(run(3) == first);
  CHECK(std::equal(two.begin(), two.end(), first.begin()));
  session.prepare(2);  // a plan of its own
  CHECK(run(2) == two);
  CHECK(session.profile().size() > 10);
}

TEST_CASE("sessions are opened, used and closed in several threads at once") {
  NEED_CUDA();
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = bench_state(architecture);
  const Array frames = counts({1, 16, 16});
  const auto phase_of_session = [&] {
    // On a GPU one closes, and waits for the device, while another times or records.
    Session session(architecture, state, session_options(frames, Precision::kF16, !on_twin()));
    Patches out(frames.shape());
    session.run(frames, out.amplitude, out.phase);
    return out.phase;
  };
  const Array expected = phase_of_session();  // with choices that the others find
  std::atomic<int> same{0};
  const auto work = [&] {
    for (int i = 0; i < 3; ++i) {
      const Array found = phase_of_session();
      same += std::memcmp(found.data(), expected.data(), expected.bytes()) == 0 ? 1 : 0;
    }
  };
  std::thread a(work);
  std::thread b(work);
  a.join();
  b.join();
  CHECK(same == 6);
}

TEST_CASE("masks, frame types and input rules are the reference's") {
  NEED_CUDA();
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = bench_state(architecture);
  const Array frames = counts({1, 16, 16});
  Array mask = Array::host({16, 16}, DType::kU8);
  for (std::int64_t i = 0; i < 256; ++i) mask.data<std::uint8_t>()[i] = i % 9 == 4 ? 0 : 1;
  SessionOptions o = session_options(frames, Precision::kF32, false);
  o.mask = mask;
  o.input_rule = InputRule{InputQuantity::kAmplitude, InputScale::kScanMax, 0, 100.0F, 4000.0F};
  Session session(architecture, state, o);
  Patches found(frames.shape());
  session.run(frames, found.amplitude, found.phase);

  const Patches expected = expected_patches(architecture, state, frames, *o.input_rule, mask);
  CHECK(norm_error(found, expected) < 1e-5);
}

TEST_CASE("a canvas session stitches what a session gives, batch by batch") {
  NEED_CUDA();
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = bench_state(architecture);
  const Array frames = counts({5, 16, 16});
  SessionOptions o = session_options(frames.slice(0, 2), Precision::kF16, false);
  CanvasOptions canvas;
  canvas.rows = 24;
  canvas.columns = 21;
  canvas.border = 2;
  CanvasSession session(architecture, state, o, canvas);
  std::vector<io::Position> positions;
  for (int i = 0; i < 5; ++i) positions.push_back({2.0 * i, 1.25 * (i % 3)});
  const auto push = [&](std::int64_t first, std::int64_t n) {
    std::memcpy(session.frames().data(), frames.slice(first, n).data(), frames.slice(0, n).bytes());
    double* corner = session.corners().data<double>();
    for (std::int64_t i = first; i < first + n; ++i) {
      const io::Position& at = positions[static_cast<std::size_t>(i)];
      *corner++ = at.row;
      *corner++ = at.column;
    }
    session.push(n);
  };
  push(0, 2);
  session.clear();
  push(4, 1);
  push(0, 2);
  session.canvas();
  push(2, 2);
  const Canvas found = session.canvas();

  o.batch = 5;
  Session patches(architecture, state, o);
  Patches out(frames.shape());
  patches.run(frames, out.amplitude, out.phase);
  Context host(make_host_backend(1));
  Array object = Array::host(frames.shape(), DType::kC64);
  host.backend().compose_object(out.amplitude, out.phase, object);
  Array corners = Array::host({5, 2}, DType::kF64);
  for (std::int64_t i = 0; i < 5; ++i) {
    corners.data<double>()[2 * i] = positions[static_cast<std::size_t>(i)].row;
    corners.data<double>()[2 * i + 1] = positions[static_cast<std::size_t>(i)].column;
  }
  Array weight = Array::host({16, 16}, DType::kF32);
  std::fill_n(weight.data<float>(), 256, 1.0F);
  std::vector<std::int64_t> sums(2 * 24 * 21);
  std::vector<std::int64_t> coverage(24 * 21);
  std::vector<std::uint32_t> count(24 * 21);
  host.backend().stitch(object, weight, corners, 2,
                        {sums.data(), coverage.data(), count.data(), 24, 21});
  std::vector<std::complex<float>> expected(24 * 21);
  object_of_sums(sums.data(), coverage.data(), 24 * 21, expected.data());
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(
        worst,
        static_cast<double>(std::abs(found.object.data<std::complex<float>>()[i] - expected[i])));
  }
  CHECK(worst < 1e-5);  // of amplitudes near 1: sines and cosines of two devices
  CHECK(std::equal(count.begin(), count.end(), found.count.data<std::uint32_t>()));
  CHECK(*std::max_element(count.begin(), count.end()) > 1);
}

TEST_CASE("choices are timed once, kept in a file, and a damaged file is made anew") {
  NEED_CUDA();
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "deeper" / "choices.json";
  const Array x = Array::zeros({1, 8, 8, 16}, DType::kF32);
  const Array w = Array::zeros({16, 3, 3, 16}, DType::kF32);
  const auto record = [&](Context& context) {
    Array on_x = on_device(context, x);
    Array on_w = on_device(context, w);
    Array y = context.allocate({1, 8, 8, 16}, DType::kF32);
    ConvOptions o;
    o.padding = 1;
    o.constant_weights = true;
    context.backend().record([&] { context.backend().conv2d(on_x, on_w, {}, o, y); });
  };
  Context first(on_cuda(true));
  load_choices(file, first.backend());
  CHECK(first.backend().choices()->empty());
  record(first);
  save_choices(file, first.backend());
  REQUIRE(first.backend().choices()->size() == 1);
  const std::string task = first.backend().choices()->begin()->first;
  const std::map<std::string, double> timed = first.backend().choices()->at(task).seconds;

  Context second(on_cuda(true));
  load_choices(file, second.backend());
  record(second);  // times nothing: the times are those of the file
  CHECK(second.backend().choices()->at(task).seconds == timed);

  std::filesystem::resize_file(file, 40);
  Context third(on_cuda(true));
  load_choices(file, third.backend());
  CHECK(third.backend().choices()->empty());
  // Deep enough to overflow the stack of who copies it.
  std::ofstream(file) << "{\"x\":" << std::string(1 << 20, '[') << std::string(1 << 20, ']') << "}";
  load_choices(file, third.backend());
  CHECK(third.backend().choices()->empty());
  record(third);
  save_choices(file, third.backend());
  Context fourth(on_cuda(true));
  load_choices(file, fourth.backend());
  CHECK(fourth.backend().choices()->contains(task));
}

namespace {

// Ends as PtyNet-S does.
Architecture small_network() {
  return parse_architecture(R"({"name": "small",
    "input": {"quantity": "amplitude", "scale": "none"},
    "layers": [
      {"type": "conv2d", "name": "down", "in": 1, "out": 8, "kernel": 3, "stride": 2,
       "padding": 1, "groups": 1, "bias": true},
      {"type": "leaky_relu", "slope": 0.2},
      {"type": "conv2d", "name": "thin", "in": 8, "out": 2, "kernel": 3, "stride": 1,
       "padding": 1, "groups": 2, "bias": true},
      {"type": "leaky_relu", "slope": 0.2},
      {"type": "conv_transpose2d", "name": "up", "in": 2, "out": 2, "kernel": 4, "stride": 2,
       "padding": 1, "groups": 2, "bias": true},
      {"type": "hardtanh", "min": -1, "max": 1}],
    "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1}}})");
}

}  // namespace

TEST_CASE("a step of two layers has the names and the products of both") {
  NEED_CUDA();
  const Architecture architecture = small_network();
  BenchOptions o;
  o.session = session_options(uniform({1, 16, 16}), Precision::kF16, false);
  o.seconds = 0;
  o.layers = true;
  o.peak = false;
  const BenchReport found = bench(architecture, random_state(architecture, 1), o);
  std::vector<LayerTime> convolutions;
  for (const LayerTime& layer : found.layers) {
    if (!layer.layer.empty()) convolutions.push_back(layer);
  }
  REQUIRE(convolutions.size() == 2);
  CHECK(convolutions[0].layer == "down");
  CHECK(convolutions[1].layer == "thin + up");
  CHECK_THAT(convolutions[1].step, Catch::StartsWith("conv2d + conv_transpose2d by "));
  // 8 x 8 pixels of 9 taps of 4 channels to 2, and 16 taps of 2 to 1 each.
  REQUIRE(convolutions[1].gflops);
  CHECK(*convolutions[1].gflops * convolutions[1].seconds * 1e9 ==
        Approx(2 * 64 * (9 * 4 * 2 + 16 * 2)));
}

TEST_CASE("networks are recorded with their fused pairs: both ends of PtyNet-S") {
  NEED_CUDA();
  const auto steps = [](const char* name, DType type) {
    const Architecture architecture = built_in_architecture(name);
    Context context(on_cuda());
    Network network(context, architecture, bench_state(architecture));
    const Array frames = on_device(context, uniform({1, 16, 16}));
    const Tensor x = input_rule(context, frames, {}, architecture.input, type);
    return context.backend().record([&] { network.forward(context, x); })->steps();
  };
  const auto begins = [](const char* operations) { return Catch::StartsWith(operations); };
  for (const DType type : {DType::kF32, DType::kF16}) {
    const std::vector<std::string> found = steps("ptynet-s", type);
    REQUIRE(found.size() == 15 - 2);
    CHECK_THAT(found.front(), begins("conv2d + conv2d by fused "));
    CHECK_THAT(found[1], begins("conv2d by "));
    CHECK_THAT(found.back(), begins("conv2d + conv_transpose2d by fused "));
  }
  // 32 channels of f32 are more than one chunk.
  CHECK_THAT(steps("ptynet-b", DType::kF16).front(), begins("conv2d + conv2d by fused "));
  CHECK_THAT(steps("ptynet-b", DType::kF32).front(), begins("conv2d by "));
}

TEST_CASE("layers that are trained stay apart, and the last of a pair gives what is asked") {
  NEED_CUDA();
  const Architecture architecture = small_network();
  const StateDict state = random_state(architecture, 1);
  Context context(on_cuda());
  Network network(context, architecture, state);
  const Tensor x(on_device(context, uniform({1, 16, 16})).reshape({1, 16, 16, 1}));
  const auto steps = [&](const Tensor& from) {
    return context.backend().record([&] { network.forward(context, from); })->steps().size();
  };
  CHECK(steps(x) == 2);
  Tape tape(context);
  Tensor watched = x;
  tape.watch(watched);
  CHECK(steps(watched) == 3);

  const Array frames = on_device(context, uniform({1, 16, 16}));
  const Tensor half = input_rule(context, frames, {}, architecture.input, DType::kF16);
  CHECK(steps(half) == 2);
  CHECK(network.forward(context, half).value().dtype() == DType::kF32);
  CHECK(network.forward(context, half, {.result = DType::kF16}).value().dtype() == DType::kF16);
}

namespace {

std::vector<float> phases_of(const Architecture& architecture, const StateDict& state,
                             const Array& frames, Precision precision) {
  Session session(architecture, state, session_options(frames, precision, false));
  Patches out(frames.shape());
  session.run(frames, out.amplitude, out.phase);
  return {out.phase.data<float>(), out.phase.data<float>() + out.phase.elements()};
}

}  // namespace

// For PTYNET_SOAK_SECONDS, or three rounds; tools/gpu_check.sh looks at the device's memory then.
TEST_CASE("sessions of random shapes come and go, and the first one's bytes stay the same",
          "[soak][slow]") {
  NEED_CUDA();
  const char* limit = std::getenv("PTYNET_SOAK_SECONDS");
  const std::chrono::duration<double> seconds(limit != nullptr ? std::strtod(limit, nullptr) : 0);
  const auto start = std::chrono::steady_clock::now();
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = bench_state(architecture);
  const Array frames = counts({2, 16, 24});
  const std::vector<float> first = phases_of(architecture, state, frames, Precision::kF16);

  constexpr int kLeastRounds = 3;
  const int most_eighths = on_twin() ? 3 : 32;  // of a frame's extents, 8 px each
  const CounterRandom random(7, "soak");
  std::uint64_t drawn = 0;
  const auto draw = [&](int low, int high) {
    return low + static_cast<int>(random.uniform(drawn++) * (high - low + 1));
  };
  int rounds = 0;
  for (; rounds < kLeastRounds || std::chrono::steady_clock::now() - start < seconds; ++rounds) {
    const Shape shape{draw(1, 4), 8 * draw(1, most_eighths), 8 * draw(1, most_eighths)};
    const Precision precision = kPrecisions[static_cast<std::size_t>(draw(0, 3))];
    INFO("round " << rounds << ": " << to_string(shape) << ", " << name_of(precision));
    const std::vector<float> phases = phases_of(architecture, state, counts(shape), precision);
    REQUIRE(std::all_of(phases.begin(), phases.end(), [](float v) { return std::isfinite(v); }));
    REQUIRE(phases_of(architecture, state, frames, Precision::kF16) == first);
  }
  WARN(rounds << " rounds");
}
