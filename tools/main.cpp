// ptynet: neural-network X-ray ptychography from the command line.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "engine/version.h"
#include "kernels/context.h"
#include "kernels/error.h"
#include "tools/commands.h"
#include "tools/help.h"
#include "tools/report.h"

namespace ptynet::tools {

namespace {

constexpr int kSuccess = 0;
constexpr int kFailure = 1;   // while running
constexpr int kBadInput = 2;  // usage or input

int complain(std::string message, int code) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::fprintf(stderr, "ptynet: error: %s\n", message.c_str());
  return code;
}

std::string version_lines() {
  // What is compiled in; `ptynet info --devices` says what of it this machine can use.
  return text("ptynet ", version(), "\nbuild: ", build_description(),
              "\nbackends: ", backends_of_build(), "\n");
}

// As the user typed it, words with anything unusual in quotes.
std::string command_line(int argc, char** argv) {
  std::string out = "ptynet";
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool plain = !word.empty() && word.find_first_of(" \t\n'\"\\$*?&|;<>()`") == word.npos;
    out += plain ? " " + word : " '" + word + "'";
  }
  return out;
}

int run(int argc, char** argv) {
  CLI::App program("Neural-network X-ray ptychography: from diffraction frames to the object.",
                   "ptynet");
  program.formatter(std::make_shared<HelpFormatter>());
  program.set_help_flag("-h,--help", "show this text");
  const auto show_version = [] { throw CLI::CallForVersion(version_lines(), kSuccess); };
  program.add_flag_callback("--version", show_version, "show version, build and backends");
  program.require_subcommand(1);
  program.footer(
      "Exit status: 0 done, 1 a failure while running, 2 bad usage or input. Errors are one line "
      "on stderr.");
  const std::string typed = command_line(argc, argv);
  add_reconstruct(program, typed);
  add_finetune(program, typed);
  add_train(program);
  add_convert(program);
  add_info(program);
  add_bench(program);
  add_evaluate(program);
  add_simulate(program, typed);
  try {
    program.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print_output(program.help());
  } catch (const CLI::CallForVersion& found) {
    print_output(found.what());
  } catch (const CLI::ParseError& problem) {
    const auto named = program.get_subcommands();
    // CLI11 asks for a command before it looks at words it does not know.
    const auto unknown = program.remaining();
    const std::string what = named.empty() && !unknown.empty()
                                 ? "no command or option is called '" + unknown.front() + "'"
                                 : problem.what();
    const std::string command = named.empty() ? "" : named.back()->get_name() + " ";
    return complain(text(what, "; see ptynet ", command, "--help"), kBadInput);
  }
  return kSuccess;
}

}  // namespace

}  // namespace ptynet::tools

int main(int argc, char** argv) {
  using ptynet::tools::complain;
  try {
    return ptynet::tools::run(argc, argv);
  } catch (const ptynet::Error& error) {
    const bool input = error.fault() == ptynet::Fault::kInput;
    return complain(error.what(), input ? ptynet::tools::kBadInput : ptynet::tools::kFailure);
  } catch (const std::bad_alloc&) {
    return complain("out of memory: use a smaller --batch, or fewer pixels", 1);
  } catch (const std::exception& error) {
    return complain(ptynet::text("unexpected failure: ", error.what()), 1);
  } catch (...) {
    return complain("unexpected failure of unknown kind", 1);
  }
}
