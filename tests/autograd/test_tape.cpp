#include <cmath>

#include "autograd/losses.h"
#include "autograd/operations.h"
#include "autograd/optimiser.h"
#include "tests/catch.h"

using namespace ptynet;

namespace {

Tensor constant(const std::vector<float>& values, const Shape& shape) {
  return Tensor(Array::copy_of(values, shape));
}

std::vector<float> values_of(const Array& array) {
  const auto* from = array.data<float>();
  return {from, from + array.elements()};
}

// Hands `dy` to y, as a loss would.
void seed(Tape& tape, const Tensor& y, const std::vector<float>& dy) {
  tape.accumulate(y, Array::copy_of(dy, y.shape()));
}

constexpr Activation kDouble{ActivationKind::kLeakyRelu, 2.0F, 0};  // below zero: times two

}  // namespace

TEST_CASE("nothing is recorded where no tape watches") {
  Context context;
  const Tensor x = constant({1, -2}, {1, 1, 1, 2});
  const Tensor y = add(context, activation(context, x, kDouble), x);
  CHECK(y.tape() == nullptr);
  CHECK(y.gradient().empty());
}

TEST_CASE("gradients of a value that is used several times add up") {
  Context context;
  Tape tape(context);
  Tensor x = constant({1, -2, 3, -4}, {1, 1, 2, 2});
  tape.watch(x);
  // y = f(x) + x + x: dy/dx = f' + 2
  const Tensor y = add(context, add(context, activation(context, x, kDouble), x), x);
  REQUIRE(y.tape() == &tape);
  seed(tape, y, {1, 1, 10, 100});
  tape.backward();
  CHECK(values_of(x.gradient()) == std::vector<float>{3, 4, 30, 400});
}

TEST_CASE("a gradient that two operands share is not written to") {
  Context context;
  Tape tape(context);
  Tensor a = constant({1}, {1, 1, 1, 1});
  Tensor b = constant({2}, {1, 1, 1, 1});
  tape.watch(a);
  tape.watch(b);
  const Tensor y = add(context, add(context, a, b), b);
  seed(tape, y, {5});
  tape.backward();
  CHECK(values_of(a.gradient()) == std::vector<float>{5});
  CHECK(values_of(b.gradient()) == std::vector<float>{10});
}

TEST_CASE("a constant operand costs no gradient and gets none") {
  Context context;
  Tape tape(context);
  Tensor w = constant({2}, {1, 1, 1, 1});
  const Tensor x = constant({3}, {1, 1, 1, 1});
  tape.watch(w);
  const Tensor y = conv2d(context, x, w, {}, {});
  CHECK(x.tape() == nullptr);
  CHECK(y.tape() == &tape);
}

TEST_CASE("what the loss does not depend on has no gradient") {
  Context context;
  Tape tape(context);
  Tensor x = constant({1}, {1, 1, 1, 1});
  Tensor unused = constant({1}, {1, 1, 1, 1});
  tape.watch(x);
  tape.watch(unused);
  const Tensor y = activation(context, x, kDouble);
  const Tensor dead_end = activation(context, y, kDouble);
  seed(tape, y, {7});
  tape.backward();
  CHECK(values_of(x.gradient()) == std::vector<float>{7});
  CHECK(unused.gradient().empty());
  CHECK(dead_end.gradient().empty());
}

TEST_CASE("a tape that is gone leaves constants behind") {
  Context context;
  Tensor x = constant({1}, {1, 1, 1, 1});
  {
    Tape tape(context);
    tape.watch(x);
    CHECK(x.tape() == &tape);
    const Tensor y = activation(context, x, kDouble);
    CHECK(y.tape() == &tape);
  }
  CHECK(x.tape() == nullptr);
  CHECK(x.gradient().empty());
}

TEST_CASE("a tensor cannot be on two tapes") {
  Context context;
  Tape first(context);
  Tape second(context);
  Tensor x = constant({1}, {1, 1, 1, 1});
  first.watch(x);
  CHECK_THROWS_WITH(second.watch(x), Catch::Contains("two tapes"));
}

TEST_CASE("a node's memory is given back as soon as it is used") {
  // A chain of n activations keeps n outputs for the way back, and one gradient at a time.
  Context context;
  const Shape shape{1, 16, 16, 4};
  const std::size_t bytes = static_cast<std::size_t>(shape.elements()) * sizeof(float);
  Arena arena(context.backend().allocator());
  context.backend().set_allocator(&arena);
  {
    Tape tape(context);
    Tensor x(Array::zeros(shape, DType::kF32));
    tape.watch(x);
    Tensor y = x;
    for (int i = 0; i < 8; ++i) y = activation(context, y, kDouble);
    tape.accumulate(y, context.allocate(shape, DType::kF32));
    y = Tensor();
    tape.backward();
  }
  context.backend().set_allocator(nullptr);
  CHECK(arena.peak_bytes() <= 10 * bytes);  // 8 outputs, and two gradients at the turning point
}

TEST_CASE("gradients of concatenated parts are their slices") {
  Context context;
  Tape tape(context);
  Tensor a = constant({1, 2}, {1, 1, 2, 1});
  const Tensor b = constant({3, 4}, {1, 1, 2, 1});
  Tensor c = constant({5, 6, 7, 8}, {1, 1, 2, 2});
  tape.watch(a);
  tape.watch(c);
  const std::vector<Tensor> parts{a, b, c};
  const Tensor y = concat_channels(context, parts);
  seed(tape, y, {1, 2, 3, 4, 5, 6, 7, 8});
  tape.backward();
  CHECK(values_of(a.gradient()) == std::vector<float>{1, 5});
  CHECK(values_of(c.gradient()) == std::vector<float>{3, 4, 7, 8});
  CHECK(b.gradient().empty());
}

TEST_CASE("a batch norm of one value per channel is not trained") {
  Context context;
  const Tensor x = constant({1, 2}, {1, 1, 1, 2});
  const Tensor ones = constant({1, 1}, {2});
  CHECK_THROWS_WITH(batch_norm_training(context, x, ones, ones, {ones.value(), ones.value()}),
                    Catch::Contains("larger batch"));
}

TEST_CASE("losses on one tape add up, each times its factor") {
  Context context;
  const Shape shape{1, 2, 2};
  const PatchTensors target{constant({0, 0, 0, 0}, shape), constant({0, 0, 0, 0}, shape)};
  const auto gradient = [&](double first, double second) {
    Tape tape(context);
    PatchTensors patch{constant({1, 2, 3, 4}, shape), constant({1, 1, 1, 1}, shape)};
    tape.watch(patch.amplitude);
    Array sums = Array::zeros({1, 2}, DType::kF64);
    for (const double factor : {first, second}) {
      patch_error(context, patch, target, {}, factor, sums);
    }
    tape.backward();
    CHECK(sums.data<double>()[0] == Approx(30.0 / 4));
    CHECK(sums.data<double>()[1] == Approx(1.0));
    return values_of(patch.amplitude.gradient());
  };
  // d/da of factor * mean a^2 = factor * a / 2
  CHECK(gradient(1, 3) == std::vector<float>{2, 4, 6, 8});
  CHECK(gradient(0.5, 0.5) == std::vector<float>{0.5, 1, 1.5, 2});
}
