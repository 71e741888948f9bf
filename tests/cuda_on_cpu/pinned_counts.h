// The counts of count_layers() beside those written down in layer_counts.txt.
#pragma once

#include <string>

namespace ptynet::cuda::tests {

// Counts anew and prints the table as the file should have it to stdout; what differs, and each
// count above its limit without a reason in the file, to stderr. Whether there was nothing of that.
// Throws Error (input) when the file cannot be read.
bool check_pinned_counts(const std::string& path);

}  // namespace ptynet::cuda::tests
