// ptynet finetune: a pretrained network adapts to one sample.
#include <chrono>
#include <cmath>
#include <iomanip>
#include <limits>
#include <memory>
#include <sstream>

#include "engine/finetune.h"
#include "tools/commands.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/scan_arguments.h"
#include "tools/training_arguments.h"

namespace ptynet::tools {

namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
constexpr double kUsualSupport = 0.01;
constexpr std::chrono::seconds kLineInterval{2};

struct Arguments {
  FinetuneOptions job;
  TrainingArguments training;
  CheckpointArguments stopping;
  std::optional<Device> device;
  bool quiet = false;
  bool json = false;
};

void add_output(CLI::App& command, FinetuneOptions& job) {
  add_text(command,
           {"--output", "WEIGHTS.h5",
            text("the tuned weights; an existing file is replaced (default ", job.output, ")")},
           job.output);
  add_text(command,
           {"--reconstruction", "OUT.h5",
            "also reconstruct the whole scan with them, whatever --frames were tuned on"},
           job.reconstruction);
  add_text(command, {"--png", "DIR", "also write pictures of the reconstruction there"}, job.png);
}

void add_objective(CLI::App& command, FinetuneOptions& job) {
  add_integer(command, {"--epochs", "N", "times that every frame is trained on; 0: only judge"},
              {0, 1000000}, job.epochs);
  add_choice<IntensityLoss>(
      command,
      {"--loss", "",
       "of predicted and measured counts: mean |I - P|, mean |sqrt I - sqrt P|, or the negative "
       "log-likelihood (default l1)"},
      {{"l1", IntensityLoss::kL1},
       {"amplitude", IntensityLoss::kAmplitude},
       {"poisson", IntensityLoss::kPoisson}},
      [&job](const IntensityLoss& loss) { job.loss = loss; });
  add_list(command,
           {"--freeze", "PATTERN,...",
            "leave parameters of these names as they are; * and ? stand for any letters"},
           "patterns separated by commas, such as encoder.*,*.bias", job.freeze);
  add_not_negative(command,
                   {"--consistency", "WEIGHT",
                    "add WEIGHT times the mean |patch - stitched object there|^2, and divide the "
                    "loss by the mean count"},
                   job.consistency);
}

void add_probe_options(CLI::App& command, FinetuneOptions& job) {
  add_parsed(command,
             {"--support", "none|probe[:FRACTION]",
              text("take the object as 0 where the probe's intensity is under FRACTION (default ",
                   kUsualSupport, ") of its maximum (default none)")},
             "none, probe, or probe:FRACTION with a fraction between 0 and 1",
             [&job](const std::string& found) {
               job.support.reset();
               if (found == "none") return true;
               job.support = kUsualSupport;
               if (found == "probe") return true;
               const auto parts = split(found, ':');
               if (!parts || parts->first != "probe") return false;
               job.support = parse_number(parts->second);
               return job.support && *job.support > 0 && *job.support < 1;
             });
  add_parsed(
      command,
      {"--calibrate-probe", "off|empty-beam:FILE[:DATASET]|brightest|network",
       "scale the probe to the counts: of a frame without a sample, of the brightest frames, "
       "or to the network's own prediction (default off)"},
      "off, empty-beam:FILE[:DATASET], brightest or network", [&job](const std::string& found) {
        const std::string beam = "empty-beam:";
        job.empty_beam.clear();
        if (found == "off") {
          job.calibrate = ProbeCalibration::kOff;
        } else if (found == "brightest") {
          job.calibrate = ProbeCalibration::kBrightest;
        } else if (found == "network") {
          job.calibrate = ProbeCalibration::kNetwork;
        } else if (found.starts_with(beam) && found.size() > beam.size()) {
          job.calibrate = ProbeCalibration::kEmptyBeam;
          job.empty_beam = found.substr(beam.size());
        } else {
          return false;
        }
        return true;
      });
  add_integer(command,
              {"--update-probe", "EPOCH",
               "refine the probe too from this epoch on, counted from 0, with its power kept"},
              {0, kNoLimit}, job.update_probe);
}

void add_validation(CLI::App& command, FinetuneOptions& job) {
  add_parsed(command,
             {"--validate", "FRACTION",
              "hold this share of the frames out, report their R every epoch, and keep the weights "
              "with the best one (default 0)"},
             "a number from 0 to 0.5", [&job](const std::string& found) {
               const auto number = parse_number(found);
               job.validate = number.value_or(-1);
               return job.validate >= 0 && job.validate <= 0.5;
             });
  add_integer(command,
              {"--patience", "EPOCHS", "stop after so many epochs without a better validation R"},
              {1, kNoLimit}, job.patience);
  command.add_flag("--shuffle", job.shuffle,
                   "batches of frames drawn anew every epoch, by --seed, instead of in scan order");
}

std::string shown(double value) {
  std::ostringstream out;
  out << std::setprecision(4) << value;
  return out.str();
}

// One line of an epoch now and then, for people; the last one always.
class EpochLines {
 public:
  explicit EpochLines(Console& console) : console_(console) {}

