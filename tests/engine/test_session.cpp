#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numbers>
#include <thread>

#include "autograd/operations.h"
#include "engine/bench.h"
#include "engine/session.h"
#include "kernels/random.h"
#include "tests/catch.h"
#include "tests/engine/count_allocations.h"
#include "tests/support.h"

using namespace ptynet;
using ptynet::tests::AllocationCount;

namespace {

Array counts(const std::string& name, const Shape& shape) {
  const CounterRandom random(3, name);
  Array frames = Array::host(shape, DType::kF32);
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    const double u = random.uniform(static_cast<std::uint64_t>(i));
    frames.data<float>()[i] = static_cast<float>(std::floor(1000 * u * u * u));
  }
  return frames;
}

struct Patches {
  explicit Patches(const Shape& shape)
      : amplitude(Array::zeros(shape, DType::kF32)), phase(Array::zeros(shape, DType::kF32)) {}
  Array amplitude;
  Array phase;
};

SessionOptions small(std::int64_t batch, std::int64_t h = 32, std::int64_t w = 48) {
  SessionOptions o;
  o.height = h;
  o.width = w;
  o.batch = batch;
  o.context.threads = 2;
  return o;
}

double worst_difference(const Array& a, const Array& b) {
  double worst = 0;
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    worst = std::max(worst, std::abs(double{a.data<float>()[i]} - double{b.data<float>()[i]}));
  }
  return worst;
}

bool same_bytes(const Array& a, const Array& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

}  // namespace

TEST_CASE("a session gives what the layers give one by one") {
  for (const std::string name : {"ptynet-s", "ptychonn", "ptychonet"}) {
    const Architecture architecture = built_in_architecture(name);
    const StateDict state = random_state(architecture, 2);
    const Array frames = counts("frames", {2, 32, 48});
    Session session(architecture, state, small(2));
    Patches found(frames.shape());
    session.run(frames, found.amplitude, found.phase);

    Context context({{}, 2});
    Network network(context, architecture, state);
    const Tensor x = input_rule(context, frames, {}, architecture.input);
    const Tensor y = network.forward(context, x);
    Patches expected(frames.shape());
    context.backend().output_heads(y.value(), architecture.amplitude, architecture.phase,
                                   expected.amplitude, expected.phase);
    INFO(name);
    CHECK(same_bytes(found.amplitude, expected.amplitude));
    CHECK(same_bytes(found.phase, expected.phase));
  }
}

TEST_CASE("runs repeat to the byte, and one call does not leak into the next") {
  const Architecture architecture = built_in_architecture("ptynet-s");
  Session session(architecture, random_state(architecture, 2), small(4));
  const Array frames = counts("frames", {4, 32, 48});
  Patches first(frames.shape());
  session.run(frames, first.amplitude, first.phase);
  Patches other(frames.shape());
  session.run(counts("others", {4, 32, 48}), other.amplitude, other.phase);
  Patches again(frames.shape());
  session.run(frames, again.amplitude, again.phase);
  CHECK(same_bytes(first.phase, again.phase));
  CHECK_FALSE(same_bytes(first.phase, other.phase));

  // Fewer frames than the batch: the same patches, and nothing written behind them.
  Patches three(frames.shape());
  session.run(frames.data(), 3, three.amplitude.data<float>(), three.phase.data<float>());
  CHECK(same_bytes(three.phase.slice(0, 3), first.phase.slice(0, 3)));
  CHECK(same_bytes(three.phase.slice(3, 1), Patches({1, 32, 48}).phase));
}

#ifdef PTYNET_COUNTS_ALLOCATIONS
TEST_CASE("a call allocates nothing") {
  const Architecture architecture = built_in_architecture("ptynet-s");
  Session session(architecture, random_state(architecture, 2), small(4));
  session.prepare(1);
  const Array frames = counts("frames", {4, 32, 48});
  Patches out(frames.shape());
  session.run(frames, out.amplitude, out.phase);
  for (const std::int64_t n : {4, 1, 3}) {
    int found = 0;
    {
      const AllocationCount count;
      session.run(frames.data(), n, out.amplitude.data<float>(), out.phase.data<float>());
      found = count.own();
    }
    INFO("n = " << n);
    CHECK(found == 0);
  }
  // The counter counts: planning does allocate.
  const AllocationCount count;
  session.prepare(2);
  CHECK(count.own() > 0);
}

