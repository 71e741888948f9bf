// ptynet bench: latency, rate and efficiency of a network on this machine.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "engine/bench.h"
#include "engine/load_architecture.h"
#include "io/weights.h"
#include "tools/commands.h"
#include "tools/floors_report.h"
#include "tools/options.h"
#include "tools/report.h"

namespace ptynet::tools {

namespace {

struct Arguments {
  std::string architecture;
  std::string weights;
  DeviceArguments device;
  BenchOptions bench;
  bool floors = false;  // instead of timing
  MachineFigures machine;
  bool json = false;
};

const std::vector<std::pair<std::string, BenchPath>> kPaths{{"patches", BenchPath::kPatches},
                                                            {"canvas", BenchPath::kCanvas},
                                                            {"device", BenchPath::kDevice}};
const std::vector<std::pair<std::string, DType>> kFrameTypes{
    {"u8", DType::kU8}, {"u16", DType::kU16}, {"u32", DType::kU32}, {"f32", DType::kF32}};

template <typename Value>
std::string name_in(const std::vector<std::pair<std::string, Value>>& names, Value value) {
  return std::find_if(names.begin(), names.end(),
                      [value](const auto& entry) { return entry.second == value; })
      ->first;
}

Report report_of(const Architecture& architecture, const BenchOptions& bench,
                 const BenchReport& b) {
  const SessionOptions& session = bench.session;
  Report r;
  r["job"] = bench.finetune ? "finetune" : "reconstruct";
  if (!bench.finetune) r["path"] = name_in(kPaths, bench.path);
  r["frame_type"] = name_of(session.frame_type);
  r["architecture"] = architecture.name;
  r["parameters"] = parameter_count(architecture);
  r["device"] = to_string(session.context.device);
  r["precision"] = name_of(session.precision);
  r["threads"] = b.threads;
  r["batch"] = session.batch;
  r["height"] = session.height;
  r["width"] = session.width;
  r["open_s"] = b.open_s;
  r["calls"] = b.calls;
  r["latency_ms"] = {{"p50", b.p50_s * 1e3},
                     {"p90", b.p90_s * 1e3},
                     {"p99", b.p99_s * 1e3},
                     {"p999", b.p999_s * 1e3}};
  r["frames_per_second"] = b.frames_per_second;
  r["gflop_per_frame"] = b.gflop_per_frame;
  r["gflops"] = b.gflops;
  if (b.peak_gflops) r["peak_gflops"] = *b.peak_gflops;
  if (b.peak_share) r["peak_share"] = *b.peak_share;
  r["peak_memory_mb"] = b.peak_memory_mb;
  r["held_mb"] = b.held_mb;
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

Report choices_of(const BenchReport& b) {
  Report out = Report::object();
  for (const auto& [task, choice] : b.choices) {
    Report us = Report::object();
    for (const auto& [name, seconds] : choice.seconds) us[name] = seconds * 1e6;
    out[task] = {{"chosen", choice.chosen}, {"us", us}};
  }
  return out;
}

// Per convolution, its candidates, the fastest first.
std::string choice_table(const BenchReport& b) {
  std::string out;
  for (const auto& [task, choice] : b.choices) {
    out += "\n" + task + "\n";
    std::vector<std::pair<double, std::string>> candidates;
    bool library = task.find(" + ") != std::string::npos;  // they have none for two in a row
    for (const auto& [name, seconds] : choice.seconds) {
      candidates.emplace_back(seconds, name);
      library = library || name.starts_with("cu");
    }
    std::sort(candidates.begin(), candidates.end());
    for (const auto& [seconds, name] : candidates) {
      char number[32];
      std::snprintf(number, sizeof number, "%8.1f us  ", seconds * 1e6);
      out += number + name + (name == choice.chosen ? ", chosen\n" : "\n");
    }
    if (!library) out += "      -- us  neither cuDNN nor cuBLASLt has one\n";
  }
  return out;
}

void report_floors(const Arguments& arguments, const Architecture& architecture) {
  const SessionOptions& session = arguments.bench.session;
  const Precision precision = arguments.device.precision;
  const bool finetune = arguments.bench.finetune;
  const auto& floors_of = finetune ? step_floors : floors;
  const Floors found = floors_of(architecture, {session.batch, session.height, session.width},
                                 precision, arguments.machine);
  Report report;
  report["job"] = "floors";
  report["of"] = finetune ? "finetune" : "reconstruct";
  report["architecture"] = architecture.name;
  report["precision"] = name_of(precision);
  report["batch"] = session.batch;
  report["height"] = session.height;
  report["width"] = session.width;
  report["copy_tb_per_s"] = arguments.machine.bytes_per_s / 1e12;
  for (const Multiplier& multiplier : found.multipliers) {
    report["tflops"][multiplier.name] = multiplier.flops / 1e12;
  }
  add_floors(report, found);
  if (arguments.json) {
    report["layers"] = floor_rows(found);
    print_output(render(report, true));
  } else {
    print_output(render(report, false) + "\n" + floor_table(found));
  }
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
  if (arguments.floors) return report_floors(arguments, architecture);
  SessionOptions& session = arguments.bench.session;
  session.context.device = device_or_best(arguments.device.device);
  session.context.threads = arguments.device.threads;
  session.precision = arguments.device.precision;
  const StateDict state =
      arguments.weights.empty() ? bench_state(architecture) : std::move(weights.tensors);
  const BenchReport found = bench(architecture, state, arguments.bench);
  Report report = report_of(architecture, arguments.bench, found);
  if (arguments.json) {
    if (arguments.bench.layers) report["layers"] = layers_of(found);
    if (!found.choices.empty()) report["choices"] = choices_of(found);
    print_output(render(report, true));
    return;
  }
  print_output(render(report, false));
  if (arguments.bench.layers) print_output("\n" + layer_table(found) + choice_table(found));
}

// In the units of the options, 1e12 a second.
void add_tera(CLI::App& command, const OptionText& what, double& value) {
  const OptionText described{what.name, what.form,
                             text(what.description, " (default ", value / 1e12, ")")};
  add_parsed(command, described, "a number above 0 and up to 1e6",
             [&value](const std::string& found) {
               const auto number = parse_number(found);
               if (!number || !(*number > 0) || *number > 1e6) return false;
               value = *number * 1e12;
               return true;
             });
}

void add_floors_options(CLI::App& command, const std::shared_ptr<Arguments>& arguments) {
  command.add_flag(
      "--floors", arguments->floors,
      "instead of timing: the least time that each layer, and with --finetune each part "
      "of a step, takes on a GPU, from shapes and the figures below alone; no device is "
      "used");
  MachineFigures& machine = arguments->machine;
  add_tera(command,
           {"--floors-copy", "TB/S",
            "what the GPU reads and writes together in a large copy, 1e12 bytes per second"},
           machine.bytes_per_s);
  add_tera(command,
           {"--floors-half", "TFLOP/S",
            "its dense fp16 and bf16 products by wgmma, 1e12 operations per second; tf32 has half"},
           machine.half_flops);
  add_positive(command, {"--floors-mma-sync", "SHARE", "what mma.sync reaches of those"},
               machine.mma_sync_share);
  add_tera(command,
           {"--floors-fp32", "TFLOP/S",
            "its fp32 products outside the tensor cores, 1e12 operations per second"},
           machine.fp32_flops);
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
  add_choice<BenchPath>(
      command,
      {"--path", "",
       "what a call is: patches: frames in host memory to patches there; canvas: frames in "
       "page-locked memory to a canvas on the device, the next ones copied meanwhile; device: "
       "frames "
       "on the device to patches there (default patches)"},
      kPaths, [arguments](const BenchPath& found) { arguments->bench.path = found; });
  add_choice<DType>(command, {"--frame-type", "", "of the counts (default f32)"}, kFrameTypes,
                    [&session](const DType& found) { session.frame_type = found; });
  command.add_flag("--layers", arguments->bench.layers, "also time every step");
  command.add_flag("!--no-peak", arguments->bench.peak,
                   "do not measure the machine's peak, which takes seconds");
  add_floors_options(command, arguments);
  command.add_flag("--json", arguments->json, "print JSON on stdout");
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
