// Whole networks through diffraction to a loss: gradients against central differences in double.
#include <cmath>
#include <limits>

#include "autograd/losses.h"
#include "kernels/random.h"
#include "layers/network.h"
#include "tests/catch.h"

using namespace ptynet;

namespace {

Array uniform(const std::string& name, const Shape& shape, double low, double high) {
  const CounterRandom random(11, name);
  Array out = Array::host(shape, DType::kF64);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<double>()[i] = low + (high - low) * random.uniform(static_cast<std::uint64_t>(i));
  }
  return out;
}

// A network at small size in double, from frames to the loss of fine-tuning.
class Problem {
 public:
  Problem(const std::string& name, double gain, std::int64_t side)
      : context_(make_reference_backend()),
        architecture_(built_in_architecture(name)),
        network_(context_, architecture_, random_state(architecture_, 5, gain),
                 {.fold_batch_norm = false, .type = DType::kF64}),
        frames_(uniform("frames", {2, side, side}, 0, 100)),
        probe_(uniform("probe", {1, side, side, 2}, -1, 1)) {}

  // The loss; with a tape, gradients of all that it watches are there after tape->backward().
  double loss() {
    const Pass pass{.result = DType::kF64, .training = true};
    const Tensor x = input_rule(context_, frames_, {}, architecture_.input, DType::kF64);
    const Tensor y = network_.forward(context_, x, pass);
    const PatchTensors patch =
        output_heads(context_, y, architecture_.amplitude, architecture_.phase);
    Array sums = Array::zeros({2, 4}, DType::kF64);
    intensity_loss(context_, IntensityLoss::kAmplitude, diffract(context_, patch, probe_), frames_,
                   1.0, sums);
    const auto* s = sums.data<double>();
    return (s[0] + s[4]) / (s[1] + s[5]);
  }

  Context& context() { return context_; }
  std::vector<Parameter> trainable() {
    std::vector<Parameter> out;
    for (const Parameter& p : network_.parameters()) {
      if (p.trainable) out.push_back(p);
    }
    return out;
  }

  // (loss(value + h d) - loss(value - h d)) / 2h along directions of all `values`.
  double central_difference(std::vector<Array>& values, const std::vector<Array>& directions,
                            double h) {
    const auto move = [&](double by) {
      for (std::size_t k = 0; k < values.size(); ++k) {
        auto* v = values[k].data<double>();
        const auto* d = directions[k].data<double>();
        for (std::int64_t i = 0; i < values[k].elements(); ++i) v[i] += by * d[i];
      }
    };
    move(h);
    const double above = loss();
    move(-2 * h);
    const double below = loss();
    move(h);
    return (above - below) / (2 * h);
  }

 private:
  Context context_;
  Architecture architecture_;
  Network network_;
  Array frames_;
  Tensor probe_;
};

double dot(const Array& a, const Array& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.elements(); ++i) sum += a.data<double>()[i] * b.data<double>()[i];
  return sum;
}

// The gradient's own direction, unevenly stretched and of about unit length, over all parameters at
// once: a step as short as that meets no kink, where steps of 1e-7 in each of millions of values
// would. And random directions of `alone` tensors spread over the network, one at a time.
void check_gradients(const std::string& name, double gain, std::int64_t side, std::size_t alone) {
  Problem problem(name, gain, side);
  const std::vector<Parameter> parameters = problem.trainable();
  std::vector<Array> gradients;
  {
    Tape tape(problem.context());
    for (const Parameter& p : parameters) tape.watch(*p.tensor);
    problem.loss();
    tape.backward();
    for (const Parameter& p : parameters) gradients.push_back(p.tensor->gradient());
  }
  double length = 0;
  for (std::size_t k = 0; k < parameters.size(); ++k) {
    INFO(parameters[k].name);
    REQUIRE(!gradients[k].empty());
    length += dot(gradients[k], gradients[k]);
  }
  std::vector<Array> values;
  std::vector<Array> along;
  double along_all = 0;
  for (std::size_t k = 0; k < parameters.size(); ++k) {
    values.push_back(parameters[k].tensor->value());
    along.push_back(uniform("along " + parameters[k].name, gradients[k].shape(), 0.5, 1.5));
    auto* d = along[k].data<double>();
    const auto* g = gradients[k].data<double>();
    for (std::int64_t i = 0; i < gradients[k].elements(); ++i) d[i] *= g[i] / std::sqrt(length);
    along_all += dot(gradients[k], along[k]);
  }
  constexpr double kStep = 1e-7;
  // What rounding of the loss leaves of a difference over 2 kStep.
  const double rounding = 16 * std::numeric_limits<double>::epsilon() * problem.loss() / kStep;
  const double measured = problem.central_difference(values, along, kStep);
  INFO(name << ": along all parameters " << along_all << ", measured " << measured);
  CHECK(std::abs(measured - along_all) <= 1e-6 * along_all + rounding);

  for (std::size_t i = 0; i < alone; ++i) {
    const std::size_t k = i * (parameters.size() - 1) / std::max<std::size_t>(alone - 1, 1);
    std::vector<Array> one{values[k]};
    const Array direction = uniform("direction " + parameters[k].name, gradients[k].shape(), -1, 1);
    const double expected = dot(gradients[k], direction);
    const double found = problem.central_difference(one, {direction}, kStep);
    const double scale = std::sqrt(dot(gradients[k], gradients[k]));
    INFO(parameters[k].name << ": expected " << expected << ", measured " << found);
    CHECK(std::abs(found - expected) <= 1e-6 * std::max(std::abs(expected), scale) + rounding);
  }
}

}  // namespace

TEST_CASE("gradients of ptynet-s agree with central differences") {
  check_gradients("ptynet-s", 1.0, 16, 30);
}
TEST_CASE("gradients of ptynet-b agree with central differences") {
  check_gradients("ptynet-b", 0.6, 32, 4);  // at 16 px its batch norms see two values
}
TEST_CASE("gradients of ptychonn agree with central differences") {
  check_gradients("ptychonn", 1.0, 8, 12);
}
TEST_CASE("gradients of ptychonn-small-phase agree with central differences") {
  check_gradients("ptychonn-small-phase", 1.0, 16, 12);
}
TEST_CASE("gradients of ptychonet agree with central differences") {
  check_gradients("ptychonet", 1.0, 16, 12);
}
