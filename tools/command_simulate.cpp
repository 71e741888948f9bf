// ptynet simulate: a scan of an object that is known.
#include <memory>

#include "engine/simulate.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/simulation_arguments.h"

namespace ptynet::tools {

namespace {

constexpr std::int64_t kMaxExtent = 65536;

struct Arguments {
  SimulateOptions job;
  ObjectArguments objects;
  ProbeArguments probe;
  bool preset = false;
  bool size = false;  // was given
  std::optional<OverlapOf> overlap_of;
  std::optional<ScanPattern> pattern;
  bool quiet = false;
  bool json = false;
};

void add_object(CLI::App& command, Arguments& arguments) {
  SimulateOptions& job = arguments.job;
  arguments.objects.add_to(command);
  constexpr const char* kGroup = "Object options";
  add_text(command,
           {"--amplitude", "IMG.png", "a grey picture as the object's amplitude, with --phase"},
           job.amplitude)
      ->group(kGroup);
  add_text(command, {"--phase", "IMG.png", "a grey picture of the same size as its phase"},
           job.phase)
      ->group(kGroup);
  add_parsed(command,
             {"--size", "PX|RxC",
              text("rows and columns of a procedural object, object pixels (default ",
                   job.size_px[0], ")")},
             text("a whole number or RxC, each 1 to ", kMaxExtent, ", such as 640 or 512x768"),
             [&arguments, &job](const std::string& found) {
               arguments.size = true;
               const auto side = parse_integer(found);
               const auto both =
                   side ? std::optional(std::array{*side, *side}) : parse_integers(found, 'x');
               if (!both) return false;
               job.size_px = *both;
               return (*both)[0] >= 1 && (*both)[1] >= 1 && (*both)[0] <= kMaxExtent &&
                      (*both)[1] <= kMaxExtent;
             })
      ->group(kGroup);
}

void add_pattern(CLI::App& command, Arguments& arguments) {
  SimulateOptions& job = arguments.job;
  constexpr const char* kGroup = "Pattern options";
  add_choice<ScanPattern>(command, {"--scan", "", "where the frames lie (default raster)"},
                          {{"raster", ScanPattern::kRaster},
                           {"fermat", ScanPattern::kFermat},
                           {"concentric", ScanPattern::kConcentric}},
                          [&arguments](const ScanPattern& found) { arguments.pattern = found; })
      ->group(kGroup);
  add_parsed(
      command,
      {"--overlap", "SHARE",
       text("1 - step / diameter of the probe, or side of the frame (default ", job.overlap, ")")},
      "a number from 0 to below 1",
      [&job](const std::string& found) {
        const auto number = parse_number(found);
        if (!number || *number < 0 || *number >= 1) return false;
        job.overlap = *number;
        return true;
      })
      ->group(kGroup);
  add_choice<OverlapOf>(
      command,
      {"--overlap-of", "",
       "what overlaps: discs that hold 90 % of the probe's energy, or frames (default probe)"},
      {{"probe", OverlapOf::kProbe}, {"frame", OverlapOf::kFrame}},
      [&arguments](const OverlapOf& found) { arguments.overlap_of = found; })
      ->group(kGroup);
  add_parsed(
      command,
      {"--jitter", "PX",
       "each frame is off its place by up to this much in row and column, object pixels; the "
       "scan file says where it really is (default 0)"},
      "a number of 0 or more",
      [&job](const std::string& found) {
        job.jitter_px = parse_number(found);
        return job.jitter_px && *job.jitter_px >= 0;
      })
      ->group(kGroup);
}

void add_counts(CLI::App& command, SimulateOptions& job) {
  constexpr const char* kGroup = "Detector options";
  add_not_negative(command, {"--background", "B", "counts per pixel, on average"}, job.background)
      ->group(kGroup);
  add_choice<Noise>(command,
                    {"--noise", "",
                     "photon noise and whole counts, or expected counts as float32 (default "
                     "poisson)"},
                    {{"poisson", Noise::kPoisson}, {"none", Noise::kNone}},
                    [&job](const Noise& found) { job.noise = found; })
      ->group(kGroup);
}

Report report_of(const SimulateSummary& s) {
  Report r;
  r["output"] = s.output;
  r["truth"] = s.truth.empty() ? Report() : Report(s.truth);
  r["pictures"] = s.pictures;
  r["frames"] = s.frames;
  r["frame_px"] = s.frame_px;
  r["object_px"] = s.object_px;
  r["object_pixel_m"] = s.object_pixel_m;
  r["probe_diameter_px"] = s.probe_diameter_px;
  r["step_px"] = s.step_px;
  r["overlap_of_probe"] = s.overlap_of_probe;
  r["overlap_of_frame"] = s.overlap_of_frame;
  r["photons"] = s.photons;
  r["mean_counts"] = s.mean_counts;
  r["max_count"] = s.max_count;
  r["poisson_r"] = s.poisson_r;
  r["seconds"] = s.seconds;
  return r;
}

void log_summary(Console& console, const SimulateSummary& s) {
  console.log(text(s.frames, " frames of ", s.frame_px, "x", s.frame_px, " px in ", s.seconds,
                   " s; object ", s.object_px[0], "x", s.object_px[1], " px of ", s.object_pixel_m,
                   " m"));
  console.log(text("probe ", s.probe_diameter_px, " px across (90 % of its energy), step ",
                   s.step_px, " px: overlap ", s.overlap_of_probe, " of the probe, ",
                   s.overlap_of_frame, " of the frame"));
  console.log(text(s.mean_counts, " counts a frame, ", s.max_count, " in the brightest pixel; ",
                   s.photons, " without a sample; R of the true object ", s.poisson_r));
  for (const std::string& picture : s.pictures) console.log("wrote " + picture);
  if (!s.truth.empty()) console.log("wrote " + s.truth);
  console.log("wrote " + s.output);
}

void run(Arguments& arguments) {
  SimulateOptions& job = arguments.job;
  if (!job.amplitude.empty() || !job.phase.empty()) {
    constexpr const char* kInstead = "--amplitude with --phase";
    arguments.objects.expect_none_of_procedural(kInstead, true);
    if (arguments.size)
      fail_input("--size and ", kInstead, " exclude each other: give one of them");
  }
  arguments.probe.check();
  job.probe = arguments.probe.source;
  job.probe.kind = arguments.probe.kind.value_or(job.probe.kind);
  if (arguments.preset) apply_ptynet_preset(job);
  job.objects = arguments.objects.objects.value_or(job.objects);
  arguments.objects.apply_to(job.ranges);
  job.frame_px = arguments.probe.frame_px;
  arguments.probe.apply_to(job.geometry);
  job.pattern = arguments.pattern.value_or(job.pattern);
  job.overlap_of = arguments.overlap_of.value_or(job.overlap_of);
  Console console(arguments.quiet);
  console.listen_to(job.progress, job.log, job.warning);
  const SimulateSummary summary = simulate(job);
  log_summary(console, summary);
  if (arguments.json) print_output(render(report_of(summary), true));
}

}  // namespace

void add_simulate(CLI::App& program, const std::string& command_line) {
  auto arguments = std::make_shared<Arguments>();
  SimulateOptions& job = arguments->job;
  job.command_line = command_line;
  CLI::App& command = *program.add_subcommand(
      "simulate", "A scan of an object that is known, from physics: to test and to train with.");
  add_text(command, {"--output", "SCAN.cxi", "the scan; an existing file is replaced"}, job.output)
      ->required();
  add_text(command, {"--truth", "TRUTH.h5", "also write the object there, as a result file"},
           job.truth);
  add_text(command,
           {"--png", "DIR",
            "also write pictures of the object, its coverage and the first frame (logarithmic) "
            "there"},
           job.png);
  add_choice<bool>(
      command,
      {"--preset", "",
       "the PtyNet paper's simulations: amplitude 1/3 to 1 and phase pi/6 to pi/2 that "
       "follows it, overlap of the frame, jitter of 1 % of it, 0.1 nm, field of view "
       "1 um; an option given beside it replaces its own"},
      {{"ptynet", true}}, [arguments](const bool& on) { arguments->preset = on; });
  add_seed(command, job.seed);
  add_integer(command, {"--threads", "N", "threads; 0: as many as the machine has"}, {0, 4096},
              job.threads);
  command.add_flag("--json", arguments->json, "print a summary as JSON on stdout");
  command.add_flag("--quiet", arguments->quiet, "no progress and no log, warnings only");
  add_object(command, *arguments);
  arguments->probe.add_to(command);
  add_pattern(command, *arguments);
  add_counts(command, job);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
