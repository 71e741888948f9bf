// The CUDA backend on the CPU's twin: every operation, recordings, choices, and what it refuses.
#include <algorithm>
#include <cstring>

#include "tests/cuda_on_cpu/backend_fixture.h"
#include "tests/kernels/recorded_patterns.h"

using namespace ptynet;
using namespace ptynet::tests;

TEST_CASE("the CUDA backend agrees with the reference on every operation it has") {
  const auto cuda = cuda::make_backend(on_cuda());
  const auto reference = make_reference_backend();
  for (const OperationCase& c : operation_cases()) {
    INFO(c.name);
    const std::vector<Output> found = c.run(*cuda);
    const std::vector<Output> expected = c.run(*reference);
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO("output " << i << " " << describe(found[i].value) << ", sums of "
                     << found[i].sum_length);
      CHECK(difference(found[i].value, expected[i].value) <= tolerance_of(found[i].sum_length));
    }
  }
}

TEST_CASE("what operations update in place moves only when a recording runs") {
  const auto cuda = cuda::make_backend(on_cuda());
  const auto reference = make_reference_backend();
  const Array x = random_array("x", {2, 3, 4, 5});
  BatchNormParameters p{random_array("w", {5}), random_array("b", {5}), random_array("m", {5}),
                        random_array("v", {5}, 0.1, 2)};
  BatchStatistics batch = room_for_batch(5);
  Array y = Array::host(x.shape(), DType::kF32);
  // More than one chunk.
  const AdamTensor t{random_array("value", {3000}), random_array("gradient", {3000}),
                     random_array("first", {3000}), random_array("second", {3000}, 0, 1)};
  Array state = Array::copy_of<double>({1e-3, 4}, {2});
  Array scaling = Array::copy_of<double>({4, 5, 6}, {3});
  Array probe = random_array("probe", {7});
  Array frames = random_array("frames", {1, 4, 5}, 0, 40);
  const Array first = Array::copy_of<double>({9}, {1});
  const Array updated[] = {p.running_mean, p.running_var, t.value, t.first_moment, t.second_moment,
                           state,          scaling,       probe,   frames};
  std::vector<Array> before;
  for (const Array& a : updated) before.push_back(a.clone());
  const auto work = [&](Backend& on) {
    on.batch_norm_training(x, p, batch, y);
    on.adam({}, {t}, state, scaling);
    on.keep_power(probe, 3);
    on.photon_noise(frames, 3, first, frames);
  };
  const auto is_as_before = [&] {
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(difference(updated[i], before[i]) == 0);
  };
  cuda->rehearse([&] { work(*cuda); });
  is_as_before();
  const auto replay = cuda->record([&] { work(*cuda); });
  is_as_before();
  CHECK(replay->time_steps().size() == 4);
  is_as_before();
  CHECK(replay->steps() == std::vector<std::string>{"batch_norm_training [2, 3, 4, 5]", "adam [2]",
                                                    "keep_power [7]", "photon_noise [1, 4, 5]"});
  // Who asks for memory now does not get what the recording needs.
  std::vector<Array> others;
  for (std::int64_t bytes = 8; bytes <= 4096; bytes *= 2) {
    others.push_back(cuda->allocator().allocate({bytes}, DType::kU8));
    cuda->zero(others.back());
  }
  for (int i = 0; i < 2; ++i) replay->run();
  std::vector<Array> found;
  for (std::size_t i = 0; i < before.size(); ++i) {
    found.push_back(updated[i].clone());
    Array back = updated[i];
    std::memcpy(back.data(), before[i].data(), back.bytes());
  }
  for (int i = 0; i < 2; ++i) work(*reference);
  for (std::size_t i = 0; i < before.size(); ++i) {
    CHECK(difference(updated[i], before[i]) > 0);
    CHECK(difference(found[i], updated[i]) <= tolerance_of(x.elements()));
  }
}

TEST_CASE("a CUDA recording simulates whatever patterns its number says") {
  check_recorded_patterns(*cuda::make_backend(on_cuda()));
}

