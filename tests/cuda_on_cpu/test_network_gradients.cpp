// A whole PtyNet-S on a CUDA device (cuda_device.h), from counts through the diffraction to the
// loss, back to every gradient, and one step of Adam: beside the reference backend in double.
#include <map>

#include "autograd/losses.h"
#include "autograd/optimiser.h"
#include "kernels/random.h"
#include "layers/network.h"
#include "tests/cuda_on_cpu/cuda_device.h"
#include "tests/kernels/compare.h"

using namespace ptynet;
using namespace ptynet::tests;

namespace {

constexpr std::int64_t kSide = 16;
const Shape kFrames{3, kSide, kSide};
// Adam's first step is rate * g / (|g| + epsilon): an epsilon of their size, so that small
// gradients count too, and a rate that lets rounding of the parameters hide no step.
constexpr AdamOptions kAdam{.epsilon = 1e-4};
constexpr double kRate = 1;

// The same numbers in both types: they are those of f32.
Array uniform(const char* name, const Shape& shape, double low, double high, DType type) {
  const CounterRandom random(7, name);
  Array out = Array::host(shape, type);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    const double u = random.uniform(static_cast<std::uint64_t>(i));
    const auto value = static_cast<float>(low + (high - low) * u);
    if (type == DType::kF64) {
      out.data<double>()[i] = double{value};
    } else {
      out.data<float>()[i] = value;
    }
  }
  return out;
}

struct Outcome {
  double loss = 0;
  std::map<std::string, Array> gradients;
  std::map<std::string, Array> values;  // after the step
};

Array on_host(Context& context, const Array& a) {
  Array out = Array::host(a.shape(), a.dtype());
  context.backend().copy(a, out);
  context.backend().synchronize();
  return out;
}

Outcome step_on(Context& context, IntensityLoss kind, DType type) {
  const Architecture architecture = built_in_architecture("ptynet-s");
  Network network(context, architecture, random_state(architecture, 3, 1.0),
                  {.fold_batch_norm = false, .type = type});
  const Array frames = on_device(context, uniform("counts", kFrames, 0, 400, type));
  const Tensor probe(on_device(context, uniform("probe", {2, kSide, kSide, 2}, -1, 1, type)));
  std::vector<Parameter> parameters;
  std::vector<Array> values;
  for (const Parameter& p : network.parameters()) {
    if (!p.trainable) continue;
    parameters.push_back(p);
    values.push_back(p.tensor->value());
  }
  Adam adam(context, values, kAdam);
  adam.set_learning_rate(kRate);
  Array sums = context.allocate({kFrames[0], 4}, DType::kF64);
  context.backend().zero(sums);

  Tape tape(context);
  for (const Parameter& p : parameters) tape.watch(*p.tensor);
  const Tensor x = input_rule(context, frames, {}, architecture.input, type);
  const Pass pass{.result = type, .training = true, .fixed_weights = false};
  const PatchTensors patch = output_heads(context, network.forward(context, x, pass),
                                          architecture.amplitude, architecture.phase);
  intensity_loss(context, kind, diffract(context, patch, probe), frames, 1.0, sums);
  tape.backward();
  std::vector<Array> gradients;
  for (const Parameter& p : parameters) gradients.push_back(p.tensor->gradient());
  adam.step(gradients);

  Outcome out;
  double good = 0;
  const Array host = on_host(context, sums);
  for (std::int64_t i = 0; i < kFrames[0]; ++i) {
    out.loss += host.data<double>()[4 * i];
    good += host.data<double>()[4 * i + 1];
  }
  out.loss /= good;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    out.gradients.emplace(parameters[i].name, on_host(context, gradients[i]));
    out.values.emplace(parameters[i].name, on_host(context, values[i]));
  }
  return out;
}

// Of the longest sum on the way.
std::int64_t most_terms() {
  double most = 2 * static_cast<double>(kSide * kSide);  // both ways through the transform
  for (const LayerTrace& layer : trace(built_in_architecture("ptynet-s"), kSide, kSide)) {
    if (layer.weights == 0) continue;
    const auto pixels = static_cast<double>(kFrames[0] * layer.output[1] * layer.output[2]);
    for (const double terms : {layer.weights / static_cast<double>(layer.output[3]),
                               layer.weights / static_cast<double>(layer.input[3]), pixels}) {
      most = std::max(most, terms);
    }
  }
  return static_cast<std::int64_t>(most);
}

// How far the values after a step are off, over what gradients g off by `error` make of it: by the
// slope of g / (|g| + epsilon), and by roundings of the result.
double worst_step(const Array& found_values, const Array& expected_values, const Array& gradient,
                  double error) {
  const std::vector<double> found = numbers_of(found_values);
  const std::vector<double> expected = numbers_of(expected_values);
  const std::vector<double> g = numbers_of(gradient);
  double worst = 0;
  for (std::size_t i = 0; i < g.size(); ++i) {
    const double off = std::abs(found[i] - expected[i]);
    const double size = std::abs(g[i]) + kAdam.epsilon;
    const double allowed = kRate * error * kAdam.epsilon / (size * size) +
                           kRounding * kUnitRoundoff * (std::abs(expected[i]) + kRate);
    worst = std::isnan(off) ? INFINITY : std::max(worst, off / allowed);
  }
  return worst;
}

double largest(const Array& a) {
  double out = 0;
  for (const double value : numbers_of(a)) out = std::max(out, std::abs(value));
  return out;
}

}  // namespace

TEST_CASE("the gradients of PtyNet-S and a step of Adam are those of float64") {
  NEED_CUDA();
  const double tolerance = tolerance_of(most_terms());
  for (const IntensityLoss kind : {IntensityLoss::kL1, IntensityLoss::kAmplitude}) {
    Context cuda(on_cuda());
    Context reference(make_reference_backend());
    const Outcome found = step_on(cuda, kind, DType::kF32);
    const Outcome expected = step_on(reference, kind, DType::kF64);
    INFO((kind == IntensityLoss::kL1 ? "l1" : "amplitude")
         << ": loss " << found.loss << " beside " << expected.loss);
    CHECK(std::abs(found.loss - expected.loss) <= tolerance * expected.loss);
    REQUIRE(found.gradients.size() == expected.gradients.size());
    for (const auto& [name, gradient] : expected.gradients) {
      INFO(name);
      CHECK(difference(found.gradients.at(name), gradient) <= tolerance);
      CHECK(worst_step(found.values.at(name), expected.values.at(name), gradient,
                       tolerance * largest(gradient)) <= 1);
    }
  }
}
