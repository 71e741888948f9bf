// ptynet reconstruct: from a scan file and weights to the stitched object.
#include <limits>
#include <memory>

#include "engine/reconstruct.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/scan_arguments.h"

namespace ptynet::tools {

namespace {

struct Arguments {
  ReconstructOptions job;
  DeviceArguments device;
  bool quiet = false;
  bool json = false;
};

void add_output(CLI::App& command, ReconstructOptions& job) {
  add_text(command,
           {"--output", "OUT.h5",
            text("the result; an existing file is replaced (default ", job.output, ")")},
           job.output);
  add_text(command, {"--png", "DIR", "also write pictures of amplitude, phase and coverage there"},
           job.png);
  command.add_flag("--patches", job.patches, "also keep every patch in the result");
}

void add_stitching(CLI::App& command, ReconstructOptions& job) {
  add_choice<StitchMode>(
      command,
      {"--stitch", "",
       "weight of a patch's pixels: all the same, or the probe's intensity (default probe when "
       "there is one, else mean)"},
      {{"mean", StitchMode::kMean}, {"probe", StitchMode::kProbe}},
      [&job](const StitchMode& mode) { job.stitch = mode; });
  add_choice<bool>(
      command,
      {"--phase-align", "", "remove the constant phase between overlapping patches (default off)"},
      {{"on", true}, {"off", false}}, [&job](const bool& on) { job.phase_align = on; });
  add_choice<Subpixel>(command,
                       {"--subpixel", "",
                        "round positions to pixels, or spread patches between them (default none)"},
                       {{"none", Subpixel::kNone}, {"bilinear", Subpixel::kBilinear}},
                       [&job](const Subpixel& how) { job.subpixel = how; });
  add_integer(command, {"--border", "PX", "pixels left out at every edge of a patch"}, {0, 32768},
              job.border);
  add_integer(command, {"--max-canvas", "PIXELS", "largest object that is begun, pixels"},
              {1, std::int64_t{1} << 40}, job.max_canvas);
}

Report report_of(const ReconstructSummary& s) {
  const auto optional = [](const std::optional<double>& value) {
    return value ? Report(*value) : Report();
  };
  Report r;
  r["output"] = s.output;
  r["pictures"] = s.pictures;
  r["frames"] = s.frames;
  r["frames_without_counts"] = s.frames_without_counts;
  r["patches_with_gaps"] = s.patches_with_gaps;
  r["object_px"] = {s.rows, s.columns};
  r["seconds"] = s.seconds;
  r["frames_per_second"] = s.frames_per_second;
  r["network_seconds"] = s.network_seconds;
  r["r_patches"] = optional(s.r_patches);
  r["r_stitched"] = optional(s.r_stitched);
  r["r_flat_object"] = optional(s.r_flat_object);
  r["r_mean_frame"] = s.r_mean_frame;
  r["overlap_offset_rms_rad"] = optional(s.overlap_offset_rms_rad);
  r["overlap_spread_rms_rad"] = optional(s.overlap_spread_rms_rad);
  r["verdict"] = s.verdict;
  return r;
}

void log_summary(Console& console, const ReconstructSummary& s) {
  console.log(text(s.frames, " frames in ", s.seconds, " s, ", s.frames_per_second,
                   " frames/s; the network ran for ", s.network_seconds, " s of them"));
  if (s.frames_without_counts > 0) {
    console.warning(text(s.frames_without_counts, " frames have no counts"));
  }
  if (s.overlap_offset_rms_rad) {
    console.log(text("overlapping patches differ by a constant phase of ",
                     *s.overlap_offset_rms_rad, " rad RMS, and by ",
                     s.overlap_spread_rms_rad.value_or(0), " rad RMS beside it"));
  }
  for (const std::string& picture : s.pictures) console.log("wrote " + picture);
  console.log(text("wrote ", s.output, ", object ", s.rows, "x", s.columns, " px"));
  console.log(s.verdict);
}

void run(Arguments& arguments) {
  ReconstructOptions& job = arguments.job;
  check_scan_arguments(job.scan);
  job.device = arguments.device.device;
  job.precision = arguments.device.precision;
  job.threads = arguments.device.threads;
  Console console(arguments.quiet);
  console.listen_to(job.progress, job.log, job.warning);
  const ReconstructSummary summary = reconstruct(job);
  log_summary(console, summary);
  if (arguments.json) print_output(render(report_of(summary), true));
}

}  // namespace

void add_reconstruct(CLI::App& program, const std::string& command_line) {
  auto arguments = std::make_shared<Arguments>();
  ReconstructOptions& job = arguments->job;
  job.command_line = command_line;
  CLI::App& command = *program.add_subcommand(
      "reconstruct", "From a scan file and pretrained weights to the stitched object.");
  add_scan_and_network(command, "", {job.scan.path, job.weights, job.architecture, job.input_rule});
  add_output(command, job);
  add_stitching(command, job);
  arguments->device.add_to(command);
  add_integer(command, {"--batch", "N", "frames that go through the network at once"}, {1, 65536},
              job.batch);
  command.add_flag("--force", job.force, "reconstruct a near-field scan all the same");
  command.add_flag("--json", arguments->json, "print a summary as JSON on stdout");
  command.add_flag("--quiet", arguments->quiet, "no progress and no log, warnings only");
  add_scan_arguments(command, job.scan);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
