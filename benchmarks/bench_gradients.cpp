// Every convolution of PtyNet-S or PtyNet-B as a training step runs it: forward with weights that
// change, then its gradients, each recorded once and replayed. Milliseconds per batch, GFLOP/s and
// who computes it; at the end the whole step, beside three times its arithmetic at the rate of the
// best dense convolution.
//
//   bench_gradients [ptynet-s|ptynet-b] [batch 16] [rounds 9]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace {

using ptynet::Array;

struct Layer {
  int count;  // times the network has it
  bool transposed;
  std::int64_t size;  // rows and columns of the input, px
  std::int64_t in, out, kernel, stride, padding, groups;
  bool bias = true;
  bool activated = true;
  bool first = false;  // the network's input needs no gradient

  std::int64_t output_size() const {
    return transposed ? (size - 1) * stride - 2 * padding + kernel
                      : (size + 2 * padding - kernel) / stride + 1;
  }
  // Two operations per tap; a transposed convolution has its taps at every input pixel.
  double gflop(std::int64_t batch) const {
    const std::int64_t pixels = transposed ? size * size : output_size() * output_size();
    return 2e-9 * static_cast<double>(batch * pixels * in * out / groups * kernel * kernel);
  }
};

std::vector<Layer> ptynet_s() {
  return {
      {1, false, 128, 1, 16, 3, 1, 1, 1, true, true, true},
      {1, false, 128, 16, 16, 3, 2, 1, 1},
      {1, false, 64, 16, 16, 3, 1, 1, 1},
      {1, false, 64, 16, 32, 3, 2, 1, 1},
      {1, false, 32, 32, 64, 3, 1, 1, 1},
      {1, false, 32, 64, 128, 3, 2, 1, 1},
      {1, false, 16, 128, 64, 3, 1, 1, 1},
      {1, false, 16, 64, 64, 3, 1, 1, 2, false},
      {1, true, 16, 64, 64, 4, 2, 1, 2},
      {1, false, 32, 64, 64, 3, 1, 1, 1},
      {1, false, 32, 64, 64, 3, 1, 1, 2, false},
      {1, true, 32, 64, 64, 4, 2, 1, 2},
      {1, false, 64, 64, 16, 3, 1, 1, 1},
      {1, false, 64, 16, 2, 3, 1, 1, 2},
      {1, true, 64, 2, 2, 4, 2, 1, 2},
  };
}

// Blocks of two 5x5 convolutions (batch norm and activation follow, apart) beside one 1x1; steps
// down and up are a 5x5 and a 1x1, activated, beside a 1x1, then a 2x2 of stride 2.
std::vector<Layer> ptynet_b() {
  std::vector<Layer> layers;
  const auto block = [&](int count, std::int64_t size, std::int64_t c, std::int64_t groups) {
    const bool dense = groups == 1;
    layers.push_back({dense ? 2 * count : count, false, size, c, c, 5, 1, 2, 1, true, false});
    if (!dense) layers.push_back({count, false, size, c, c, 5, 1, 2, groups, false, false});
    layers.push_back({count, false, size, c, c, 1, 1, 0, groups, dense, false});
  };
  const auto step = [&](bool up, std::int64_t size, std::int64_t in, std::int64_t out) {
    const std::int64_t groups = up ? 2 : 1;
    const bool first = in == 1;
    layers.push_back({1, false, size, in, out, 5, 1, 2, groups, !up, true, first});
    layers.push_back({1, false, size, out, out, 1, 1, 0, groups, !up, true});
    layers.push_back({1, false, size, in, out, 1, 1, 0, 1, false, false, first});
    layers.push_back({1, up, size, out, out, 2, 2, 0, 1, false, false});
  };
  step(false, 128, 1, 32);
  block(2, 64, 32, 1);
  step(false, 64, 32, 64);
  block(2, 32, 64, 1);
  step(false, 32, 64, 128);
  block(4, 16, 128, 1);
  step(false, 16, 128, 256);
  block(2, 8, 256, 1);
  block(2, 8, 256, 2);
  step(true, 8, 256, 128);
  block(4, 16, 128, 2);
  step(true, 16, 128, 64);
  block(2, 32, 64, 2);
  step(true, 32, 64, 32);
  block(2, 64, 32, 2);
  step(true, 64, 32, 2);
  return layers;
}

Array filled(ptynet::Backend& backend, const char* name, const ptynet::Shape& shape) {
  Array array = backend.allocator().allocate(shape, ptynet::DType::kF32);
  backend.random_uniform(0, name, -0.1F, 0.1F, array);
  return array;
}

