// ptynet train: weights from simulated diffraction.
#include <algorithm>
#include <iterator>
#include <memory>

#include "engine/interrupt.h"
#include "engine/train.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/simulation_arguments.h"
#include "tools/training_arguments.h"

namespace ptynet::tools {

namespace {

constexpr auto kMost = static_cast<std::int64_t>(kMostTrainingBatches);
constexpr const char* kUsualOutput = "weights.h5";
constexpr const char* kScanGroup = "Training from files";

struct Arguments {
  TrainOptions job;
  ObjectArguments objects;
  ProbeArguments probe;
  TrainingArguments training;
  CheckpointArguments checkpoint;
  std::optional<std::int64_t> patterns;
  std::optional<std::int64_t> epochs;
  std::vector<std::string> scans;
  std::vector<std::string> truths;
  std::vector<const CLI::Option*> of_simulation;  // that mean nothing to scans
  bool quiet = false;
  bool json = false;
};

// none, poisson, poisson:PHOTONS or poisson:LOW:HIGH.
bool take_noise(const std::string& found, PatternRecipe& recipe) {
  recipe.photons.reset();
  recipe.noise = found == "none" ? Noise::kNone : Noise::kPoisson;
  if (found == "none" || found == "poisson") return true;
  constexpr std::string_view kLead = "poisson:";
  if (!found.starts_with(kLead)) return false;
  const std::string rest = found.substr(kLead.size());
  const auto one = parse_number(rest);
  recipe.photons = one ? std::optional(std::array{*one, *one}) : parse_range(rest);
  return recipe.photons && (*recipe.photons)[0] > 0;
}

void add_simulation(CLI::App& command, Arguments& arguments) {
  PatternRecipe& recipe = arguments.job.recipe;
  const auto others = static_cast<std::ptrdiff_t>(command.get_options().size());
  arguments.objects.add_to(command);
  add_text(command,
           {"--images", "DIR",
            "windows of the folder's pictures (.png), turned and flipped, in the place of "
            "--objects; amplitude and phase from two of them"},
           arguments.job.images)
      ->group("Object options");
  arguments.probe.add_to(command);
  add_probe_jitter(command, recipe.jitter, arguments.job.jitter_defocus_m);
  add_parsed(command,
             {"--noise", "none|poisson[:PHOTONS[:HIGH]]",
              "photon noise; PHOTONS: expected counts of a frame without a sample, drawn for every "
              "pattern when there are two (default none)"},
             "none, poisson, poisson:PHOTONS or poisson:LOW:HIGH such as poisson:1e6",
             [&recipe](const std::string& found) { return take_noise(found, recipe); });
  const std::vector<CLI::Option*> all = command.get_options();
  std::copy_if(all.begin() + others, all.end(), std::back_inserter(arguments.of_simulation),
               [](const CLI::Option* option) {
                 return option->get_name() != "--probe" && option->get_name() != "--probe-norm";
               });
}

void add_scans(CLI::App& command, Arguments& arguments) {
  add_list(command,
           {"--scans", "SCAN,...",
            "frames of scans with positions, in the place of simulated ones; held in memory"},
           "files separated by commas", arguments.scans)
      ->group(kScanGroup);
  add_list(command,
           {"--truth", "TRUTH.h5,...",
            "what they show, in the same order: the --truth of `ptynet simulate`, or results of "
            "reconstructions"},
           "files separated by commas", arguments.truths)
      ->group(kScanGroup);
}

void add_length(CLI::App& command, Arguments& arguments) {
  TrainOptions& job = arguments.job;
  add_integer(command,
              {"--patterns", "N",
               text("of an epoch; simulated ones never come twice (default ", job.epoch.patterns,
                    ", of --scans all that are trained with)")},
              {1, kMost}, arguments.patterns);
  add_integer(command,
              {"--epochs", "N",
               text("0: only measure --from on the held-out patterns (default ", job.epochs, ")")},
              {0, kMost}, arguments.epochs);
  add_positive(command,
               {"--minutes", "M",
                "train for this long instead; the schedules step and cosine then go by the clock, "
                "and how far the run comes depends on the machine"},
               job.minutes);
  add_positive(
      command,
      {"--half-cycle", "EPOCHS", "of --schedule cyclic: from a tenth of the rate up to all of it"},
      job.half_cycle_epochs);
  add_choice<PatchWeight>(command,
                          {"--weight", "",
                           "of a pixel in the loss: the probe's intensity, or all the same "
                           "(default probe)"},
                          {{"probe", PatchWeight::kProbe}, {"none", PatchWeight::kNone}},
                          [&job](const PatchWeight& found) { job.weight = found; });
  add_integer(
      command,
      {"--held-out", "N",
       "patterns to judge by, the same for every run with such patterns: of --scans their last "
       "frames (default 256, of --scans at most a tenth)"},
      {0, 65536}, job.held_out);
}

Report report_of(const PatchLosses& losses) {
  Report r;
  r["sum"] = losses.sum();
  r["amplitude"] = losses.amplitude;
  r["phase_rad2"] = losses.phase;
  return r;
}

Report report_of(const TrainSummary& s) {
  Report r;
  r["architecture"] = s.architecture;
  r["parameters"] = s.parameters;
  r["epochs"] = s.epochs;
  r["steps"] = s.steps;
  r["patterns"] = s.patterns;
  r["loss"] = s.loss ? Report(*s.loss) : Report();
  r["seconds"] = s.seconds;
  r["simulated_seconds"] = s.simulated_seconds;
  r["output"] = s.output.empty() ? Report() : Report(s.output);
  r["checkpoint"] = s.checkpoint.empty() ? Report() : Report(s.checkpoint);
  if (s.held_out) {
    Report& h = r["held_out"];
    h["patterns"] = s.held_out->patterns;
    h["loss"] = report_of(s.held_out->plain);
    h["weighted_loss"] = report_of(s.held_out->weighted);
    h["loss_of_mean"] = report_of(s.held_out->mean_plain);
    h["weighted_loss_of_mean"] = report_of(s.held_out->mean_weighted);
  }
  return r;
}

void log_summary(Console& console, const TrainSummary& s) {
  console.log(text(s.patterns, " patterns in ", s.steps, " steps and ", s.seconds, " s, ",
                   s.simulated_seconds, " s of them to make the patterns"));
  if (const auto& h = s.held_out) {
    console.log(text(h->patterns, " held-out patterns: mean squared error ", h->plain.sum(),
                     " (their mean: ", h->mean_plain.sum(), "), weighted by the probe's intensity ",
                     h->weighted.sum(), " (", h->mean_weighted.sum(), ")"));
  }
  if (!s.output.empty()) console.log("wrote " + s.output);
}

void take_scans(Arguments& arguments) {
  const std::vector<std::string>& scans = arguments.scans;
  const std::vector<std::string>& truths = arguments.truths;
  if (scans.size() != truths.size()) {
    fail_input("--scans and --truth belong together, a truth for every scan, found ", scans.size(),
               " and ", truths.size());
  }
  TrainOptions& job = arguments.job;
  for (std::size_t k = 0; k < scans.size(); ++k) job.scans.push_back({scans[k], truths[k]});
  job.epoch.patterns = arguments.patterns.value_or(scans.empty() ? job.epoch.patterns : 0);
  for (const CLI::Option* option : arguments.of_simulation) {
    if (scans.empty() || option->count() == 0) continue;
    fail_input(option->get_name(), " says how patterns are simulated, and --scans takes them from ",
               "files: give one of them");
  }
}

void fill(Arguments& arguments) {
  TrainOptions& job = arguments.job;
  take_scans(arguments);
  if (!job.images.empty()) arguments.objects.expect_none_of_procedural("--images", false);
  if (arguments.probe.source.photons && job.recipe.photons) {
    fail_input("--photons and --noise poisson:PHOTONS exclude each other: give one of them");
  }
  if (arguments.epochs && job.minutes) {
    fail_input("--epochs and --minutes exclude each other: give one of them");
  }
  if (arguments.epochs == 0 && job.from.empty()) {
    fail_input("--epochs 0 only measures: give the weights with --from");
  }
  arguments.probe.check();
  job.probe = arguments.probe.source;
  job.probe.kind = arguments.probe.kind.value_or(job.probe.kind);
  job.frame_px = arguments.probe.frame_px;
  arguments.probe.apply_to(job.geometry);
  job.recipe.objects = arguments.objects.objects.value_or(job.recipe.objects);
  arguments.objects.apply_to(job.recipe.ranges);
  job.epochs = arguments.epochs.value_or(job.epochs);
  job.epoch.batch = arguments.training.batch;
  job.learning_rate = arguments.training.learning_rate;
  job.schedule = arguments.training.schedule;
  job.seed = arguments.training.seed;
  job.checkpoint = arguments.checkpoint.checkpoint;
  job.every = arguments.checkpoint.every;
  job.resume = arguments.checkpoint.resume;
  job.log = arguments.checkpoint.log;
  if (job.output.empty() && job.epochs > 0) job.output = kUsualOutput;
}

void run(Arguments& arguments) {
  fill(arguments);
  TrainOptions& job = arguments.job;
  Console console(arguments.quiet);
  console.listen_to(job.progress, job.tell, job.warning);
  job.stop = [] { return InterruptGuard::requested(); };
  const InterruptGuard guard;
  const TrainSummary summary = train(job);
  log_summary(console, summary);
  if (arguments.json) print_output(render(report_of(summary), true));
}

}  // namespace

void add_train(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  TrainOptions& job = arguments->job;
  arguments->training.learning_rate = job.learning_rate;
  arguments->training.schedule = job.schedule;
  arguments->checkpoint.every = job.every;
  CLI::App& command = *program.add_subcommand(
      "train", "Weights from simulated diffraction, for a probe that is known.");
  add_text(command,
           {"--architecture", "NAME|FILE.json",
            "built-in network or a file; `ptynet info --architectures` lists them (default: that "
            "of --from)"},
           job.architecture);
  add_text(command,
           {"--from", "FILE", "weights to begin with (default: the published initialisation)"},
           job.from);
  add_text(command,
           {"--output", "WEIGHTS.h5",
            text("the weights; an existing file is replaced (default ", kUsualOutput,
                 "; none with --epochs 0)")},
           job.output);
  add_length(command, *arguments);
  arguments->training.add_to(command);
  add_simulation(command, *arguments);
  add_scans(command, *arguments);
  add_training_device(command, job.device, job.threads, job.precision);
  command.add_flag("--json", arguments->json, "print a summary as JSON on stdout");
  command.add_flag("--quiet", arguments->quiet, "no progress and no log, warnings only");
  arguments->checkpoint.add_to(command,
                               "epoch, loss, amplitude_error, phase_error, held_out_loss, "
                               "held_out_weighted_loss, learning_rate, seconds");
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
