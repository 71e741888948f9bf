#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numeric>

#include "kernels/context.h"
#include "tests/catch.h"
#include "tests/kernels/cases.h"
#include "tests/kernels/compare.h"
#include "tests/kernels/recorded_patterns.h"

using namespace ptynet;
using namespace ptynet::tests;

TEST_CASE("the CPU backend agrees with the reference on every operation") {
  const auto cpu = make_cpu_backend(2);
  const auto reference = make_reference_backend();
  for (const OperationCase& c : operation_cases()) {
    INFO(c.name);
    std::vector<Output> found;
    CHECK_NOTHROW(found = c.run(*cpu));
    const std::vector<Output> expected = c.run(*reference);
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO("output " << i << " " << describe(found[i].value) << ", sums of "
                     << found[i].sum_length);
      CHECK(difference(found[i].value, expected[i].value) <= tolerance_of(found[i].sum_length));
    }
  }
}

TEST_CASE("the check backend compares every operation, and leaves what the tested one did") {
  // The reference against itself is the same to the bit, also where values are updated in place.
  const auto alike = make_check_backend(make_reference_backend(), make_reference_backend(), 0.0);
  // No difference is within NaN.
  const auto strict = make_check_backend(make_reference_backend(), make_reference_backend(),
                                         std::numeric_limits<double>::quiet_NaN());
  const auto reference = make_reference_backend();
  for (const OperationCase& c : operation_cases()) {
    INFO(c.name);
    std::vector<Output> found;
    CHECK_NOTHROW(found = c.run(*alike));
    const std::vector<Output> expected = c.run(*reference);
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(difference(found[i].value, expected[i].value) == 0);
    }
    CHECK_THROWS_WITH(c.run(*strict), Catch::StartsWith("check of "));
  }
  // In the table its far field comes from a diffract(), which the strict one does not let pass.
  const ExitWave wave{random_array("a", {1, 4, 4}), random_array("p", {1, 4, 4}),
                      random_array("probe", {1, 4, 4, 2})};
  Array far = Array::host({1, 1, 4, 4, 2}, DType::kF32);
  Array intensity = Array::host({1, 4, 4}, DType::kF32);
  reference->diffract(wave, far, intensity);
  ExitWave d{Array::host({1, 4, 4}, DType::kF32), {}, {}};
  CHECK_THROWS_WITH(strict->diffract_gradient(wave, far, intensity, d),
                    Catch::StartsWith("check of diffract_gradient f32[1, 4, 4]"));
}

TEST_CASE("a pair is its two convolutions, one after the other, where no kernel does both") {
  const Array x = random_array("x", {2, 5, 4, 6});
  const ConvLayer down{
      random_array("w", {8, 3, 3, 3}), random_array("b", {8}), {2, 1, 2, kLeaky, false}, false};
  const ConvLayer up{
      random_array("wt", {8, 4, 4, 6}), random_array("bt", {6}), {2, 1, 1, kTanh, false}, true};
  for (const auto& make : {+[] { return make_cpu_backend(2); }, make_reference_backend}) {
    const auto backend = make();
    Array small = Array::host({2, 3, 2, 8}, DType::kF32);
    Array large = Array::host({2, 6, 4, 6}, DType::kF32);
    Array again = Array::host({2, 3, 2, 8}, DType::kF32);
    backend->conv2d(x, down.w, down.b, down.options, small);
    backend->conv_transpose2d(small, up.w, up.b, up.options, large);
    backend->conv2d(large, down.w, down.b, down.options, again);
    CHECK_FALSE(backend->fuses(x, down, up));
    Array found = Array::host(large.shape(), DType::kF32);
    backend->conv_pair(x, down, up, found);
    CHECK(difference(found, large) == 0);
    Array other = Array::host(again.shape(), DType::kF32);
    backend->conv_pair(small, up, down, other);
    CHECK(difference(other, again) == 0);
  }
}

