// ptynet evaluate: results beside the truth they were simulated from.
#include <limits>
#include <memory>

#include "engine/evaluate.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/report.h"

namespace ptynet::tools {

namespace {

struct Arguments {
  std::vector<std::string> results;
  std::string truth_amplitude;
  std::string truth_phase;
  std::string png;
  EvaluateRequest request;
  std::optional<Convention> convention;
  bool json = false;
};

void run(Arguments& arguments) {
  EvaluateRequest& request = arguments.request;
  request.result = arguments.results.front();
  request.beside.assign(arguments.results.begin() + 1, arguments.results.end());
  request.png = arguments.png;
  request.truth_amplitude = io::parse_dataset_name(arguments.truth_amplitude);
  request.truth_phase = io::parse_dataset_name(arguments.truth_phase);
  const std::vector<Evaluation> found = evaluate_all(request);
  std::string out =
      arguments.json ? to_json(found, arguments.convention) : to_text(found, arguments.convention);
  if (!out.ends_with('\n')) out += '\n';
  print_output(out);
  if (!arguments.png.empty()) {
    Console(false).log("wrote " + (request.png / "comparison.png").string());
  }
}

}  // namespace

void add_evaluate(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App& command = *program.add_subcommand(
      "evaluate", "Judges results against the object they were simulated from.");
  add_texts(command,
            {"RESULT.h5...", "",
             "a result of `ptynet reconstruct`, or several, each with its score on every line"},
            arguments->results)
      ->required();
  add_text(command,
           {"--truth-amplitude", "FILE",
            "amplitude [rows, columns]: .npy, .npz, .h5 (FILE:DATASET), .png"},
           arguments->truth_amplitude)
      ->required();
  add_text(command,
           {"--truth-phase", "FILE",
            "phase [rows, columns], radians: .npy, .npz, .h5 (FILE:DATASET), .png"},
           arguments->truth_phase)
      ->required();
  add_parsed(command,
             {"--truth-offset", "R,C",
              "the scan's pixel (r, c) is the truth's pixel (r + R, c + C), px (default 0,0)"},
             "R,C, two whole numbers such as 3,-2", [arguments](const std::string& found) {
               const auto offset = parse_integers(found, ',');
               if (offset) arguments->request.truth_offset_px = *offset;
               return offset.has_value();
             });
  add_integer(command, {"--border", "PX", "pixels left out on every side of what the frames cover"},
              {0, std::numeric_limits<std::int32_t>::max()}, arguments->request.border_px);
  add_choice<Convention>(
      command,
      {"--convention", "",
       "paper: stretched to 0..255, as in the PtyNet paper; standard: images as they are; "
       "physical: RMS after the best constant phase and scale (default: all three)"},
      {{"paper", Convention::kPaper},
       {"standard", Convention::kStandard},
       {"physical", Convention::kPhysical}},
      [arguments](const Convention& convention) { arguments->convention = convention; });
  add_text(command, {"--png", "DIR", "also write a picture there: all results beside the truth"},
           arguments->png);
  command.add_flag("--json", arguments->json, "print JSON on stdout");
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
