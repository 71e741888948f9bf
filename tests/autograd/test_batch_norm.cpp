// Batch norm in training mode with its activation, held against the two one after the other.
#include <algorithm>
#include <cmath>

#include "autograd/operations.h"
#include "kernels/random.h"
#include "tests/catch.h"

using namespace ptynet;

namespace {

const Shape kShape{3, 16, 20, 7};
const Shape kChannels{7};

Array uniform(const std::string& name, const Shape& shape, double low, double high) {
  const CounterRandom random(3, name);
  Array out = Array::host(shape, DType::kF32);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<float>()[i] =
        static_cast<float>(low + (high - low) * random.uniform(static_cast<std::uint64_t>(i)));
  }
  return out;
}

// Of four pixels two lie evenly about 10.6 and two within a few roundings of it, and so of the
// mean, which is no float: with a bias of 0 the kink of a rectifier is amid them.
Array around_a_kink() {
  Array x = uniform("x", kShape, 0.1, 1);
  auto* values = x.data<float>();
  const std::int64_t c = kChannels[0];
  for (std::int64_t i = 0; i < x.elements(); ++i) {
    const std::int64_t pixel = i / c;
    const float apart = pixel % 4 == 2 ? values[i - 2 * c] - 10.6F : -values[i];
    values[i] = 10.6F - (pixel % 2 == 0 ? apart : static_cast<float>(pixel % 9 - 4) * 0x1p-20F);
  }
  return x;
}

struct Found {
  Array y, dx, dw, db;
};

Found trained(Context& context, const Activation& a, bool fused) {
  Tape tape(context);
  Tensor x(around_a_kink());
  Tensor weight(uniform("weight", kChannels, 0.5, 2));
  Tensor bias(Array::zeros(kChannels, DType::kF32));
  for (Tensor* watched : {&x, &weight, &bias}) tape.watch(*watched);
  BatchNormState state{Array::zeros(kChannels, DType::kF32), Array::zeros(kChannels, DType::kF32)};
  if (fused) state.activation = a;
  Tensor y = batch_norm_training(context, x, weight, bias, state);
  if (!fused) y = activation(context, y, a);
  tape.accumulate(y, uniform("dy", kShape, -1, 1));
  tape.backward();
  return {y.value(), x.gradient(), weight.gradient(), bias.gradient()};
}

Array narrowed(const Array& a) {
  Array out = Array::host(a.shape(), DType::kBf16);
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    out.data<Bfloat16>()[i] = narrow_bf16(a.data<float>()[i]);
  }
  return out;
}

Array widened(const Array& a) {
  Array out = Array::host(a.shape(), DType::kF32);
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    out.data<float>()[i] = widen(a.data<Bfloat16>()[i]);
  }
  return out;
}

// The largest difference, over the largest magnitude.
double difference(const Array& found, const Array& expected) {
  double worst = 0;
  double largest = 0;
  for (std::int64_t i = 0; i < expected.elements(); ++i) {
    const double e = double{expected.data<float>()[i]};
    worst = std::max(worst, std::abs(double{found.data<float>()[i]} - e));
    largest = std::max(largest, std::abs(e));
  }
  return worst / largest;
}

}  // namespace

TEST_CASE("a batch norm takes the activation that follows it without changing what comes out") {
  Context context;
  for (const Activation& a :
       {Activation{}, Activation{ActivationKind::kLeakyRelu, 0.2F, 0},
        Activation{ActivationKind::kRelu, 0, 0}, Activation{ActivationKind::kHardtanh, -1, 0},
        Activation{ActivationKind::kSigmoid, 0, 0}, Activation{ActivationKind::kTanh, 0, 0}}) {
    INFO("activation " << static_cast<int>(a.kind));
    const Found together = trained(context, a, true);
    const Found apart = trained(context, a, false);
    CHECK(difference(together.y, apart.y) == 0);
    // One slope of the wrong side would be off by a hundredth or more.
    CHECK(difference(together.dx, apart.dx) <= 1e-6);
    CHECK(difference(together.dw, apart.dw) <= 1e-6);
    CHECK(difference(together.db, apart.db) <= 1e-6);
  }
}

TEST_CASE("a batch norm keeps the statistics of 16-bit activations in f32") {
  Context context(make_reference_backend());
  const auto gradients = [&](const Array& values, const Array& dy) {
    Tape tape(context);
    Tensor x(values);
    Tensor weight(uniform("weight", kChannels, 0.5, 2));
    Tensor bias(uniform("bias", kChannels, -1, 1));
    for (Tensor* watched : {&x, &weight, &bias}) tape.watch(*watched);
    const BatchNormState state{Array::zeros(kChannels, DType::kF32),
                               Array::zeros(kChannels, DType::kF32)};
    Tensor y = batch_norm_training(context, x, weight, bias, state);
    CHECK(y.value().dtype() == values.dtype());
    tape.accumulate(y, dy);
    tape.backward();
    CHECK(x.gradient().dtype() == values.dtype());
    return std::pair(weight.gradient(), bias.gradient());
  };
  const Array x = narrowed(uniform("x", kShape, 0, 3));
  const Array dy = narrowed(uniform("dy", kShape, -1, 1));
  const auto [dw, db] = gradients(x, dy);
  const auto [expected_dw, expected_db] = gradients(widened(x), widened(dy));
  CHECK(difference(dw, expected_dw) == 0);
  CHECK(difference(db, expected_db) == 0);
}