TEST_CASE("a recording gives the same bytes as the first run, and sees new inputs") {
  Context context;
  Backend& backend = context.backend();
  Array x = random_array("x", {1, 8, 8, 16});
  const Array w = random_array("w", {16, 3, 3, 16});
  const Array b = random_array("b", {16});
  const Array wt = random_array("wt", {16, 4, 4, 8});
  const ConvOptions forward{1, 1, 1, {ActivationKind::kLeakyRelu, 0.2F, 0}, true};
  const ConvOptions up{2, 1, 2, {}, true};
  Array middle = Array::host({1, 8, 8, 16}, DType::kF32);
  Array y = Array::host({1, 16, 16, 16}, DType::kF32);
  const auto work = [&] {
    backend.conv2d(x, w, b, forward, middle);
    backend.conv_transpose2d(middle, wt, b, up, y);
  };
  work();
  const Array first = y.clone();
  std::fill_n(y.data<float>(), y.elements(), 0.0F);
  const auto replay = backend.record(work);
  CHECK(replay->steps().size() == 2);
  CHECK(y.data<float>()[0] == 0.0F);  // recording does not compute
  replay->run();
  CHECK(std::equal(first.data<float>(), first.data<float>() + first.elements(), y.data<float>()));
  x.data<float>()[0] += 1;
  replay->run();
  CHECK_FALSE(
      std::equal(first.data<float>(), first.data<float>() + first.elements(), y.data<float>()));
  CHECK(replay->time_steps().size() == 2);
}

TEST_CASE("a recording simulates whatever patterns its number says") {
  for (const auto& backend :
       {make_cpu_backend(2), make_reference_backend(),
        make_check_backend(make_cpu_backend(2), make_reference_backend(), 0)}) {
    check_recorded_patterns(*backend);
  }
}

TEST_CASE("bad pixels make no number, whatever they hold") {
  // Both backends share one rule, so that it is held against numbers here.
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& make : {+[] { return make_cpu_backend(2); }, make_reference_backend}) {
    const auto backend = make();
    const auto entered = [&](const Array& frames) {
      Array y = Array::host({1, 1, 6, 1}, DType::kF32);
      backend->input_rule(frames, {}, {InputQuantity::kIntensity, InputScale::kNone}, y);
      return std::vector<float>(y.data<float>(), y.data<float>() + 6);
    };
    const Shape shape{1, 1, 6};
    CHECK(entered(Array::copy_of<float>({1, inf, nan, -inf, -1, 2}, shape)) ==
          std::vector<float>{1, 0, 0, 0, 0, 2});
    CHECK(entered(Array::copy_of<std::int32_t>({1, 2147483647, -1, 2147483646, 0, 2}, shape)) ==
          std::vector<float>{1, 0, 0, 2147483646.0F, 0, 2});
    CHECK(entered(Array::copy_of<std::uint8_t>({1, 255, 254, 0, 3, 2}, shape)) ==
          std::vector<float>{1, 0, 254, 0, 3, 2});
    Array sums = Array::host({1, 2}, DType::kF64);
    backend->r_factor_sums(Array::copy_of<float>({1, 1, 1, 1, 1, 1}, shape),
                           Array::copy_of<float>({4, inf, nan, -inf, -1, 9}, shape), sums);
    CHECK(sums.data<double>()[0] == 3.0);
    CHECK(sums.data<double>()[1] == 5.0);
  }
}

TEST_CASE("what oneDNN refuses is said in our words") {
  const auto backend = make_cpu_backend(1);
  const Array x = random_array("x", {1, 1, 1, 8});
  const Array w = random_array("w", {8, 3, 3, 8});
  Array y = Array::host({1, 1, 1, 8}, DType::kF32);
  // A kernel that does not fit: operations refuse it, a backend does not look.
  CHECK_THROWS_AS(backend->conv2d(x, w, {}, {}, y), Error);
  CHECK_THROWS_WITH(
      backend->conv2d(x, w, {}, {}, y),
      Catch::Contains("oneDNN cannot do a convolution 3x3 8->8 g1 of f32[1, 1, 1, 8]"));
}

TEST_CASE("a rehearsal asks for the memory of a recording, and computes nothing on the CPU") {
  const auto backend = make_cpu_backend(1);
  const Array x = random_array("x", {1, 8, 8, 16});
  const Array w = random_array("w", {16, 3, 3, 16});
  Array y = Array::zeros({1, 8, 8, 16}, DType::kF32);
  const ConvOptions o{1, 1, 1, {}, true};
  const auto work = [&] {
    Array middle = backend->allocator().allocate(y.shape(), DType::kF32);
    backend->conv2d(x, w, {}, o, middle);
    backend->activation(middle, {ActivationKind::kRelu, 0, 0}, y);
  };
  Arena arena(backend->allocator());
  backend->set_allocator(&arena);
  backend->rehearse(work);
  CHECK(arena.peak_bytes() >= y.bytes());
  CHECK(*std::max_element(y.data<float>(), y.data<float>() + y.elements()) == 0.0F);
  backend->release_unused();
  arena.place();
  const auto replay = backend->record(work);
  backend->set_allocator(nullptr);
  replay->run();
  CHECK(*std::max_element(y.data<float>(), y.data<float>() + y.elements()) > 0.0F);
}