namespace {

// Kilobytes of a line of /proc/self/status.
std::size_t status_kb(const std::string& name) {
  std::ifstream file("/proc/self/status");
  std::string word;
  std::size_t value = 0;
  while (file >> word) {
    if (word == name && file >> value) return value;
  }
  return 0;
}

}  // namespace

TEST_CASE("a plan that memory was too short for leaves the session as it was") {
  const Architecture architecture = built_in_architecture("ptynet-s");
  Session session(architecture, random_state(architecture, 2), small(64, 128, 128));
  const Array frames = counts("frames", {63, 128, 128});
  Patches out(frames.shape());
  session.run(frames, out.amplitude, out.phase);
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  rlimit tight = before;
  tight.rlim_cur = status_kb("VmSize:") * 1024;
  REQUIRE(setrlimit(RLIMIT_AS, &tight) == 0);
  bool refused = false;
  try {
    session.prepare(63);
  } catch (const std::exception&) {
    refused = true;
  }
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(refused);
  Patches again(frames.shape());
  session.run(frames, again.amplitude, again.phase);
  CHECK(same_bytes(again.phase, out.phase));
  session.prepare(63);
  session.run(frames, again.amplitude, again.phase);
  CHECK(worst_difference(again.phase, out.phase) < 1e-5);
}

TEST_CASE("planning needs little more memory than the plan") {
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = random_state(architecture, 2);
  { const Session warm(architecture, state, small(1, 128, 128)); }  // the libraries' own
  std::ofstream("/proc/self/clear_refs") << 5;                      // forgets the peak so far
  const std::size_t before = status_kb("VmHWM:");
  Session session(architecture, state, small(64, 128, 128));
  const Array frames = counts("frames", {64, 128, 128});
  Patches out(frames.shape());
  session.run(frames, out.amplitude, out.phase);
  const double grown = 1024.0 * static_cast<double>(status_kb("VmHWM:") - before);
  const double arena = static_cast<double>(session.arena_bytes());
  CAPTURE(grown, arena);
  CHECK(arena > 50e6);
  // Frames and patches, here and in the session, are 4 MB each, and the heap was used before; a
  // measuring run that computes took 2.7 times the arena.
  CHECK(grown < 1.6 * arena);
}
#endif

TEST_CASE("several sessions work side by side in threads") {
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = random_state(architecture, 2);
  const Array frames = counts("frames", {1, 32, 48});
  SessionOptions options = small(1);
  options.context.threads = GENERATE(1, 2);
  Session reference(architecture, state, options);
  Patches expected(frames.shape());
  reference.run(frames, expected.amplitude, expected.phase);
  std::atomic<int> different{0};
  const auto work = [&] {
    Session session(architecture, state, options);
    Patches out(frames.shape());
    for (int i = 0; i < 20; ++i) {
      session.run(frames, out.amplitude, out.phase);
      if (!same_bytes(out.phase, expected.phase)) ++different;
    }
  };
  std::thread a(work);
  std::thread b(work);
  a.join();
  b.join();
  CHECK(different == 0);
}