// Seconds of each step: the median of `rounds`.
std::vector<double> timed(ptynet::Replay& replay, int rounds) {
  std::vector<std::vector<double>> seconds(replay.steps().size());
  replay.run();
  for (int i = 0; i < rounds; ++i) {
    const std::vector<double> once = replay.time_steps();
    for (std::size_t k = 0; k < once.size(); ++k) seconds[k].push_back(once[k]);
  }
  std::vector<double> medians;
  for (auto& samples : seconds) {
    std::sort(samples.begin(), samples.end());
    medians.push_back(samples[samples.size() / 2]);
  }
  return medians;
}

struct Totals {
  double forward = 0;   // s
  double gradient = 0;  // s
  double gflop = 0;     // of the forward pass
};

void add_layer(ptynet::Backend& backend, const Layer& layer, std::int64_t batch, int rounds,
               Totals& totals) {
  const std::int64_t size = layer.size;
  const std::int64_t out_size = layer.output_size();
  const Array x = filled(backend, "x", {batch, size, size, layer.in});
  const ptynet::Shape weights =
      layer.transposed
          ? ptynet::Shape{layer.in, layer.kernel, layer.kernel, layer.out / layer.groups}
          : ptynet::Shape{layer.out, layer.kernel, layer.kernel, layer.in / layer.groups};
  const Array w = filled(backend, "w", weights);
  const Array b = layer.bias ? filled(backend, "b", {layer.out}) : Array();
  Array y = filled(backend, "y", {batch, out_size, out_size, layer.out});
  const Array dy = filled(backend, "dy", y.shape());
  ptynet::OperandGradients d;
  if (!layer.first) d.x = filled(backend, "dx", x.shape());
  d.w = filled(backend, "dw", w.shape());
  if (layer.bias) d.b = filled(backend, "db", b.shape());
  ptynet::ConvOptions options{layer.stride, layer.padding, layer.groups, {}, false};
  if (layer.activated) options.activation = {ptynet::ActivationKind::kLeakyRelu, 0.2F, 0.0F};
  const auto replay = backend.record([&] {
    const ptynet::OutputGradient out{y, dy};
    if (layer.transposed) {
      backend.conv_transpose2d(x, w, b, options, y);
      backend.conv_transpose2d_gradient(x, w, out, options, d);
    } else {
      backend.conv2d(x, w, b, options, y);
      backend.conv2d_gradient(x, w, out, options, d);
    }
  });
  const std::vector<double> seconds = timed(*replay, rounds);
  const double gflop = layer.gflop(batch);
  const std::vector<std::string> names = replay->steps();
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    const bool convolves = names[i].find("activation") == std::string::npos;
    std::printf("%2d x %8.3f ms %5.0f  %s\n", layer.count, 1e3 * seconds[i],
                convolves ? gflop / seconds[i] : 0.0, names[i].c_str());
    (i == 0 ? totals.forward : totals.gradient) += layer.count * seconds[i];
  }
  totals.gflop += layer.count * gflop;
}

// Of the fastest round: what the machine can do.
double best_gflops(ptynet::Backend& backend, int rounds) {
  const Layer layer{1, false, 32, 256, 256, 3, 1, 1, 1};
  const Array x = filled(backend, "x", {4, 32, 32, 256});
  const Array w = filled(backend, "w", {256, 3, 3, 256});
  Array y = filled(backend, "y", x.shape());
  const auto replay = backend.record([&] { backend.conv2d(x, w, {}, {1, 1, 1, {}, true}, y); });
  double best = 0;
  for (int i = 0; i < 3 * rounds; ++i) {
    best = std::max(best, layer.gflop(4) / replay->time_steps().front());
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string network = argc > 1 ? argv[1] : "ptynet-s";
  const std::int64_t batch = argc > 2 ? std::atoll(argv[2]) : 16;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 9;
  if ((network != "ptynet-s" && network != "ptynet-b") || batch < 1 || rounds < 1) {
    std::fprintf(stderr, "bench_gradients [ptynet-s|ptynet-b] [batch] [rounds]\n");
    return 2;
  }
  const auto backend = ptynet::make_cpu_backend(0);
  const double best = best_gflops(*backend, rounds);
  Totals totals;
  for (const Layer& layer : network == "ptynet-s" ? ptynet_s() : ptynet_b()) {
    add_layer(*backend, layer, batch, rounds, totals);
  }
  const double floor = 3 * totals.gflop / best;
  std::printf(
      "%s, batch %ld: forward %.1f ms, gradients %.1f ms; %.2f ms per frame, %.2f x the floor of "
      "3 x %.2f GFLOP at %.0f GFLOP/s\n",
      network.c_str(), static_cast<long>(batch), 1e3 * totals.forward, 1e3 * totals.gradient,
      1e3 * (totals.forward + totals.gradient) / static_cast<double>(batch),
      (totals.forward + totals.gradient) / floor, totals.gflop, best);
  return 0;
}
