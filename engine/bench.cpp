#include "engine/bench.h"

#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "engine/workload.h"

namespace ptynet {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kWarmUpSeconds = 0.3;
constexpr std::size_t kWarmUpCalls = 3;
constexpr std::size_t kLeastCalls = 20;
constexpr std::size_t kMostCalls = 10'000'000;
constexpr double kPeakSeconds = 0.25;  // for each candidate convolution
constexpr double kProfileSeconds = 1.0;
constexpr std::int64_t kPeakBatch = 16;  // larger batches only cost memory

// Seconds of each call, until they add up to `seconds` and are at least `least`.
template <typename Call>
std::vector<double> time_calls(double seconds, std::size_t least, const Call& call) {
  std::vector<double> times;
  double total = 0;
  while ((total < seconds || times.size() < least) && times.size() < kMostCalls) {
    const Clock::time_point start = Clock::now();
    call();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    total += times.back();
  }
  return times;
}

// Nearest rank; `sorted` is ascending and not empty.
double percentile(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return percentile(times, 0.5);
}

// f32 values as the arrays of a precision hold them.
Array rounded(const Array& values, Precision precision) {
  const DType type = array_type(precision);
  if (type == DType::kF32) return values;
  Array out = Array::host(values.shape(), type);
  const auto* first = values.data<float>();
  const auto* end = first + values.elements();
  if (type == DType::kF16) {
    std::transform(first, end, out.data<Half>(), narrow_f16);
  } else {
    std::transform(first, end, out.data<Bfloat16>(), narrow_bf16);
  }
  return out;
}

struct DenseConvolution {
  std::int64_t channels;
  std::int64_t extent;  // px
};

double gflops_of(Context& context, const DenseConvolution& which, Precision precision,
                 std::int64_t n) {
  const auto& [c, extent] = which;
  const Array values = uniform_values({n, extent, extent, c}, 1.0F, "input");
  const Array x = on_device(context, rounded(values, precision));
  const Array w =
      on_device(context, uniform_values({c, 3, 3, c}, 1.0F / static_cast<float>(9 * c), "weight"));
  const Array b = on_device(context, uniform_values({c}, 1.0F, "bias"));
  Array y = context.allocate(x.shape(), x.dtype());
  ConvOptions options;
  options.padding = 1;
  options.constant_weights = true;
  Backend& backend = context.backend();
  const auto replay = backend.record([&] { backend.conv2d(x, w, b, options, y); });
  double seconds = 0;
  if (context.device().kind == DeviceKind::kCuda) {  // a launch takes longer than the work
    for (const double step : replay->time_steps()) seconds += step;
  } else {
    const auto call = [&] { replay->run(); };
    time_calls(0.1 * kPeakSeconds, kWarmUpCalls, call);
    seconds = median(time_calls(kPeakSeconds, kLeastCalls, call));
  }
  const auto flops = static_cast<double>(2 * n * extent * extent * 9 * c * c);
  return flops / seconds / 1e9;
}

bool is_convolution(LayerType type) {
  return type == LayerType::kConv2d || type == LayerType::kConvTranspose2d;
}

// Names the layers of steps that begin with one of two words, in the order given: one layer for a
// step, or two for one that begins with both ("conv2d + conv_transpose2d ").
void name_layers(std::vector<LayerTime>& layers, const std::vector<LayerTrace>& convolutions,
                 std::string_view word, std::string_view other, double frames) {
  const auto convolutions_of = [&](const LayerTime& layer) -> std::size_t {
    const std::string_view step = layer.step;
    for (const std::string_view begin : {word, other}) {
      if (step.starts_with(begin)) return step.substr(begin.size()).starts_with("+ ") ? 2 : 1;
    }
    return 0;
  };
  std::size_t found = 0;
  for (const LayerTime& layer : layers) found += convolutions_of(layer);
  if (found != convolutions.size()) return;
  auto next = convolutions.begin();
  for (LayerTime& layer : layers) {
    double flops = 0;
    for (std::size_t i = convolutions_of(layer); i > 0; --i, ++next) {
      layer.layer += (layer.layer.empty() ? "" : " + ") + next->name;
      flops += next->flops;
    }
    if (flops > 0) layer.gflops = flops * frames / layer.seconds / 1e9;
  }
}

// Median times of the steps; on a GPU each is the least of several already. Convolutions run in the
// order of the trace, their gradients backwards.
std::vector<LayerTime> profile(Workload& workload, const std::vector<LayerTrace>& trace,
                               std::int64_t n) {
  std::vector<std::vector<double>> times;
  std::vector<LayerTime> layers;
  const bool on_cpu = workload.context().device().kind == DeviceKind::kCpu;
  time_calls(kProfileSeconds, on_cpu ? kLeastCalls : 1, [&] {
    const std::vector<StepTime> steps = workload.profile();
    times.resize(steps.size());
    layers.resize(steps.size());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      times[i].push_back(steps[i].seconds);
      layers[i].step = steps[i].name;
    }
  });
  double total = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    layers[i].seconds = median(times[i]);
    total += layers[i].seconds;
  }
  for (LayerTime& layer : layers) layer.share = layer.seconds / total;
  std::vector<LayerTrace> convolutions;
  std::copy_if(trace.begin(), trace.end(), std::back_inserter(convolutions),
               [](const LayerTrace& layer) { return is_convolution(layer.type); });
  name_layers(layers, convolutions, "conv2d ", "conv_transpose2d ", static_cast<double>(n));
  std::reverse(convolutions.begin(), convolutions.end());
  // Every one of them is trained; a gradient by its input is not always wanted.
  constexpr std::string_view kByWeights = "gradient by w, ";
  name_layers(layers, convolutions, kByWeights, kByWeights, static_cast<double>(n));
  return layers;
}

