// What a file is, and why it is taken for that: the reports of `ptynet info`.
#pragma once

#include <string>

#include "engine/scan.h"
#include "tools/report.h"

namespace ptynet::tools {

// A weight file, a result or a scan, told apart by content; `scan` names the file and says how a
// scan is read. Throws Error (input) for anything else.
Report describe_file(const ScanOptions& scan);

Report describe_devices();
Report describe_architectures();

}  // namespace ptynet::tools
