// ptynet bench: latency, rate and efficiency of a network on this machine.
#include <cstdio>
#include <memory>

#include "engine/bench.h"
#include "engine/load_architecture.h"
#include "io/weights.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/report.h"

namespace ptynet::tools {

namespace {

struct Arguments {
  std::string architecture;
  std::string weights;
  DeviceArguments device;
  BenchOptions bench;
  bool json = false;
};

Report report_of(const Architecture& architecture, const BenchOptions& bench,
                 const BenchReport& b) {
  const SessionOptions& session = bench.session;
  Report r;
  r["job"] = bench.finetune ? "finetune" : "reconstruct";
  r["architecture"] = architecture.name;
  r["parameters"] = parameter_count(architecture);
  r["device"] = to_string(session.context.device);
  r["precision"] = session.precision == Precision::kBf16 ? "bf16" : "fp32";
  r["threads"] = b.threads;
  r["batch"] = session.batch;
  r["height"] = session.height;
  r["width"] = session.width;
  r["calls"] = b.calls;
  r["latency_ms"] = {{"p50", b.p50_s * 1e3},
                     {"p90", b.p90_s * 1e3},
                     {"p99", b.p99_s * 1e3},
                     {"p999", b.p999_s * 1e3}};
  r["frames_per_second"] = b.frames_per_second;
  r["gflop_per_frame"] = b.gflop_per_frame;
  r["gflops"] = b.gflops;
  r["peak_gflops"] = b.peak_gflops;
  r["peak_share"] = b.peak_share;
  r["peak_memory_mb"] = b.peak_memory_mb;
  r["arena_mb"] = b.arena_mb;
  return r;
}

Report layers_of(const BenchReport& b) {
  Report rows = Report::array();
  for (const LayerTime& layer : b.layers) {
    rows.push_back({{"step", layer.step},
                    {"layer", layer.layer.empty() ? Report() : Report(layer.layer)},
                    {"us", layer.seconds * 1e6},
                    {"gflops", layer.gflops ? Report(*layer.gflops) : Report()},
                    {"share", layer.share}});
  }
  return rows;
}

std::string layer_table(const BenchReport& b) {
  std::string out = "      us   share  GFLOP/s  step\n";
  for (const LayerTime& layer : b.layers) {
    char numbers[64];
    char rate[32] = "      --";
    if (layer.gflops) std::snprintf(rate, sizeof rate, "%8.1f", *layer.gflops);
    std::snprintf(numbers, sizeof numbers, "%8.1f %5.1f %% %s  ", layer.seconds * 1e6,
                  layer.share * 100, rate);
    out += numbers + layer.step + (layer.layer.empty() ? "" : "  " + layer.layer) + "\n";
  }
  return out;
}

void run(Arguments& arguments) {
  io::WeightFile weights;
  if (!arguments.weights.empty()) weights = io::read_weights(arguments.weights);
  const bool own = arguments.architecture.empty() && !weights.architecture_json.empty();
  if (arguments.architecture.empty() && !own) {
    fail_input("give --architecture, or --weights of a file that carries one");
  }
  const Architecture architecture = own ? parse_architecture(weights.architecture_json)
                                        : load_architecture(arguments.architecture);
  SessionOptions& session = arguments.bench.session;
  session.context.device = arguments.device.device.value_or(best_device());
  session.context.threads = arguments.device.threads;
  session.precision = arguments.device.precision;
  const StateDict state =
      arguments.weights.empty() ? bench_state(architecture) : std::move(weights.tensors);
  const BenchReport found = bench(architecture, state, arguments.bench);
  Report report = report_of(architecture, arguments.bench, found);
  if (arguments.json) {
    if (arguments.bench.layers) report["layers"] = layers_of(found);
    print_output(render(report, true));
    return;
  }
  print_output(render(report, false));
  if (arguments.bench.layers) print_output("\n" + layer_table(found));
}

}  // namespace

void add_bench(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  SessionOptions& session = arguments->bench.session;
  CLI::App& command = *program.add_subcommand(
      "bench", "Latency, rate and share of the machine's peak that a network reaches here.");
  add_text(command,
           {"--architecture", "NAME|FILE.json",
            "built-in network or a file; `ptynet info --architectures` lists them (default: the "
            "one that --weights carries)"},
           arguments->architecture);
  add_text(command, {"--weights", "FILE", "weights (default: reproducible random ones)"},
           arguments->weights);
  add_integer(command, {"--batch", "N", "frames of every call"}, {1, 65536}, session.batch);
  add_integer(command, {"--height", "PX", "rows of a frame"}, {1, 65536}, session.height);
  add_integer(command, {"--width", "PX", "columns of a frame"}, {1, 65536}, session.width);
  arguments->device.add_to(command);
  add_parsed(command,
             {"--seconds", "S",
              text("time to measure after the warm-up, seconds; 20 calls at least (default ",
                   arguments->bench.seconds, ")")},
             "a number above 0 and up to 86400", [arguments](const std::string& found) {
               const auto seconds = parse_number(found);
               if (!seconds || !(*seconds > 0) || *seconds > 86400) return false;
               arguments->bench.seconds = *seconds;
               return true;
             });
  command.add_flag("--finetune", arguments->bench.finetune,
                   "time steps of fine-tuning (l1 loss through the diffraction, gradients, Adam) "
                   "instead of reconstructions");
  command.add_flag("--layers", arguments->bench.layers, "also time every step");
  command.add_flag("--json", arguments->json, "print JSON on stdout");
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