double peak_memory_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6;  // ru_maxrss counts KiB
}

}  // namespace

StateDict bench_state(const Architecture& architecture) {
  return random_state(architecture, 0, architecture.name == "ptynet-b" ? 0.6 : 1.0);
}

double measured_peak_gflops(Context& context, Precision precision, std::int64_t batch) {
  double best = 0;
  for (const DenseConvolution& which :
       {DenseConvolution{64, 64}, DenseConvolution{128, 32}, DenseConvolution{256, 32}}) {
    best = std::max(best, gflops_of(context, which, precision, 1));
    const std::int64_t n = std::min(batch, kPeakBatch);
    if (n > 1) best = std::max(best, gflops_of(context, which, precision, n));
  }
  return best;
}

namespace {

ConvChoices timed_choices(Context& context) {
  ConvChoices out;
  if (const ConvChoices* all = context.backend().choices()) {
    for (const auto& [task, choice] : *all) {
      if (choice.used) out[task] = choice;
    }
  }
  return out;
}

}  // namespace

BenchReport bench(const Architecture& architecture, const StateDict& state,
                  const BenchOptions& options) {
  const SessionOptions& wanted = options.session;
  const std::int64_t n = wanted.batch;
  const Clock::time_point opening = Clock::now();
  const auto workload = make_workload(architecture, state, options);
  const auto call = [&] { workload->call(); };
  call();
  const std::chrono::duration<double> open = Clock::now() - opening;
  time_calls(kWarmUpSeconds, kWarmUpCalls, call);
  std::vector<double> times = time_calls(options.seconds, kLeastCalls, call);
  for (double& seconds : times) seconds /= static_cast<double>(workload->steps_per_call());

  BenchReport report;
  report.open_s = open.count();
  report.calls = static_cast<std::int64_t>(times.size());
  const int threads = wanted.context.threads;
  report.threads = threads > 0 ? threads : omp_get_num_procs();
  double total = 0;
  for (const double seconds : times) total += seconds;
  std::sort(times.begin(), times.end());
  report.p50_s = percentile(times, 0.5);
  report.p90_s = percentile(times, 0.9);
  report.p99_s = percentile(times, 0.99);
  report.p999_s = percentile(times, 0.999);
  report.frames_per_second = static_cast<double>(n * report.calls) / total;
  const std::vector<LayerTrace> steps = trace(architecture, wanted.height, wanted.width);
  const double passes = options.finetune ? 3 : 1;
  for (const LayerTrace& layer : steps) report.gflop_per_frame += passes * layer.flops / 1e9;
  report.gflops = report.gflop_per_frame * static_cast<double>(n) / report.p50_s;
  report.peak_memory_mb = peak_memory_mb();
  report.held_mb = static_cast<double>(workload->context().backend().bytes_held()) / 1e6;
  report.arena_mb = static_cast<double>(workload->arena_bytes()) / 1e6;
  if (options.layers) {
    report.layers = profile(*workload, steps, n);
    report.choices = timed_choices(workload->context());
  }
  if (options.peak) {
    report.peak_gflops = measured_peak_gflops(workload->context(), wanted.precision, n);
    report.peak_share = report.gflops / *report.peak_gflops;
  }
  return report;
}

}  // namespace ptynet