TEST_CASE("integer frames, masks and dead frames") {
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = random_state(architecture, 2);
  const Array frames = counts("frames", {2, 32, 48});
  Array dead_frame = frames.clone().slice(1, 1);
  std::fill_n(dead_frame.data<float>(), dead_frame.elements(), 0.0F);

  SessionOptions options = small(2);
  Session from_floats(architecture, state, options);
  options.frame_type = DType::kU16;
  Session from_integers(architecture, state, options);
  Array integers = Array::host(frames.shape(), DType::kU16);
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    integers.data<std::uint16_t>()[i] = static_cast<std::uint16_t>(frames.data<float>()[i]);
  }
  Patches a(frames.shape());
  Patches b(frames.shape());
  from_floats.run(frames, a.amplitude, a.phase);
  from_integers.run(integers, b.amplitude, b.phase);
  CHECK(same_bytes(a.phase, b.phase));

  // A masked pixel does not matter, whatever it holds.
  options.mask = Array::host({32, 48}, DType::kU8);
  std::fill_n(options.mask.data<std::uint8_t>(), 32 * 48, std::uint8_t{1});
  options.mask.data<std::uint8_t>()[700] = 0;
  Session masked(architecture, state, options);
  integers.data<std::uint16_t>()[700] = 12;
  masked.run(integers, a.amplitude, a.phase);
  integers.data<std::uint16_t>()[700] = 60000;
  masked.run(integers, b.amplitude, b.phase);
  CHECK(same_bytes(a.phase, b.phase));

  Patches dark({1, 32, 48});
  from_floats.run(dead_frame.data(), 1, dark.amplitude.data<float>(), dark.phase.data<float>());
  CHECK(std::all_of(dark.phase.data<float>(), dark.phase.data<float>() + dark.phase.elements(),
                    [](float v) { return std::isfinite(v); }));
}

TEST_CASE("bf16 stays near fp32") {
  if (!__builtin_cpu_supports("avx512bf16")) PTYNET_SKIP("this CPU has no AVX512-BF16");
  const auto [name, gain] = GENERATE(table<std::string, double>({{"ptynet-s", 1.0},
                                                                 {"ptynet-b", 0.6},
                                                                 {"ptychonn", 1.0},
                                                                 {"ptychonn-small-phase", 1.0},
                                                                 {"ptychonet", 1.0}}));
  const Architecture architecture = built_in_architecture(name);
  const StateDict state = random_state(architecture, 2, gain);
  const Array frames = counts("frames", {1, 64, 64});
  SessionOptions options = small(1, 64, 64);
  options.input_rule = InputRule();  // values in [0, 1]: raw counts would saturate random weights
  Session exact(architecture, state, options);
  options.precision = Precision::kBf16;
  Session quick(architecture, state, options);
  Patches a(frames.shape());
  Patches b(frames.shape());
  exact.run(frames, a.amplitude, a.phase);
  quick.run(frames, b.amplitude, b.phase);
  const double amplitude = worst_difference(a.amplitude, b.amplitude);
  const double phase = worst_difference(a.phase, b.phase);
  CAPTURE(name, amplitude, phase);
  CHECK(amplitude + phase > 0);  // it does compute in bf16
  // Some 15 layers, each rounding at 2^-9 of values near 1; a phase is pi times such a value.
  CHECK(amplitude < 0.05);
  CHECK(phase < 0.05 * std::numbers::pi);
}

TEST_CASE("bf16 computes networks whose parts end in no convolution") {
  if (!__builtin_cpu_supports("avx512bf16")) PTYNET_SKIP("this CPU has no AVX512-BF16");
  const std::string convolution =
      R"({"type": "conv2d", "name": "b", "in": 2, "out": 2, "kernel": 3, "stride": 1, "padding": 1,
          "groups": 1, "bias": true})";
  const std::string last = GENERATE_COPY(
      as<std::string>{},
      R"({"type": "residual", "main": [)" + convolution + R"(], "shortcut": []})",
      R"({"type": "branches", "branches": [[)" + convolution + R"(], [{"type": "relu"}]]})",
      R"({"type": "branches", "branches": [[{"type": "relu"}], [)" + convolution + "]]}");
  const Architecture architecture = parse_architecture(
      R"({"name": "own", "input": {"quantity": "amplitude", "scale": "frame_max"},
          "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1}},
          "layers": [{"type": "conv2d", "name": "a", "in": 1, "out": 2, "kernel": 3, "stride": 1,
                      "padding": 1, "groups": 1, "bias": true},)" +
      last + "]}");
  const StateDict state = random_state(architecture, 2);
  const Array frames = counts("frames", {1, 16, 16});
  SessionOptions options = small(1, 16, 16);
  Session exact(architecture, state, options);
  options.precision = Precision::kBf16;
  Session quick(architecture, state, options);
  Patches a(frames.shape());
  Patches b(frames.shape());
  exact.run(frames, a.amplitude, a.phase);
  quick.run(frames, b.amplitude, b.phase);
  CHECK(worst_difference(a.amplitude, b.amplitude) < 0.05);
  CHECK(worst_difference(a.phase, b.phase) < 0.05);
}

