// The CUDA backend on the CPU's twin in training: gradients, their candidates, and 16-bit arrays.
#include <algorithm>
#include <cstring>

#include "tests/cuda_on_cpu/backend_fixture.h"

using namespace ptynet;
using namespace ptynet::tests;

TEST_CASE("the diffraction's gradient on CUDA is the adjoint of its derivative") {
  const auto cuda = cuda::make_backend(on_cuda());
  for (const std::int64_t modes : {1, 3}) {
    const Shape frames{5, 12, 10};
    const Shape fields{5, modes, 12, 10, 2};
    const ExitWave wave{random_array("amplitude", frames, -0.2, 1.2),
                        random_array("phase", frames, -4, 4),
                        random_array("probe", {modes, 12, 10, 2})};
    const Array d_intensity = random_array("dI", frames);
    Array intensity = Array::host(frames, DType::kF32);
    const auto gradient = [&] {
      Array far = Array::host(fields, DType::kF32);
      ExitWave d{Array::host(frames, DType::kF32), Array::host(frames, DType::kF32),
                 Array::host(wave.probe.shape(), DType::kF32)};
      cuda->diffract(wave, far, intensity);
      cuda->diffract_gradient(wave, far, d_intensity, d);
      return d;
    };
    const ExitWave d = gradient();
    // sum of a * b, and of its terms' magnitudes
    const auto product = [](const Array& a, const Array& b) {
      std::pair<double, double> out;
      for (std::int64_t i = 0; i < a.elements(); ++i) {
        const double term = double{a.data<float>()[i]} * double{b.data<float>()[i]};
        out.first += term;
        out.second += std::abs(term);
      }
      return out;
    };
    // Intensities are of second degree in the probe, and in the amplitudes (Euler's theorem); a
    // phase that all pixels share changes none.
    const auto [wanted, size] = product(d_intensity, intensity);
    const double tolerance = tolerance_of(modes * 12 * 10) * size;
    const Array ones = random_array("ones", frames, 1, 1);
    CHECK(std::abs(product(d.amplitude, wave.amplitude).first - 2 * wanted) <= tolerance);
    CHECK(std::abs(product(d.probe, wave.probe).first - 2 * wanted) <= tolerance);
    CHECK(std::abs(product(d.phase, ones).first) <= tolerance);
    CHECK(std::abs(wanted) > 100 * tolerance);

    const ExitWave again = gradient();
    for (const auto member : {&ExitWave::amplitude, &ExitWave::phase, &ExitWave::probe}) {
      CHECK(std::memcmp((d.*member).data(), (again.*member).data(), (d.*member).bytes()) == 0);
    }
  }
}

namespace {

// A convolution with stride 2 that leaves its last row unread, and room for its gradients.
struct Backwards {
  Array x = random_array("x", {2, 10, 9, 16});
  Array w = random_array("w", {16, 3, 3, 8});
  Array y = random_activated("y", {2, 4, 4, 16}, kLeaky);
  Array dy = random_array("dy", {2, 4, 4, 16});
  OperandGradients d{Array::host(x.shape(), DType::kF32), Array::host(w.shape(), DType::kF32),
                     Array::host({16}, DType::kF32)};

  void run(Backend& on) { on.conv2d_gradient(x, w, {y, dy}, {2, 0, 2, kLeaky, false}, d); }
  std::vector<Array> copies() const { return {d.x.clone(), d.w.clone(), d.b.clone()}; }
};

void expect_same_bytes(const std::vector<Array>& found, const std::vector<Array>& expected) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("operand " << i);
    CHECK(std::memcmp(found[i].data(), expected[i].data(), found[i].bytes()) == 0);
  }
}

}  // namespace

TEST_CASE("a recorded gradient has its steps, and gives the same bytes run after run") {
  ContextOptions options = on_cuda();
  options.tune = false;
  const auto cuda = cuda::make_backend(options);
  Backwards work;
  work.run(*cuda);
  const std::vector<Array> first = work.copies();
  const auto replay = cuda->record([&] { work.run(*cuda); });
  REQUIRE(replay->steps().size() == 3);
  CHECK(replay->steps()[0] == "gradient by activation and bias [2, 4, 4, 16]");
  CHECK(replay->steps()[1] == "gradient by w, conv2d by shares of pixels [16, 3, 3, 8]");
  CHECK_THAT(replay->steps()[2], Catch::StartsWith("gradient by x, conv2d by tile of") &&
                                     Catch::EndsWith(" [2, 10, 9, 16]"));
  work.d.x.data<float>()[0] += 1;
  for (int run = 0; run < 2; ++run) {
    replay->run();
    expect_same_bytes(work.copies(), first);
  }
  work.x.data<float>()[0] += 1;
  replay->run();
  CHECK(difference(work.d.w, first[1]) > 0);
  CHECK(difference(work.d.x, first[0]) == 0);
}

namespace {

constexpr const char* kByWeights =
    "gradient by w, conv2d [2, 10, 9, 16] -> 16, 3x3, stride 2, padding 0, groups 2, no "
    "activation, fp32";
constexpr const char* kByInput =
    "gradient by x, conv2d [2, 4, 4, 16] -> 16, 3x3, stride 2, padding 0, extra 1 x 0, groups 2, "
    "no activation, fp32";

}  // namespace

