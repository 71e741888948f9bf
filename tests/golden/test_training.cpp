// The operations of training against what PyTorch computed in float64 (golden/make_training.py), on
// the reference backend in f64 and on the CPU in f32.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/npy.h"
#include "kernels/backend.h"
#include "kernels/random.h"
#include "tests/catch.h"

using namespace ptynet;

namespace {

using Json = nlohmann::json;

const std::string kFolder = PTYNET_SOURCE_DIR "/tests/golden/training/";

Json golden(const std::string& name) {
  std::ifstream file(kFolder + name);
  REQUIRE(file);
  return Json::parse(file);
}

// A backend with the type it is tried in, and how far it may be off as a share of the largest
// expected value: roundings of f32 in sums of up to 500 terms, and where our options are f32
// (momentum 0.1F) those of an f64 backend.
struct Tried {
  std::unique_ptr<Backend> backend;
  DType type;
  double tolerance;
};

std::vector<Tried> backends() {
  std::vector<Tried> out;
  out.push_back({make_reference_backend(), DType::kF64, 1e-8});
  out.push_back({make_cpu_backend(2), DType::kF32, 2e-6});
  return out;
}

Array array_of(const std::vector<double>& values, const Shape& shape, DType type) {
  const Array wide = Array::copy_of(values, shape);
  if (type == DType::kF64) return wide;
  return Array::copy_of(std::vector<float>(values.begin(), values.end()), shape);
}

std::vector<double> values_of(const Array& a) {
  if (a.dtype() == DType::kF64) {
    return {a.data<double>(), a.data<double>() + a.elements()};
  }
  return {a.data<float>(), a.data<float>() + a.elements()};
}

// PyTorch's [n, c, h, w] as [n, h, w, c].
std::vector<double> channels_last(const Json& values, const Shape& s) {  // s of the result
  std::vector<double> out;
  for (std::int64_t n = 0; n < s[0]; ++n) {
    for (std::int64_t pixel = 0; pixel < s[1] * s[2]; ++pixel) {
      for (std::int64_t c = 0; c < s[3]; ++c) {
        out.push_back(values[static_cast<std::size_t>((n * s[3] + c) * s[1] * s[2] + pixel)]);
      }
    }
  }
  return out;
}

Shape shape_of(const Json& nchw) { return {nchw[0], nchw[2], nchw[3], nchw[1]}; }

void check_close(const std::string& what, const Array& found_array,
                 const std::vector<double>& expected, double tolerance) {
  const std::vector<double> found = values_of(found_array);
  REQUIRE(found.size() == expected.size());
  double largest = 0;
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double off = std::abs(found[i] - expected[i]);
    if (!(off <= worst)) worst = off;
    largest = std::max(largest, std::abs(expected[i]));
  }
  INFO(what);
  CHECK(worst <= tolerance * largest);
}

// A layer's case of layers.json, in one backend's type.
struct LayerCase {
  LayerCase(const Json& c, DType type)
      : input(
            array_of(channels_last(c["input"], shape_of(c["shape"])), shape_of(c["shape"]), type)),
        upstream(array_of(channels_last(c["grad_output"], shape_of(c["output_shape"])),
                          shape_of(c["output_shape"]), type)),
        output(Array::host(upstream.shape(), type)),
        d_input(Array::host(input.shape(), type)),
        expected_output(channels_last(c["output"], upstream.shape())),
        expected_d_input(channels_last(c["grad_input"], input.shape())) {}

  Array input;
  Array upstream;
  Array output;
  Array d_input;
  std::vector<double> expected_output;
  std::vector<double> expected_d_input;
};

}  // namespace

TEST_CASE("batch norm in training mode is PyTorch's") {
  const Json all = golden("layers.json")["batch_norm"];
  for (const Tried& on : backends()) {
    INFO(on.backend->name());
    const auto channels = [&](const Json& values) {
      return array_of(values.get<std::vector<double>>(), {static_cast<std::int64_t>(values.size())},
                      on.type);
    };
    BatchNormParameters p{
        channels(all["weight"]),      channels(all["bias"]), channels(all["running_mean"]),
        channels(all["running_var"]), all["epsilon"],        all["momentum"]};
    for (const char* call : {"first", "second"}) {
      INFO(call);
      const Json& c = all[call];
      LayerCase layer(c, on.type);
      const auto room = [&] { return Array::host(p.weight.shape(), on.type); };
      BatchStatistics batch{room(), room(), room(), room()};
      on.backend->batch_norm_training(layer.input, p, batch, layer.output);
      OperandGradients d{layer.d_input, room(), room()};
      on.backend->batch_norm_gradient(layer.input, batch, {}, layer.upstream, d);
      check_close("output", layer.output, layer.expected_output, on.tolerance);
      check_close("running mean", p.running_mean, c["running_mean"], on.tolerance);
      check_close("running variance", p.running_var, c["running_var"], on.tolerance);
      check_close("d input", d.x, layer.expected_d_input, on.tolerance);
      check_close("d weight", d.w, c["grad_weight"], on.tolerance);
      check_close("d bias", d.b, c["grad_bias"], on.tolerance);
    }
  }
}

