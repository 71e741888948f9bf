// ptynet convert: a weight file of any kind becomes one of ptynet's own.
#include <algorithm>
#include <memory>

#include "engine/load_architecture.h"
#include "io/bytes.h"
#include "io/datasets.h"
#include "io/weights.h"
#include "layers/state_dict.h"
#include "tools/commands.h"
#include "tools/lengths.h"
#include "tools/progress.h"
#include "tools/scan_arguments.h"

namespace ptynet::tools {

namespace {

struct Arguments {
  std::string input;
  std::string architecture;
  std::string output;
  std::string probe;
  io::TrainingRecord trained_for;
  bool quiet = false;
};

void add_training_record(CLI::App& command, Arguments& arguments) {
  constexpr const char* kGroup =
      "What the weights were trained for (reconstruct warns where a scan differs)";
  io::TrainingRecord& record = arguments.trained_for;
  add_parsed(command, {"--trained-for-frame", "RxC", "rows and columns of a frame, px"},
             "RxC, two whole numbers of 1 or more such as 128x128",
             [&record](const std::string& found) {
               record.frame_px = parse_integers(found, 'x');
               return record.frame_px && (*record.frame_px)[0] > 0 && (*record.frame_px)[1] > 0;
             })
      ->group(kGroup);
  add_parsed(
      command,
      {"--trained-for-object-pixel", "M|R,C",
       "side of an object pixel, metres; or per row and column"},
      "one positive number of metres, or two as R,C",
      [&record](const std::string& found) {
        const auto one = parse_number(found);
        record.object_pixel_m = one ? std::optional(std::array{*one, *one}) : parse_numbers(found);
        if (!record.object_pixel_m) return false;
        for (const double side : *record.object_pixel_m) {
          if (!(side > 0)) return false;
          expect_length("--trained-for-object-pixel", side, kObjectPixel);
        }
        return true;
      })
      ->group(kGroup);
  add_positive(command, {"--trained-for-photons", "N", "mean counts of a frame"}, record.photons)
      ->group(kGroup);
  std::vector<std::pair<std::string, std::string>> names;
  for (const std::string& name : orientation_names()) names.emplace_back(name, name);
  add_choice<std::string>(
      command, {"--trained-for-orientation", "", "orientation, as --orientation of scans"}, names,
      [&record](const std::string& name) { record.orientation = name; })
      ->type_name("NAME")
      ->group(kGroup);
  add_text(command, {"--trained-for-probe", "FILE[:DATASET]", "complex probe, kept in the file"},
           arguments.probe)
      ->group(kGroup);
}

// What is said here counts, the rest is as the input file has it.
void merge(const io::TrainingRecord& said, io::TrainingRecord& record) {
  if (said.frame_px) record.frame_px = said.frame_px;
  if (said.object_pixel_m) record.object_pixel_m = said.object_pixel_m;
  if (said.photons) record.photons = said.photons;
  if (said.orientation) record.orientation = said.orientation;
}

Architecture architecture_of(const Arguments& arguments, const io::WeightFile& weights) {
  if (!arguments.architecture.empty()) return load_architecture(arguments.architecture);
  if (weights.architecture_json.empty()) {
    fail_input(arguments.input, " does not say which network it belongs to: give --architecture");
  }
  return parse_architecture(weights.architecture_json);
}

void run(const Arguments& arguments) {
  Console console(arguments.quiet);
  std::vector<std::filesystem::path> inputs{arguments.input, arguments.architecture};
  if (!arguments.probe.empty()) inputs.push_back(io::parse_dataset_name(arguments.probe).path);
  io::expect_no_input(arguments.output, inputs);
  io::WeightFile weights = io::read_weights(arguments.input);
  const Architecture architecture = architecture_of(arguments, weights);
  const std::vector<std::string> extra = check_state(architecture, weights.tensors);
  if (!extra.empty()) {
    std::string names;
    for (const std::string& name : extra) names += (names.empty() ? "" : ", ") + name;
    console.warning(text(arguments.input, ": ", extra.size(),
                         extra.size() == 1 ? " tensor" : " tensors", " of no use to ",
                         architecture.name, ", left out: ", names));
  }
  StateDict kept;
  for (const TensorSpec& tensor : tensors_of(architecture)) {
    kept[tensor.name] = weights.tensors.at(tensor.name);
  }
  weights.tensors = std::move(kept);
  weights.architecture_json = architecture.json;
  merge(arguments.trained_for, weights.trained_for);
  if (!arguments.probe.empty()) {
    weights.trained_for.probe = io::load_probe(io::parse_dataset_name(arguments.probe));
    weights.trained_for.probe_sha256.reset();  // of another probe, perhaps
  }
  io::write_weights(arguments.output, weights);
  console.log(text("wrote ", arguments.output, ": ", architecture.name, ", ",
                   weights.tensors.size(), " tensors, ", parameter_count(architecture),
                   " parameters"));
}

}  // namespace

void add_convert(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App& command = *program.add_subcommand(
      "convert", "From a weight file of any kind to ptynet's own, which carries its architecture.");
  add_text(command, {"IN", "", ".pth, .ckpt, .safetensors or ptynet's .h5"}, arguments->input)
      ->required();
  add_text(command, {"--output", "OUT.h5", "the file to write; an existing one is replaced"},
           arguments->output)
      ->required();
  add_text(command,
           {"--architecture", "NAME|FILE.json",
            "built-in network or a file; `ptynet info --architectures` lists them (default: the "
            "one IN carries)"},
           arguments->architecture);
  command.add_flag("--quiet", arguments->quiet, "no log, warnings only");
  add_training_record(command, *arguments);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