TEST_CASE("gradients are timed and chosen, apart from the convolutions that they are") {
  const auto cuda = cuda::make_backend(on_cuda());
  Backwards work;
  work.run(*cuda);
  const std::vector<Array> first = work.copies();
  CHECK(cuda->choices()->empty());
  for (const char* unknown : {"", "cudnn engine 99"}) {
    if (*unknown != 0) {
      for (const char* task : {kByWeights, kByInput}) (*cuda->choices())[task] = {unknown, {}};
    }
    const auto replay = cuda->record([&] { work.run(*cuda); });
    replay->run();
    expect_same_bytes(work.copies(), first);
    REQUIRE(cuda->choices()->size() == 2);
    const ConvChoice& by_weights = cuda->choices()->at(kByWeights);
    CHECK(by_weights.chosen == "shares of pixels");
    CHECK(by_weights.seconds.size() == 1);
    CHECK(by_weights.used);
    const ConvChoice& by_input = cuda->choices()->at(kByInput);
    CHECK(by_input.seconds.size() > 1);
    CHECK(by_input.seconds.contains(by_input.chosen));
    CHECK(by_input.used);
  }
}

TEST_CASE("gradients of a transposed layer are named after it, with the shape of a convolution") {
  const auto cuda = cuda::make_backend(on_cuda());
  const Array x = random_array("x", {1, 4, 5, 8});
  const Array w = random_array("w", {8, 4, 4, 4});
  const OutputGradient out{random_activated("y", {1, 8, 10, 4}, kLeaky),
                           random_array("dy", {1, 8, 10, 4})};
  OperandGradients d{Array::host(x.shape(), DType::kF32), Array::host(w.shape(), DType::kF32), {}};
  cuda->record([&] { cuda->conv_transpose2d_gradient(x, w, out, {2, 1, 1, kLeaky, false}, d); });
  REQUIRE(cuda->choices()->size() == 2);
  for (const char* by : {"w", "x"}) {
    CHECK(cuda->choices()->contains(text("gradient by ", by,
                                         ", conv_transpose2d [1, 8, 10, 4] -> 8, 4x4, stride 2, "
                                         "padding 1, groups 1, no activation, fp32")));
  }
}

TEST_CASE("a library's gradients are candidates beside our own") {
  const Setting library("PTYNET_TWIN_LIBRARY", "1");
  const auto cuda = cuda::make_backend(on_cuda());
  Backwards work;
  work.run(*cuda);
  const std::vector<Array> first = work.copies();
  cuda->record([&] { work.run(*cuda); });
  for (const char* task : {kByWeights, kByInput}) {
    ConvChoice& choice = cuda->choices()->at(task);
    CHECK(choice.seconds.contains("twin engine 1"));
    choice = {"twin engine 1", {}};
  }
  const auto replay = cuda->record([&] { work.run(*cuda); });
  CHECK(replay->steps()[1] == "gradient by w, conv2d by twin engine 1 [16, 3, 3, 8]");
  CHECK(replay->steps()[2] == "gradient by x, conv2d by twin engine 1 [2, 10, 9, 16]");
  for (int run = 0; run < 2; ++run) {
    for (Array* d : {&work.d.x, &work.d.w}) std::fill_n(d->data<float>(), d->elements(), 0.0F);
    replay->run();
    expect_same_bytes(work.copies(), first);
  }
}

TEST_CASE("gradients of a context with TF32 round their factors, and nothing else") {
  ContextOptions options = on_cuda();
  options.tf32 = true;
  const auto cuda = cuda::make_backend(options);
  const auto reference = make_reference_backend();
  Backwards found;
  Backwards expected;
  found.run(*cuda);
  expected.run(*reference);
  // Two factors of 11 bits each, whose errors do not add up.
  for (const auto member : {&OperandGradients::x, &OperandGradients::w}) {
    CHECK(difference(found.d.*member, expected.d.*member) < 0x1p-10);
    CHECK(difference(found.d.*member, expected.d.*member) > 0x1p-15);
  }
  CHECK(difference(found.d.b, expected.d.b) <= tolerance_of(32));
}

TEST_CASE("batch norm trains on 16-bit arrays, with all of its channels' numbers in f32") {
  const auto cuda = cuda::make_backend(on_cuda());
  const auto reference = make_reference_backend();
  for (const DType type : {DType::kBf16, DType::kF16}) {
    const Shape shape{2, 5, 6, 16};
    const Array x = narrowed(random_array("x", shape), type);
    const Array dy = narrowed(random_array("dy", shape), type);
    const auto run = [&](Backend& on) {
      const auto room = [] { return Array::zeros({16}, DType::kF32); };
      BatchNormParameters p{random_array("w", {16}), random_array("b", {16}), room(), room()};
      BatchStatistics batch = room_for_batch(16);
      Array y = Array::host(shape, type);
      on.batch_norm_training(x, p, batch, y);
      OperandGradients d{Array::host(shape, type), room(), room()};
      on.batch_norm_gradient(x, batch, {}, dy, d);
      return std::vector<Array>{y,
                                d.x,
                                batch.mean,
                                batch.scale,
                                d.w,
                                d.b,
                                p.running_mean,
                                p.running_var,
                                batch.shift,
                                batch.inverse_std};
    };
    const std::vector<Array> found = run(*cuda);
    const std::vector<Array> expected = run(*reference);
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO(name_of(type) << " " << i);
      // Beside a tie the last bits of f32 decide to which neighbour a result goes.
      const double neighbour = type == DType::kBf16 ? 0x1p-7 : 0x1p-10;
      const bool is_narrow = found[i].dtype() == type;
      CHECK(difference(found[i], expected[i]) <= (is_narrow ? neighbour : tolerance_of(60)));
    }
  }
}
