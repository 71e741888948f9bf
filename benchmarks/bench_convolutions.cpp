// Every kind of convolution in PtyNet-S, recorded once and replayed, beside the best dense 3x3
// convolution of the machine: the limit that a network's GFLOP/s are a share of. The argument of a
// benchmark is the batch, its counter GFLOP/s.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace {

struct Case {
  std::string name;
  bool transposed = false;
  std::int64_t in = 0;   // channels
  std::int64_t out = 0;  // channels
  std::int64_t kernel = 3;
  std::int64_t stride = 1;
  std::int64_t padding = 1;
  std::int64_t groups = 1;
  std::int64_t size = 0;  // rows and columns of the input, px
};

std::vector<Case> cases() {
  return {
      {"peak/dense3x3_64_64", false, 64, 64, 3, 1, 1, 1, 64},
      {"peak/dense3x3_256_256", false, 256, 256, 3, 1, 1, 1, 32},
      {"ptynet-s/encoder.0", false, 1, 16, 3, 1, 1, 1, 128},
      {"ptynet-s/encoder.1", false, 16, 16, 3, 2, 1, 1, 128},
      {"ptynet-s/encoder.2", false, 16, 16, 3, 1, 1, 1, 64},
      {"ptynet-s/encoder.4", false, 32, 64, 3, 1, 1, 1, 32},
      {"ptynet-s/encoder.5", false, 64, 128, 3, 2, 1, 1, 32},
      {"ptynet-s/decoder.0", false, 128, 64, 3, 1, 1, 1, 16},
      {"ptynet-s/decoder.1_grouped", false, 64, 64, 3, 1, 1, 2, 16},
      {"ptynet-s/decoder.2_transposed", true, 64, 64, 4, 2, 1, 2, 16},
      {"ptynet-s/decoder.4", false, 64, 64, 3, 1, 1, 1, 32},
      {"ptynet-s/decoder.6_transposed", true, 64, 64, 4, 2, 1, 2, 32},
      {"ptynet-s/decoder.8", false, 64, 16, 3, 1, 1, 1, 64},
      {"ptynet-s/decoder.10_grouped", false, 16, 2, 3, 1, 1, 2, 64},
      {"ptynet-s/decoder.12_transposed", true, 2, 2, 4, 2, 1, 2, 64},
  };
}

ptynet::Array filled(ptynet::Backend& backend, const ptynet::Shape& shape) {
  ptynet::Array array = backend.allocator().allocate(shape, ptynet::DType::kF32);
  backend.random_uniform(0, "benchmark", -0.1F, 0.1F, array);
  return array;
}

void run(benchmark::State& state, const Case& c) {
  const auto backend = ptynet::make_cpu_backend(0);
  const std::int64_t n = state.range(0);
  const std::int64_t out_size = c.transposed ? (c.size - 1) * c.stride - 2 * c.padding + c.kernel
                                             : (c.size + 2 * c.padding - c.kernel) / c.stride + 1;
  const ptynet::Array x = filled(*backend, {n, c.size, c.size, c.in});
  const ptynet::Array w = c.transposed
                              ? filled(*backend, {c.in, c.kernel, c.kernel, c.out / c.groups})
                              : filled(*backend, {c.out, c.kernel, c.kernel, c.in / c.groups});
  const ptynet::Array b = filled(*backend, {c.out});
  ptynet::Array y = filled(*backend, {n, out_size, out_size, c.out});
  ptynet::ConvOptions options;
  options.stride = c.stride;
  options.padding = c.padding;
  options.groups = c.groups;
  options.activation = {ptynet::ActivationKind::kLeakyRelu, 0.2F, 0.0F};
  options.constant_weights = true;
  const auto replay = backend->record([&] {
    if (c.transposed) {
      backend->conv_transpose2d(x, w, b, options, y);
    } else {
      backend->conv2d(x, w, b, options, y);
    }
  });
  for (auto _ : state) replay->run();
  // Two operations per tap; a transposed convolution has its taps at every input pixel.
  const std::int64_t pixels = c.transposed ? c.size * c.size : out_size * out_size;
  const auto flop =
      static_cast<double>(2 * n * pixels * c.in * c.out / c.groups * c.kernel * c.kernel);
  state.counters["GFLOP/s"] =
      benchmark::Counter(1e-9 * flop, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Case& c : cases()) {
    benchmark::RegisterBenchmark(c.name.c_str(), [c](benchmark::State& state) { run(state, c); })
        ->Arg(1)
        ->Arg(16)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