TEST_CASE("a rehearsal leaves what operations update in place as it was") {
  const Array x = random_array("x", {2, 3, 4, 5});
  for (const auto& backend :
       {make_cpu_backend(1), make_reference_backend(),
        make_check_backend(make_cpu_backend(1), make_reference_backend(), 1e-5)}) {
    BatchNormParameters p{random_array("w", {5}), random_array("b", {5}), random_array("m", {5}),
                          random_array("v", {5}, 0.1, 2)};
    BatchStatistics batch = room_for_batch(5);
    Array y = Array::host(x.shape(), DType::kF32);
    const AdamTensor t{random_array("value", {5}), random_array("gradient", {5}),
                       random_array("first", {5}), random_array("second", {5}, 0, 1)};
    Array state = Array::copy_of<double>({1e-3, 4}, {2});
    Array scaling = Array::copy_of<double>({4, 5, 6}, {3});
    Array probe = random_array("probe", {7});
    const Array updated[] = {p.running_mean,  p.running_var, t.value, t.first_moment,
                             t.second_moment, state,         scaling, probe};
    std::vector<Array> before;
    for (const Array& a : updated) before.push_back(a.clone());
    const auto work = [&] {
      backend->batch_norm_training(x, p, batch, y);
      backend->adam({}, {t}, state, scaling);
      backend->keep_power(probe, 3);
    };
    backend->rehearse(work);
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(difference(updated[i], before[i]) == 0);
    work();
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(difference(updated[i], before[i]) > 0);
  }
}

TEST_CASE("the oracle does not narrow f64 on its way") {
  const auto backend = make_reference_backend();
  const double fine = 1 + 1e-12;
  const Array frames = Array::copy_of<double>({fine, -1, 1e300, INFINITY}, {1, 2, 2});
  Array y = Array::host({1, 2, 2, 1}, DType::kF64);
  backend->input_rule(frames, {}, {InputQuantity::kIntensity, InputScale::kNone}, y);
  CHECK(numbers_of(y) == std::vector<double>{fine, 0, 1e300, 0});
  Array sums = Array::host({1, 4}, DType::kF64);
  Array d = Array::host({1, 2, 2}, DType::kF64);
  const Array predicted = Array::copy_of<double>({1, 1, 1, 1}, {1, 2, 2});
  backend->intensity_loss(IntensityLoss::kL1, predicted, frames, 1, sums, d);
  CHECK(sums.data<double>()[1] == 2.0);  // both finite ones are counts
  CHECK(numbers_of(d) == std::vector<double>{-0.5, 0, -0.5, 0});
}

TEST_CASE("keeping the power scales it to what is asked, and leaves nothing as nothing") {
  for (const auto& make : {+[] { return make_cpu_backend(2); }, make_reference_backend}) {
    Array x = Array::copy_of<float>({1, -2, 2, 4}, {1, 1, 2, 2});
    make()->keep_power(x, 100);
    CHECK(numbers_of(x) == std::vector<double>{2, -4, 4, 8});
    Array dark = Array::zeros({1, 1, 2, 2}, DType::kF32);
    make()->keep_power(dark, 100);
    CHECK(numbers_of(dark) == std::vector<double>(4));
  }
}

TEST_CASE("the check backend finds a wrong result and names it") {
  // The tested backend lies about one operation.
  const auto broken = make_check_backend(make_cpu_backend(1), make_reference_backend(), 0.0);
  const auto cases = operation_cases();
  const auto sigmoid = std::find_if(cases.begin(), cases.end(),
                                    [](const auto& c) { return c.name == "activation 4"; });
  REQUIRE(sigmoid != cases.end());
  // With no tolerance at all, f32 against double must differ somewhere.
  CHECK_THROWS_WITH(sigmoid->run(*broken), Catch::Contains("check of activation f32[2, 6, 8, 5]"));
}

