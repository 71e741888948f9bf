#include "engine/session.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <thread>

#include "autograd/operations.h"
#include "kernels/random.h"
#include "tests/catch.h"

// Counts allocations asked for from this program's own code. oneDNN makes a small map of arguments
// within each of its primitives; those are its own, and told apart by who called.
namespace {

std::atomic<bool> counting{false};
std::atomic<int> own_allocations{0};
std::atomic<int> library_allocations{0};

void note_allocation(const void* caller) {
  if (!counting.load(std::memory_order_relaxed)) return;
  Dl_info info{};
  const bool named = dladdr(caller, &info) != 0 && info.dli_fname != nullptr;
  const bool onednn = named && std::string_view(info.dli_fname).find("dnnl") != std::string_view::npos;
  (onednn ? library_allocations : own_allocations).fetch_add(1);
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PTYNET_COUNTS_ALLOCATIONS
void* operator new(std::size_t bytes) {
  note_allocation(__builtin_return_address(0));
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

using namespace ptynet;

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
    own_allocations = 0;
    library_allocations = 0;
    counting = true;
    session.run(frames.data(), n, out.amplitude.data<float>(), out.phase.data<float>());
    counting = false;
    INFO("n = " << n << ", within oneDNN: " << library_allocations);
    CHECK(own_allocations == 0);
  }
  // The counter counts: planning does allocate.
  counting = true;
  session.prepare(2);
  counting = false;
  CHECK(own_allocations > 0);
}
#endif

TEST_CASE("several sessions work side by side in threads") {
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = random_state(architecture, 2);
  const Array frames = counts("frames", {1, 32, 48});
  SessionOptions options = small(1);
  options.context.threads = 1;
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
  std::fill_n(frames.slice(1, 1).data<float>(), 0, 0.0F);
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
  if (!__builtin_cpu_supports("avx512bf16")) {
    WARN("SKIPPED: this CPU has no AVX512-BF16");
    return;
  }
  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = random_state(architecture, 2);
  const Array frames = counts("frames", {1, 64, 64});
  SessionOptions options = small(1, 64, 64);
  Session exact(architecture, state, options);
  options.precision = Precision::kBf16;
  Session quick(architecture, state, options);
  Patches a(frames.shape());
  Patches b(frames.shape());
  exact.run(frames, a.amplitude, a.phase);
  quick.run(frames, b.amplitude, b.phase);
  const double worst = worst_difference(a.amplitude, b.amplitude);
  CAPTURE(worst);
  CHECK(worst > 0);     // it does compute in bf16
  CHECK(worst < 0.05);  // 15 layers, each rounding at 2^-9 of values near 1
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
  Session session(architecture, state, small(2));
  Patches out({3, 32, 48});
  CHECK_THROWS_WITH(session.run(counts("f", {3, 32, 48}), out.amplitude, out.phase),
                    Contains("1 to 2 frames"));
  CHECK_THROWS_WITH(session.run(counts("f", {1, 32, 32}), out.amplitude, out.phase),
                    Contains("expected frames f32[n, 32, 48]"));
}
