// The convolutions of PtyNet-S and PtyNet-B by the hand-written CUDA kernels: microseconds of each
// layer (graphs of many launches over buffers in rotation, median), its floor and the share of it.
// The floor is the larger of two times: every byte of operands and result moved once at the rate of
// a device copy measured first, and the arithmetic at the data sheet's rate.
// On compute capability 9.x the tiles of wgmma take part, with a w before them.
//
//   bench_cuda_conv [ptynet-s|ptynet-b|both] [batch (0: 1, 16 and 256)] [fp32|tf32|bf16|fp16|all]
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/conv_wgmma.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/thin_conv.h"
#include "tests/cuda_on_cpu/ptynet_layers.h"

namespace ptynet::cuda {

namespace {

using tests::Layer;

constexpr int kLaunches = 20;  // of a graph
constexpr int kReplays = 9;

// Which kernel computes a layer.
struct Choice {
  ConvTile tile;
  bool wgmma = false;
  bool operator==(const Choice&) const = default;
};

// Stands for the direct kernel of a thin layer.
constexpr Choice kThin{{0, 0}};

std::string name_of(const Choice& choice) {
  if (choice == kThin) return "thin";
  return text(choice.wgmma ? "w" : "", choice.tile.pixels_per_warp, "x", choice.tile.channels);
}

struct Rate {
  const char* name;
  Precision precision;
  int bytes;      // of an element
  double tflops;  // dense, H100 SXM and H200 alike
};
constexpr Rate kRates[] = {{"fp32", Precision::kF32, 4, 67},
                           {"tf32", Precision::kTf32, 4, 495},
                           {"bf16", Precision::kBf16, 2, 989},
                           {"fp16", Precision::kF16, 2, 989}};

struct Free {
  void operator()(void* p) const { cudaFree(p); }
};
using Memory = std::unique_ptr<void, Free>;

constexpr int kFillThreads = 256;

// Values in [-1, 1): zeros would be faster than what a network sees.
template <typename Element>
PTYNET_KERNEL(kFillThreads)
fill(Element* to, std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(block().x) * threads() + thread();
  if (i >= count) return;
  std::uint32_t z = static_cast<std::uint32_t>(i) * 0x9E3779B9U;
  z = (z ^ z >> 16) * 0x85EBCA6BU;
  z = (z ^ z >> 13) * 0xC2B2AE35U;
  store(to + i, from_float<Element>(static_cast<float>(z >> 8) * 0x1p-23F - 1));
}

template <typename Element>
void fill_elements(void* to, std::int64_t count, Stream stream) {
  const int blocks = static_cast<int>((count + kFillThreads - 1) / kFillThreads);
  launch("fill", fill<Element>, LaunchShape{{blocks}, kFillThreads}, stream,
         static_cast<Element*>(to), count);
}

Memory random_memory(double elements, Precision precision, Stream stream) {
  const auto count = static_cast<std::int64_t>(elements);
  void* data = nullptr;
  check(cudaMalloc(&data, static_cast<std::size_t>(count) * 4), "cudaMalloc");
  Memory out(data);
  if (precision == Precision::kF16) {
    fill_elements<Half>(data, count, stream);
  } else if (precision == Precision::kBf16) {
    fill_elements<Bfloat16>(data, count, stream);
  } else {
    fill_elements<float>(data, count, stream);
  }
  return out;
}

class Timer {
 public:
  Timer() {
    check(cudaStreamCreate(&stream_), "cudaStreamCreate");
    check(cudaEventCreate(&from_), "cudaEventCreate");
    check(cudaEventCreate(&to_), "cudaEventCreate");
  }
  Stream stream() const { return stream_; }