TEST_CASE("pooling and its gradient are PyTorch's, also among equal values") {
  const Json cases = golden("layers.json")["max_pool2d"];
  REQUIRE(cases.size() == 2);
  for (const Json& c : cases) {
    const std::int64_t kernel = c["kernel"];
    for (const Tried& on : backends()) {
      INFO(on.backend->name() << " " << kernel);
      LayerCase layer(c, on.type);
      on.backend->max_pool2d(layer.input, kernel, layer.output);
      on.backend->max_pool2d_gradient(layer.input, kernel, layer.upstream, layer.d_input);
      check_close("output", layer.output, layer.expected_output, 0);
      check_close("d input", layer.d_input, layer.expected_d_input, on.tolerance);
    }
  }
}

TEST_CASE("upsampling and its gradient are PyTorch's") {
  const Json cases = golden("layers.json")["upsample_bilinear2d"];
  REQUIRE(cases.size() == 2);
  for (const Json& c : cases) {
    const std::int64_t scale = c["scale"];
    for (const Tried& on : backends()) {
      INFO(on.backend->name() << " " << scale);
      LayerCase layer(c, on.type);
      on.backend->upsample_bilinear2d(layer.input, scale, layer.output);
      on.backend->upsample_bilinear2d_gradient(layer.upstream, scale, layer.d_input);
      check_close("output", layer.output, layer.expected_output, on.tolerance);
      check_close("d input", layer.d_input, layer.expected_d_input, on.tolerance);
    }
  }
}

TEST_CASE("the losses through diffraction, and their gradients, are PyTorch's") {
  const io::NpzFile file(kFolder + "losses.npz");
  for (const std::string modes : {"1.", "2."}) {
    const auto read = [&](const std::string& name) { return file.read(modes + name); };
    const Array real = read("probe_real");
    const Array imaginary = read("probe_imaginary");
    const auto pairs = [](const Array& re, const Array& im) {
      std::vector<double> out;
      for (std::int64_t i = 0; i < re.elements(); ++i) {
        out.insert(out.end(), {re.data<double>()[i], im.data<double>()[i]});
      }
      return out;
    };
    const Shape frames = read("counts").shape();
    const Shape probe{real.shape()[0], frames[1], frames[2], 2};
    const Shape fields{frames[0], probe[0], frames[1], frames[2], 2};
    for (const Tried& on : backends()) {
      const auto given = [&](const std::string& name) {
        return array_of(values_of(read(name)), read(name).shape(), on.type);
      };
      const ExitWave wave{given("amplitude"), given("phase"),
                          array_of(pairs(real, imaginary), probe, on.type)};
      for (const IntensityLoss kind :
           {IntensityLoss::kL1, IntensityLoss::kAmplitude, IntensityLoss::kPoisson}) {
        const char* const names[] = {"l1.", "amplitude.", "poisson."};
        const std::string loss = names[static_cast<int>(kind)];
        INFO(on.backend->name() << " " << modes << loss);
        Array far = Array::host(fields, on.type);
        Array intensity = Array::host(frames, on.type);
        Array sums = Array::host({frames[0], 4}, DType::kF64);
        Array d_intensity = Array::host(frames, on.type);
        ExitWave d{Array::host(frames, on.type), Array::host(frames, on.type),
                   Array::host(probe, on.type)};
        on.backend->diffract(wave, far, intensity);
        on.backend->intensity_loss(kind, intensity, given("counts"), 1.0, sums, d_intensity);
        on.backend->diffract_gradient(wave, far, d_intensity, d);
        const double* s = sums.data<double>();
        const double value = (s[0] + s[4]) / (s[1] + s[5]);
        check_close("intensity", intensity, values_of(read("intensity")), on.tolerance);
        check_close("value", Array::copy_of<double>({value}, {1}), values_of(read(loss + "value")),
                    on.tolerance);
        check_close("d amplitude", d.amplitude, values_of(read(loss + "grad_amplitude")),
                    on.tolerance);
        check_close("d phase", d.phase, values_of(read(loss + "grad_phase")), on.tolerance);
        check_close("d probe", d.probe,
                    pairs(read(loss + "grad_probe_real"), read(loss + "grad_probe_imaginary")),
                    on.tolerance);
      }
    }
  }
}

TEST_CASE("a hundred steps of Adam are PyTorch's") {
  const Json c = golden("adam.json");
  const std::vector<double> scale = c["scale"];
  const Shape shape{static_cast<std::int64_t>(scale.size())};
  const AdamOptions options{c["betas"][0], c["betas"][1], c["epsilon"]};
  for (const Tried& on : backends()) {
    INFO(on.backend->name());
    Array value = array_of(c["start"], shape, on.type);
    Array first = Array::zeros(shape, on.type);
    Array second = Array::zeros(shape, on.type);
    Array state = Array::copy_of<double>({0, 0}, {2});
    for (int step = 1; step <= 100; ++step) {
      const CounterRandom random(c["seed"], text("adam.", step));
      std::vector<double> gradient;
      for (std::size_t i = 0; i < scale.size(); ++i) {
        // PyTorch's was rounded to f32, too.
        gradient.push_back(double{static_cast<float>(scale[i] * (2 * random.uniform(i) - 1))});
      }
      const int rate = step <= c["last_step_of_first_rate"].get<int>() ? 0 : 1;
      state.data<double>()[0] = c["rates"][static_cast<std::size_t>(rate)];
      Array unscaled;
      on.backend->adam(options, {{value, array_of(gradient, shape, on.type), first, second}}, state,
                       unscaled);
      const std::string now = text(step);
      if (c["after_step"].contains(now)) {
        check_close("step " + now, value, c["after_step"][now], std::min(on.tolerance, 1e-6));
      }
    }
    CHECK(state.data<double>()[1] == 100.0);
  }
}