TEST_CASE("bf16 is refused where the CPU has no instructions for it") {
  // oneDNN reads the variable once: a program of its own is needed, which is this one.
  const char* hidden = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (hidden == nullptr || std::string(hidden) != "AVX2") {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string name = Catch::getResultCapture().getCurrentTestName();
    CHECK(std::system(
              ("ONEDNN_MAX_CPU_ISA=AVX2 '" + self + "' -w NoTests '" + name + "'").c_str()) == 0);
    return;
  }
  const Architecture architecture = built_in_architecture("ptynet-s");
  SessionOptions options = small(1);
  options.precision = Precision::kBf16;
  CHECK_THROWS_WITH(Session(architecture, random_state(architecture, 2), options),
                    Catch::StartsWith("--precision bf16 needs a CPU with AVX512-BF16") &&
                        Catch::EndsWith("use --precision fp32"));
}

TEST_CASE("a precision that the device has not is refused, saying what it has") {
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = random_state(architecture, 2);
  for (const Precision precision : {Precision::kTf32, Precision::kF16}) {
    SessionOptions options = small(1);
    options.precision = precision;
    const std::string message =
        text("--precision ", name_of(precision),
             " needs a CUDA device that has it; cpu computes in fp32 and bf16");
    try {
      const Session session(architecture, state, options);
      FAIL("a session computes in " << name_of(precision) << " on the CPU");
    } catch (const Error& error) {
      CHECK(error.what() == message);
      CHECK(error.fault() == Fault::kInput);
    }
    BenchOptions bench_options;
    bench_options.session = options;
    CHECK_THROWS_WITH(bench(architecture, state, bench_options), message);
    bench_options.finetune = true;
    CHECK_THROWS_WITH(bench(architecture, state, bench_options),
                      precision == Precision::kTf32
                          ? message
                          : text("--precision ", name_of(precision),
                                 " trains on a CUDA device alone; cpu trains in fp32"));
  }
  // TF32 is the session's choice, by its precision.
  SessionOptions exact = small(1);
  exact.context.tf32 = true;
  CHECK_FALSE(Session(architecture, state, exact).options().context.tf32);
}

TEST_CASE("what does not fit is refused before anything runs") {
  using Catch::Contains;
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = random_state(architecture, 2);
  CHECK_THROWS_WITH(Session(architecture, state, small(1, 100, 100)), Contains("100x100"));
  CHECK_THROWS_WITH(Session(architecture, state, small(0)), Contains("found 0"));
  CHECK_THROWS_WITH(
      Session(architecture, random_state(built_in_architecture("ptychonn"), 0), small(1)),
      Contains("missing") && Contains("--architecture"));
  SessionOptions hxn = small(1);
  hxn.input_rule = named_input_rule("hxn");
  CHECK_THROWS_WITH(Session(architecture, state, hxn), Contains("largest count"));
  SessionOptions cuda = small(1);
  cuda.context.device = Device::parse("cuda");
  CHECK_THROWS_WITH(Session(architecture, state, cuda), Contains("--device cpu"));
  SessionOptions crowd = small(1);
  crowd.context.threads = 4097;
  CHECK_THROWS_WITH(Session(architecture, state, crowd), Contains("4096, found 4097"));
  Session session(architecture, state, small(2));
  Patches out({3, 32, 48});
  CHECK_THROWS_WITH(session.run(counts("f", {3, 32, 48}), out.amplitude, out.phase),
                    Contains("1 to 2 frames"));
  CHECK_THROWS_WITH(session.run(counts("f", {1, 32, 32}), out.amplitude, out.phase),
                    Contains("expected frames f32[n, 32, 48]"));
}