  // Median seconds of one of kLaunches launches, replayed as a graph.
  double seconds(const std::function<void(int)>& launch_one, int replays) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    launch_one(0);
    check(cudaStreamSynchronize(stream_), "the first launch");
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < kLaunches; ++i) launch_one(i);
    check(cudaStreamEndCapture(stream_, &graph), "capture");
    check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    check(cudaGraphLaunch(executable, stream_), "cudaGraphLaunch");
    std::vector<double> times;
    for (int i = 0; i < replays; ++i) {
      float milliseconds = 0;
      check(cudaEventRecord(from_, stream_), "cudaEventRecord");
      check(cudaGraphLaunch(executable, stream_), "cudaGraphLaunch");
      check(cudaEventRecord(to_, stream_), "cudaEventRecord");
      check(cudaEventSynchronize(to_), "a timed launch");
      check(cudaEventElapsedTime(&milliseconds, from_, to_), "cudaEventElapsedTime");
      times.push_back(double{milliseconds} * 1e-3 / kLaunches);
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    std::nth_element(times.begin(), times.begin() + replays / 2, times.end());
    return times[static_cast<std::size_t>(replays / 2)];
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t from_ = nullptr;
  cudaEvent_t to_ = nullptr;
};

// Bytes read and written per second by a copy of 1 GiB.
double copy_rate(Timer& timer) {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  const Memory from = random_memory(kBytes / 4, Precision::kF32, timer.stream());
  const Memory to = random_memory(kBytes / 4, Precision::kF32, timer.stream());
  const auto copy = [&](int) {
    check(cudaMemcpyAsync(to.get(), from.get(), kBytes, cudaMemcpyDeviceToDevice, timer.stream()),
          "cudaMemcpyAsync");
  };
  return 2.0 * kBytes / timer.seconds(copy, 3);
}

struct Device {
  double bytes_per_second;
  int multiprocessors;
};

struct Measured {
  double suggested;  // seconds with suggest_tile()
  double best;       // with the fastest choice
  Choice choice;
  double floor;
  bool by_memory;
};

// Operands of a layer, several times over so that they do not stay in the L2 cache.
struct Buffers {
  std::vector<Memory> x, y;
  Memory w, packed, b;

  Buffers(const Layer& layer, int batch, const Rate& rate, Stream stream) {
    constexpr double kMoreThanCache = 150e6;
    const double bytes = (layer.inputs(batch) + layer.outputs(batch)) * rate.bytes;
    const int sets = static_cast<int>(std::clamp(kMoreThanCache / bytes, 2.0, double{kLaunches}));
    for (int i = 0; i < sets; ++i) {
      x.push_back(random_memory(layer.inputs(batch), rate.precision, stream));
      y.push_back(random_memory(layer.outputs(batch), rate.precision, stream));
    }
    w = random_memory(layer.weights(), rate.precision, stream);
    b = random_memory(layer.out, Precision::kF32, stream);
    if (layer.transposed) {
      const ConvShape shape = layer.shape(batch);
      packed = random_memory(static_cast<double>(packed_weights(shape)), rate.precision, stream);
      pack_weights(shape, rate.precision, w.get(), packed.get(), stream);
    }
  }
};

// Launches a layer with one set of its buffers after the other.
class Launcher {
 public:
  Launcher(const Layer& layer, int batch, const Rate& rate, Stream stream)
      : layer_(layer),
        shape_(layer.shape(batch)),
        precision_(rate.precision),
        stream_(stream),
        buffers_(layer, batch, rate, stream) {}

  void run(const Choice& choice, int i) const {
    const std::size_t set = static_cast<std::size_t>(i) % buffers_.x.size();
    const bool thin = choice == kThin;
    const void* w = layer_.transposed && !thin ? buffers_.packed.get() : buffers_.w.get();
    const ConvOperands operands{buffers_.x[set].get(), w,
                                static_cast<const float*>(buffers_.b.get()), buffers_.y[set].get()};
    if (thin) {
      const auto run = layer_.transposed ? thin_conv_transpose2d : thin_conv2d;
      return run(shape_, precision_, operands, stream_);
    }
    const auto tiled = layer_.transposed ? conv_transpose2d : conv2d;
    const auto by_wgmma = layer_.transposed ? wgmma_conv_transpose2d : wgmma_conv2d;
    (choice.wgmma ? by_wgmma : tiled)(shape_, precision_, operands, choice.tile, stream_);
  }

  Choice suggested(int multiprocessors) const {
    const auto suggest = layer_.transposed
                             ? suggest_transposed_tile
                             : static_cast<decltype(&suggest_transposed_tile)>(suggest_tile);
    return {suggest(shape_, precision_, multiprocessors)};
  }

  // A thin layer's tiles make no difference: its direct kernel alone.
  std::vector<Choice> choices() const {
    const bool thin =
        layer_.transposed ? is_thin_conv_transpose2d(shape_) : is_thin_conv2d(shape_, precision_);
    if (thin) return {kThin};
    std::vector<Choice> out;
    const auto tiles = layer_.transposed ? transposed_tiles : conv_tiles;
    for (const ConvTile& tile : tiles(shape_, precision_)) out.push_back({tile});
    const auto wgmma = layer_.transposed ? transposed_wgmma_tiles : wgmma_tiles;
    for (const ConvTile& tile : wgmma(shape_, precision_)) out.push_back({tile, true});
    return out;
  }

