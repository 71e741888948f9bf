// ptynet info: what a file, this machine or this program holds.
#include <memory>

#include "tools/commands.h"
#include "tools/describe.h"
#include "tools/scan_arguments.h"

namespace ptynet::tools {

namespace {

struct Arguments {
  ScanOptions scan;
  bool devices = false;
  bool architectures = false;
  bool json = false;
};

void run(const Arguments& arguments) {
  const int asked = static_cast<int>(!arguments.scan.path.empty()) +
                    static_cast<int>(arguments.devices) + static_cast<int>(arguments.architectures);
  if (asked != 1) {
    fail_input("info takes one of FILE, --devices and --architectures, found ",
               asked == 0 ? "none" : "several", "; see ptynet info --help");
  }
  check_scan_arguments(arguments.scan);
  const Report report = arguments.devices         ? describe_devices()
                        : arguments.architectures ? describe_architectures()
                                                  : describe_file(arguments.scan);
  print_output(render(report, arguments.json));
}

}  // namespace

void add_info(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App& command = *program.add_subcommand(
      "info", "What a weight file, a scan or a result is; which devices and networks there are.");
  add_text(command, {"FILE", "", "a weight file, a scan or a result, told apart by its content"},
           arguments->scan.path);
  command.add_flag("--devices", arguments->devices, "list devices, and why one cannot be used");
  command.add_flag("--architectures", arguments->architectures, "list the built-in networks");
  command.add_flag("--json", arguments->json, "print JSON on stdout");
  add_scan_arguments(command, arguments->scan);
  command.callback([arguments] { run(*arguments); });
}

}  // namespace ptynet::tools