  void show(const FinetuneProgress& p) {
    const auto now = std::chrono::steady_clock::now();
    const bool due = p.epoch == 1 || p.epoch == p.epochs || now - last_ >= kLineInterval;
    if (p.epoch_ended && due) {
      last_ = now;
      std::string line = text("epoch ", p.epoch, "/", p.epochs, ": loss ", shown(p.loss), ", R ",
                              shown(p.r_factor));
      if (!std::isnan(p.validation_r_factor)) {
        line += ", of frames held out " + shown(p.validation_r_factor);
      }
      console_.log(line);
    }
    console_.progress("fine-tuning, batches", p.steps_done, p.steps);
  }

 private:
  Console& console_;
  std::chrono::steady_clock::time_point last_;
};

Report report_of(const FinetuneSummary& s) {
  const auto optional = [](const std::optional<double>& value) {
    return value ? Report(*value) : Report();
  };
  Report r;
  r["output"] = s.output;
  r["frames"] = s.frames;
  r["held_out"] = s.held_out;
  r["epochs"] = s.epochs;
  r["best_epoch"] = s.best_epoch;
  r["steps"] = s.steps;
  r["trained_values"] = s.trained_values;
  r["seconds"] = s.seconds;
  r["first_loss"] = s.epochs > 0 ? Report(s.first_loss) : Report();
  r["last_loss"] = s.epochs > 0 ? Report(s.last_loss) : Report();
  r["r_before"] = s.r_before;
  r["r_after"] = s.r_after;
  r["validation_r_before"] = optional(s.validation_r_before);
  r["validation_r_after"] = optional(s.validation_r_after);
  r["r_flat_object"] = s.r_flat_object;
  r["r_mean_frame"] = s.r_mean_frame;
  r["probe_scale"] = s.probe_scale;
  r["verdict"] = s.verdict;
  if (s.reconstruction) {
    const ReconstructSummary& made = *s.reconstruction;
    r["reconstruction"] = {{"output", made.output},
                           {"pictures", made.pictures},
                           {"frames", made.frames},
                           {"object_px", {made.rows, made.columns}},
                           {"r_patches", optional(made.r_patches)},
                           {"r_stitched", optional(made.r_stitched)},
                           {"r_flat_object", optional(made.r_flat_object)},
                           {"r_mean_frame", made.r_mean_frame},
                           {"verdict", made.verdict}};
  }
  return r;
}

void log_summary(Console& console, const FinetuneSummary& s) {
  console.log(text(s.epochs, " epochs of ", s.frames - s.held_out, " frames, ", s.steps,
                   " batches, in ", s.seconds, " s; ", s.trained_values, " values trained"));
  if (s.held_out > 0) {
    console.log(text("the ", s.held_out, " frames held out had R ", shown(*s.validation_r_before),
                     ", have ", shown(*s.validation_r_after), " by the weights of epoch ",
                     s.best_epoch, ", the best, which were kept"));
  }
  console.log("wrote " + s.output);
  console.log(s.verdict);
  if (!s.reconstruction) return;
  const ReconstructSummary& made = *s.reconstruction;
  for (const std::string& picture : made.pictures) console.log("wrote " + picture);
  console.log(text("wrote ", made.output, ", object ", made.rows, "x", made.columns, " px of ",
                   made.frames, " frames"));
  console.log(made.verdict);
}

void run(Arguments& arguments) {
  FinetuneOptions& job = arguments.job;
  check_scan_arguments(job.scan);
  job.batch = arguments.training.batch;
  job.learning_rate = arguments.training.learning_rate;
  job.schedule = arguments.training.schedule;
  job.seed = static_cast<std::uint64_t>(arguments.training.seed);
  job.checkpoint = arguments.stopping.checkpoint;
  job.every = arguments.stopping.every;
  job.resume = arguments.stopping.resume;
  job.log_csv = arguments.stopping.log;
  Console console(arguments.quiet);
  EpochLines lines(console);
  job.progress = [&lines](const FinetuneProgress& p) { lines.show(p); };
  console.listen_to(job.stage, job.log, job.warning);
  job.stop_on_signals = true;
  const FinetuneSummary summary = finetune(job);
  log_summary(console, summary);
  if (arguments.json) print_output(render(report_of(summary), true));
}

}  // namespace

void add_finetune(CLI::App& program, const std::string& command_line) {
  auto arguments = std::make_shared<Arguments>();
  FinetuneOptions& job = arguments->job;
  job.command_line = command_line;
  CLI::App& command = *program.add_subcommand(
      "finetune", "Adapt a pretrained network to one scan by its measured diffraction.");
  add_scan_and_network(command, "; its frames are held in memory",
                       {job.scan.path, job.weights, job.architecture, job.input_rule});
  add_output(command, job);
  add_objective(command, job);
  arguments->training.add_to(command);
  add_positive(
      command,
      {"--half-cycle", "EPOCHS", "of --schedule cyclic: from a tenth of the rate up to all of it"},
      job.half_cycle_epochs);
  add_probe_options(command, job);
  add_validation(command, job);
  arguments->stopping.add_to(command,
                             "epoch, loss, r_factor, validation_r_factor, learning_rate, seconds");
  add_training_device(command, job.device, job.threads, job.precision);
  add_integer(command, {"--max-canvas", "PIXELS", "largest object that is begun, pixels"},
              {1, std::int64_t{1} << 40}, job.max_canvas);
  command.add_flag("--force", job.force, "take a near-field scan all the same");
  command.add_flag("--json", arguments->json, "print a summary as JSON on stdout");
  command.add_flag("--quiet", arguments->quiet, "no progress and no log, warnings only");
  add_scan_arguments(command, job.scan);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
