// The options that say how a scan is read, the same for every command that reads one.
#pragma once

#include "engine/scan.h"
#include "tools/options.h"

namespace ptynet::tools {

// Where SCAN, --weights, --architecture and --input-rule go.
struct ScanAndNetwork {
  std::string& scan;
  std::string& weights;
  std::string& architecture;
  std::string& input_rule;
};

// The positional SCAN, whose description ends with `note`, and the network that is to see it.
void add_scan_and_network(CLI::App& command, const std::string& note, const ScanAndNetwork& to);

// Adds them to `command`; `scan` is filled while the command line is parsed and must outlive it.
void add_scan_arguments(CLI::App& command, ScanOptions& scan);

// Throws Error (input) for options that only make sense together.
void check_scan_arguments(const ScanOptions& scan);

// Names of --orientation.
const std::vector<std::string>& orientation_names();

}  // namespace ptynet::tools