TEST_CASE("a transposed convolution is the adjoint of the convolution with its weights") {
  Context context;
  const Array x = random_array("x", {2, 5, 6, 6});
  const Array y = random_array("y", {2, 9, 11, 4});
  const Array w = random_array("w", {6, 3, 3, 2});  // a convolution 4 -> 6 in 2 groups
  const ConvOptions o{2, 1, 2, {}, false};
  Array up = Array::host({2, 9, 11, 4}, DType::kF32);
  Array down = Array::host({2, 5, 6, 6}, DType::kF32);
  context.backend().conv_transpose2d(x, w, {}, o, up);
  context.backend().conv2d(y, w, {}, o, down);
  const auto dot = [](const Array& a, const Array& b) {
    return std::inner_product(a.data<float>(), a.data<float>() + a.elements(), b.data<float>(),
                              0.0);
  };
  // <conv(y), x> = <y, conv_transpose(x)>, both sums of 792 products near 1 in f32
  CHECK(dot(up, y) == Approx(dot(x, down)).margin(1e-3));
}

TEST_CASE("the transform keeps energy: Parseval") {
  Context context;
  const Array x = random_complex("x", {1, 16, 12});
  Array y = Array::host({1, 16, 12}, DType::kC64);
  context.backend().fft2(x, FftDirection::kForward, y);
  const auto energy = [](const Array& a) {
    const auto* v = a.data<std::complex<float>>();
    return std::accumulate(v, v + a.elements(), 0.0,
                           [](double sum, auto z) { return sum + double{std::norm(z)}; });
  };
  CHECK(energy(y) == Approx(energy(x) * 16 * 12).epsilon(1e-6));
}

TEST_CASE("stitching gives the same bytes in any order and on both backends") {
  const Array patches = random_complex("patches", {5, 8, 6});
  const Array weight = random_array("weight", {8, 6}, 0, 1);
  const Array corners = Array::copy_of<double>({0, 0, 3, 2.5, 7.25, 1, 1.75, 9.5, 12, 12}, {5, 2});
  struct Canvas {
    std::vector<std::int64_t> object = std::vector<std::int64_t>(2 * 24 * 24);
    std::vector<std::int64_t> coverage = std::vector<std::int64_t>(24 * 24);
    std::vector<std::uint32_t> count = std::vector<std::uint32_t>(24 * 24);
    bool operator==(const Canvas&) const = default;
  };
  const auto stitched = [&](Backend& backend, const std::vector<std::int64_t>& order) {
    Canvas canvas;
    for (const std::int64_t i : order) {
      backend.stitch(patches.slice(i, 1), weight, corners.slice(i, 1), 1,
                     {canvas.object.data(), canvas.coverage.data(), canvas.count.data(), 24, 24});
    }
    return canvas;
  };
  const auto cpu = make_cpu_backend(2);
  const auto reference = make_reference_backend();
  const Canvas forward = stitched(*cpu, {0, 1, 2, 3, 4});
  CHECK(forward == stitched(*cpu, {4, 2, 0, 3, 1}));
  CHECK(forward == stitched(*reference, {0, 1, 2, 3, 4}));
  CHECK(std::accumulate(forward.count.begin(), forward.count.end(), 0U) > 0);
}

TEST_CASE("stitching leaves out what is no number, on both backends alike") {
  Array patch = Array::zeros({1, 1, 3}, DType::kC64);
  auto* values = patch.data<std::complex<float>>();
  values[0] = {std::numeric_limits<float>::quiet_NaN(), 1};
  values[1] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  values[2] = {0.5F, 1};
  const Array weight = Array::copy_of<float>({1, 1, 1}, {1, 3});
  const Array corner = Array::copy_of<double>({0, 0}, {1, 2});
  const std::int64_t one = std::int64_t{1} << 39;
  for (const auto& make : {+[] { return make_cpu_backend(1); }, make_reference_backend}) {
    std::vector<std::int64_t> object(6);
    std::vector<std::int64_t> coverage(3);
    std::vector<std::uint32_t> count(3);
    make()->stitch(patch, weight, corner, 0, {object.data(), coverage.data(), count.data(), 1, 3});
    CHECK(object == std::vector<std::int64_t>{0, one, 64 * one, -64 * one, one / 2, one});
  }
}

TEST_CASE("counter-based random numbers are those of the Python oracle") {
  // counter_uniform(0, "input", 3) and counter_uniform(5, "encoder.0.conv.weight", 2)
  const CounterRandom input(0, "input");
  CHECK(input.uniform(0) == 0.0978183426575382);
  CHECK(input.uniform(2) == 0.20362427326354626);
  const CounterRandom weight(5, "encoder.0.conv.weight");
  CHECK(weight.uniform(1) == 0.9060801396465571);
}