 private:
  const Layer& layer_;
  ConvShape shape_;
  Precision precision_;
  Stream stream_;
  Buffers buffers_;
};

Measured measure(const Layer& layer, int batch, const Rate& rate, const Device& device,
                 Timer& timer) {
  const Launcher launcher(layer, batch, rate, timer.stream());
  const auto seconds = [&](const Choice& choice, int replays) {
    return timer.seconds([&](int i) { launcher.run(choice, i); }, replays);
  };
  const Choice suggested = launcher.suggested(device.multiprocessors);
  Measured out{};
  out.choice = suggested;
  double least = seconds(suggested, 3);
  for (const Choice& choice : launcher.choices()) {
    const double time = seconds(choice, 3);
    if (time < least) {
      least = time;
      out.choice = choice;
    }
  }
  out.suggested = seconds(suggested, kReplays);
  out.best = out.choice == suggested ? out.suggested : seconds(out.choice, kReplays);
  const double bytes =
      (layer.inputs(batch) + layer.outputs(batch) + layer.weights()) * rate.bytes + 4.0 * layer.out;
  const double moving = bytes / device.bytes_per_second;
  const double computing = layer.flop(batch) / (rate.tflops * 1e12);
  out.floor = std::max(moving, computing);
  out.by_memory = moving > computing;
  return out;
}

void measure_network(const char* name, const std::vector<Layer>& layers, int batch,
                     const Rate& rate, const Device& device, Timer& timer) {
  std::printf("\n%s, batch %d, %s\n", name, batch, rate.name);
  std::printf("%2s %-30s %10s %10s %7s %10s %6s %8s\n", "x", "layer", "suggested", "best us",
              "tile", "floor us", "share", "TFLOP/s");
  double suggested = 0;
  double best = 0;
  double floor = 0;
  for (const Layer& l : layers) {
    const Measured m = measure(l, batch, rate, device, timer);
    const std::string what = text(l.size, "px ", l.in, "->", l.out, " k", l.kernel, " s", l.stride,
                                  " g", l.groups, l.transposed ? " transposed" : "");
    std::printf("%2d %-30s %10.2f %10.2f %7s %9.2f%c %5.0f%% %8.1f\n", l.count, what.c_str(),
                m.suggested * 1e6, m.best * 1e6, name_of(m.choice).c_str(), m.floor * 1e6,
                m.by_memory ? 'm' : 'f', 100 * m.floor / m.best, l.flop(batch) / m.best * 1e-12);
    suggested += l.count * m.suggested;
    best += l.count * m.best;
    floor += l.count * m.floor;
  }
  std::printf("%2s %-30s %10.2f %10.2f %7s %10.2f %5.0f%%\n", "", "sum", suggested * 1e6,
              best * 1e6, "", floor * 1e6, 100 * floor / best);
  std::fflush(stdout);
}

int run(int argc, char** argv) {
  const std::string network = argc > 1 ? argv[1] : "both";
  const int wanted_batch = argc > 2 ? std::atoi(argv[2]) : 0;
  const std::string wanted_rate = argc > 3 ? argv[3] : "all";
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  Timer timer;
  const Device device{copy_rate(timer), properties.multiProcessorCount};
  std::printf("%s, %d multiprocessors, copy %.2f TB/s (read and written)\n", properties.name,
              device.multiprocessors, device.bytes_per_second * 1e-12);
  for (const int batch : {1, 16, 256}) {
    if (wanted_batch != 0 && batch != wanted_batch) continue;
    for (const Rate& rate : kRates) {
      if (wanted_rate != "all" && wanted_rate != rate.name) continue;
      if (network != "ptynet-b") {
        measure_network("ptynet-s", tests::kPtynetS, batch, rate, device, timer);
      }
      if (network != "ptynet-s") {
        measure_network("ptynet-b", tests::kPtynetB, batch, rate, device, timer);
      }
    }
  }
  return 0;
}

}  // namespace

}  // namespace ptynet::cuda

int main(int argc, char** argv) {
  try {
    return ptynet::cuda::run(argc, argv);
  } catch (const ptynet::Error& error) {
    std::fprintf(stderr, "bench_cuda_conv: error: %s\n", error.what());
    return 1;
  }
}