TEST_CASE("a CUDA recording gives the bytes of the first run, sees new inputs, and has its steps") {
  const auto cuda = cuda::make_backend(on_cuda());
  Array x = random_array("x", {1, 8, 8, 16});
  const Array w = random_array("w", {16, 3, 3, 16});
  const Array b = random_array("b", {16});
  const Array wt = random_array("wt", {16, 4, 4, 8});
  Array middle = Array::host({1, 8, 8, 16}, DType::kF32);
  Array y = Array::host({1, 16, 16, 16}, DType::kF32);
  const auto work = [&] {
    cuda->conv2d(x, w, b, {1, 1, 1, kLeaky, true}, middle);
    cuda->conv_transpose2d(middle, wt, b, {2, 1, 2, {}, true}, y);
  };
  work();
  const Array first = y.clone();
  const auto replay = cuda->record(work);
  std::fill_n(y.data<float>(), y.elements(), 0.0F);
  replay->run();
  CHECK(difference(y, first) == 0);
  x.data<float>()[0] += 1;
  replay->run();
  CHECK(difference(y, first) > 0);
  REQUIRE(replay->steps().size() == 2);
  CHECK_THAT(replay->steps()[0],
             Catch::StartsWith("conv2d by tile of") && Catch::EndsWith(" [1, 8, 8, 16]"));
  CHECK_THAT(replay->steps()[1], Catch::StartsWith("conv_transpose2d by tile of"));
  CHECK(replay->time_steps().size() == 2);
}

TEST_CASE("what is recorded beside begins where it stands, and to warm up changes nothing of it") {
  const auto cuda = cuda::make_backend(on_cuda());
  const auto holding = [](float value) { return Array::copy_of<float>({value}, {1}); };
  Array now = holding(0);
  Array coming = holding(1);
  Array next = holding(2);
  const auto replay = cuda->record([&] {
    cuda->copy(coming, now);
    cuda->beside([&] { cuda->copy(next, coming); });
  });
  for (float run = 1; run < 5; ++run) {
    next.data<float>()[0] = run + 1;
    replay->run();
    CHECK(now.data<float>()[0] == run);
    CHECK(coming.data<float>()[0] == run + 1);
  }
}

