// The options that say how a scan is read, the same for every command that reads one.
#pragma once

#include "engine/scan.h"
#include "tools/options.h"

namespace ptynet::tools {

// Adds them to `command`; `scan` is filled while the command line is parsed and must outlive it.
void add_scan_arguments(CLI::App& command, ScanOptions& scan);

// Throws Error (input) for options that only make sense together.
void check_scan_arguments(const ScanOptions& scan);

// Names of --orientation.
const std::vector<std::string>& orientation_names();

}  // namespace ptynet::tools