TEST_CASE("a recording times every candidate once, and a choice that is known is taken") {
  const auto cuda = cuda::make_backend(on_cuda());
  const Array x = random_array("x", {1, 8, 8, 16});
  const Array w = random_array("w", {16, 3, 3, 16});
  Array y = Array::host({1, 8, 8, 16}, DType::kF32);
  const auto convolve = [&](Backend& on) { on.conv2d(x, w, {}, {1, 1, 1, kLeaky, true}, y); };
  const auto record = [&](Backend& on) { on.record([&] { convolve(on); }); };
  CHECK(cuda->choices()->empty());
  convolve(*cuda);
  CHECK(cuda->choices()->empty());  // eager work is not worth it
  record(*cuda);
  REQUIRE(cuda->choices()->size() == 1);
  const auto& [task, choice] = *cuda->choices()->begin();
  CHECK(task ==
        "conv2d [1, 8, 8, 16] -> 16, 3x3, stride 1, padding 1, groups 1, leaky_relu 0.2, fp32");
  CHECK(choice.seconds.size() > 1);
  CHECK(choice.seconds.contains(choice.chosen));

  // One that was not the fastest, taken because it is written there.
  const auto other = cuda::make_backend(on_cuda());
  const auto slowest =
      std::max_element(choice.seconds.begin(), choice.seconds.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  (*other->choices())[task] = {slowest->first, {}};
  convolve(*other);
  CHECK_FALSE(other->choices()->at(task).used);
  record(*other);
  CHECK(other->choices()->at(task).used);
  CHECK(other->choices()->at(task).chosen == slowest->first);
  CHECK(other->choices()->at(task).seconds.empty());

  // One that no longer exists is timed anew.
  (*other->choices())[task] = {"cudnn engine 99", {}};
  record(*other);
  CHECK(choice.seconds.contains(other->choices()->at(task).chosen));
}

TEST_CASE("wgmma is a candidate on compute capability 9.x alone, and not in fp32") {
  const auto by_wgmma = [](Precision precision, bool transposed) {
    const cuda::ConvTask task{{1, 8, 8, 32, 32, 4, 2, 1, 1, kLeaky}, precision, transposed};
    const auto candidates = cuda::hand_written_convs(task, 132);
    return std::count_if(candidates.begin(), candidates.end(),
                         [](const auto& one) { return one->name().rfind("wgmma of ", 0) == 0; });
  };
  for (const bool transposed : {false, true}) {
    CHECK(by_wgmma(Precision::kF16, transposed) > 0);
    CHECK(by_wgmma(Precision::kBf16, transposed) > 0);
    CHECK(by_wgmma(Precision::kTf32, transposed) > 0);
    CHECK(by_wgmma(Precision::kF32, transposed) == 0);
    for (const char* other : {"80", "89", "100", "120"}) {
      const Setting capability("PTYNET_TWIN_CAPABILITY", other);
      CHECK(by_wgmma(Precision::kF16, transposed) == 0);
    }
  }
}

namespace {

// Two layers that one kernel does.
struct LayerPair {
  Array x;
  ConvLayer first;
  ConvLayer second;
  Array y = Array::host(output_shape(output_shape(x.shape(), first), second), DType::kF32);

  // One after the other, with scratch of the test's own.
  void one_by_one(Backend& on, Array& middle) {
    on.conv2d(x, first.w, first.b, first.options, middle);
    if (second.transposed) {
      on.conv_transpose2d(middle, second.w, second.b, second.options, y);
    } else {
      on.conv2d(middle, second.w, second.b, second.options, y);
    }
  }

  // As a network is recorded that has them. The names of its steps: one where they were fused.
  std::vector<std::string> record(Backend& on) {
    Array middle = Array::host(output_shape(x.shape(), first), DType::kF32);
    const auto replay = on.record([&] {
      if (on.fuses(x, first, second)) return on.conv_pair(x, first, second, y);
      one_by_one(on, middle);
    });
    replay->run();
    return replay->steps();
  }
};

// The first two layers of PtyNet-S, in small.
LayerPair first_two() {
  return {random_array("x", {1, 12, 20, 1}),
          {random_array("w", {16, 3, 3, 1}), random_array("b", {16}), {1, 1, 1, kLeaky, true}},
          {random_array("w2", {16, 3, 3, 16}), random_array("b2", {16}), {2, 1, 1, kLeaky, true}}};
}

// And the last two.
LayerPair last_two() {
  return {random_array("x", {1, 8, 10, 16}),
          {random_array("w", {2, 3, 3, 8}), random_array("b", {2}), {1, 1, 2, kLeaky, true}},
          {random_array("wt", {2, 4, 4, 1}), {}, {2, 1, 2, kClip, true}, true}};
}

Array floats(const Array& from) {
  Array out = Array::host(from.shape(), DType::kF32);
  std::transform(from.data<Half>(), from.data<Half>() + from.elements(), out.data<float>(),
                 [](Half value) { return widen(value); });
  return out;
}

constexpr const char* kFirstTask =
    "conv2d [1, 8, 10, 16] -> 2, 3x3, stride 1, padding 1, groups 2, leaky_relu 0.2, fp32";
constexpr const char* kSecondTask =
    "conv_transpose2d [1, 8, 10, 2] -> 2, 4x4, stride 2, padding 1, groups 2, hardtanh -1, fp32";

}  // namespace

TEST_CASE("a pair that one kernel does is one step, of any element type") {
  ContextOptions options = on_cuda();
  options.tune = false;
  const auto cuda = cuda::make_backend(options);
  const auto reference = make_reference_backend();
  LayerPair pair = last_two();
  Array expected = Array::host(pair.y.shape(), DType::kF32);
  reference->conv_pair(pair.x, pair.first, pair.second, expected);
  CHECK_FALSE(reference->fuses(pair.x, pair.first, pair.second));
  CHECK(pair.record(*cuda).size() == 1);
  CHECK(difference(pair.y, expected) <= tolerance_of(72 + 4));
  CHECK(cuda->choices()->empty());

  // Of operands rounded to f16; what is between the two is not.
  const Array half = narrowed(pair.x, DType::kF16);
  const auto replay = cuda->record([&] { cuda->conv_pair(half, pair.first, pair.second, pair.y); });
  CHECK(replay->steps() ==
        std::vector<std::string>{"conv2d + conv_transpose2d by fused [1, 16, 20, 2]"});
  std::fill_n(pair.y.data<float>(), pair.y.elements(), 0.0F);
  replay->run();
  const Array exact = expected.clone();
  for (Array* rounded : {&pair.x, &pair.first.w, &pair.second.w})
    *rounded = floats(narrowed(*rounded, DType::kF16));
  reference->conv_pair(pair.x, pair.first, pair.second, expected);
  CHECK(difference(pair.y, expected) <= tolerance_of(72 + 4));
  CHECK(difference(pair.y, exact) > 0x1p-12);

  // Others are left to who asks.
  ConvLayer wide = pair.first;
  wide.w = random_array("w", {16, 3, 3, 8});
  CHECK_FALSE(cuda->fuses(pair.x, wide, pair.second));
  CHECK_FALSE(cuda->fuses(pair.x, pair.second, pair.first));
}

TEST_CASE("a pair is fused where that is timed to be faster, and as a known choice says") {
  const auto cuda = cuda::make_backend(on_cuda());
  LayerPair pair = last_two();
  const bool fused = pair.record(*cuda).size() == 1;
  const std::string task = text(kFirstTask, " + ", kSecondTask);
  REQUIRE(cuda->choices()->contains(task));
  const ConvChoice& choice = cuda->choices()->at(task);
  REQUIRE(choice.seconds.size() == 2);
  CHECK(fused == (choice.seconds.at("fused") <= choice.seconds.at("one by one")));
  CHECK(choice.chosen == (fused ? "fused" : "one by one"));
  CHECK(choice.used);
  // Timed to compare them, and used only where the pair is not.
  for (const char* one : {kFirstTask, kSecondTask}) {
    REQUIRE(cuda->choices()->contains(one));
    CHECK(cuda->choices()->at(one).used == !fused);
  }
  const Array first = pair.y.clone();
  for (const char* chosen : {"fused", "one by one"}) {
    const auto other = cuda::make_backend(on_cuda());
    (*other->choices())[task] = {chosen, {}};
    CHECK(pair.record(*other).size() == (chosen == std::string("fused") ? 1 : 2));
    CHECK(other->choices()->at(task).seconds.empty());
    CHECK(difference(pair.y, first) <= tolerance_of(72 + 4));
  }
}

TEST_CASE("the first two layers of PtyNet-S are one step, which gives the bytes of two") {
  ContextOptions options = on_cuda();
  options.tune = false;
  const auto cuda = cuda::make_backend(options);
  const auto bytes_of = [](const Array& a) {
    const auto* from = static_cast<const unsigned char*>(a.data());
    return std::vector<unsigned char>(from, from + a.bytes());
  };
  LayerPair pair = first_two();
  CHECK(pair.record(*cuda) ==
        std::vector<std::string>{"conv2d + conv2d by fused 16x16 [1, 6, 10, 16]"});
  const std::vector<unsigned char> fused = bytes_of(pair.y);
  Array middle = Array::host({1, 12, 20, 16}, DType::kF32);
  pair.one_by_one(*cuda, middle);
  CHECK(bytes_of(pair.y) == fused);

  // Of f16 to f32: its kernel writes f16, which is converted.
  pair.x = narrowed(pair.x, DType::kF16);
  CHECK(pair.record(*cuda).size() == 1);
  Array narrow = Array::host(pair.y.shape(), DType::kF16);
  cuda->conv_pair(pair.x, pair.first, pair.second, narrow);
  CHECK(bytes_of(pair.y) == bytes_of(floats(narrow)));

  // Weights that are not aligned are left to other kernels.
  LayerPair odd = first_two();
  Array memory = Array::host({odd.second.w.elements() + 1}, DType::kF32);
  std::copy_n(odd.second.w.data<float>(), odd.second.w.elements(), memory.data<float>() + 1);
  odd.second.w =
      Array::view(memory.data<float>() + 1, odd.second.w.shape(), DType::kF32, memory.device());
  CHECK_FALSE(cuda->fuses(odd.x, odd.first, odd.second));
  Array expected = Array::host(odd.y.shape(), DType::kF32);
  make_reference_backend()->conv_pair(odd.x, odd.first, odd.second, expected);
  cuda->conv_pair(odd.x, odd.first, odd.second, odd.y);
  CHECK(difference(odd.y, expected) <= tolerance_of(9 + 144));
}

TEST_CASE("the tile of a fused pair is timed beside its layers one by one") {
  const auto cuda = cuda::make_backend(on_cuda());
  LayerPair pair = first_two();
  pair.record(*cuda);
  const std::string task =
      "conv2d [1, 12, 20, 1] -> 16, 3x3, stride 1, padding 1, groups 1, leaky_relu 0.2, fp32 + "
      "conv2d [1, 12, 20, 16] -> 16, 3x3, stride 2, padding 1, groups 1, leaky_relu 0.2, fp32";
  REQUIRE(cuda->choices()->contains(task));
  const ConvChoice& choice = cuda->choices()->at(task);
  REQUIRE(choice.seconds.size() == 4);
  for (const char* way : {"fused 16x16", "fused 32x16", "fused 64x16", "one by one"}) {
    REQUIRE(choice.seconds.contains(way));
    CHECK(choice.seconds.at(way) >= choice.seconds.at(choice.chosen));
    const auto other = cuda::make_backend(on_cuda());
    (*other->choices())[task] = {way, {}};
    const std::vector<std::string> steps = pair.record(*other);
    if (way == std::string("one by one")) {
      CHECK(steps.size() == 2);
    } else {
      CHECK(steps == std::vector<std::string>{text("conv2d + conv2d by ", way, " [1, 6, 10, 16]")});
    }
  }
}

TEST_CASE("the check backend fuses what the tested one does, and compares it") {
  LayerPair pair = last_two();
  const auto check = [](double tolerance) {
    return make_check_backend(cuda::make_backend(on_cuda()), make_reference_backend(), tolerance);
  };
  CHECK(check(0)->fuses(pair.x, pair.first, pair.second));
  CHECK_NOTHROW(check(1e-5)->conv_pair(pair.x, pair.first, pair.second, pair.y));
  CHECK_THROWS_WITH(check(0)->conv_pair(pair.x, pair.first, pair.second, pair.y),
                    Catch::StartsWith("check of conv_pair f32[1, 16, 20, 2]"));
}

TEST_CASE("a 16-bit layer may write f32") {
  const auto cuda = cuda::make_backend(on_cuda());
  const auto reference = make_reference_backend();
  for (const DType type : {DType::kBf16, DType::kF16}) {
    const Array x = narrowed(random_array("x", {1, 8, 8, 16}), type);
    for (const std::int64_t co : {24, 2}) {  // by way of an array of x's type, and at once
      const Array w = random_array("w", {co, 3, 3, 16});
      const Array b = random_array("b", {co});
      Array found = Array::host({1, 8, 8, co}, DType::kF32);
      Array expected = Array::host({1, 8, 8, co}, DType::kF32);
      cuda->conv2d(x, w, b, {1, 1, 1, kLeaky, false}, found);
      reference->conv2d(x, w, b, {1, 1, 1, kLeaky, false}, expected);
      // Weights and result are rounded, to 8 and to 11 bits.
      INFO(name_of(type) << " " << co);
      CHECK(difference(found, expected) < (type == DType::kBf16 ? 0x1p-7 : 0x1p-10));
      CHECK(difference(found, expected) > 0);
    }
  }
}

TEST_CASE("what a device cannot do is said in one line") {
  const auto message = [](int index) {
    try {
      cuda::make_backend(on_cuda(index));
    } catch (const Error& error) {
      CHECK(error.fault() == Fault::kRuntime);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  CHECK(message(0) == "no error");
  CHECK(message(7) == "there is no cuda:7: this machine has 1 CUDA device, cuda:0");
  {
    const Setting several("PTYNET_TWIN_DEVICES", "4");
    CHECK(message(3) == "no error");
    CHECK(message(7) == "there is no cuda:7: this machine has 4 CUDA devices, cuda:0 to cuda:3");
  }
  const Setting old("PTYNET_TWIN_CAPABILITY", "75");
  CHECK(message(0) ==
        "cuda:0 (the CPU's twin of a GPU) cannot be used: its compute capability is 7.5, the "
        "kernels need 8.0 (Ampere) or newer");
}

TEST_CASE("a full device says what was wanted and what is free, after giving back what is unused") {
  const Setting small("PTYNET_TWIN_MEMORY", "1000000");
  const auto cuda = cuda::make_backend(on_cuda());
  CHECK_THROWS_WITH(cuda->allocator().allocate({1 << 20}, DType::kU8),
                    "out of device memory: 1048576 bytes wanted, 1000000 of 1000000 free: use a "
                    "smaller --batch, or stop other programs on the device");
  Array most = cuda->allocator().allocate({600000}, DType::kU8);
  CHECK_THROWS_AS(cuda->allocator().allocate({500000}, DType::kU8), Error);
  most = {};
  CHECK_NOTHROW(cuda->allocator().allocate({500000}, DType::kU8));
}
