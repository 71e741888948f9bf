// Part of finetune(): its options held against its inputs, and written down.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/finetune.h"
#include "layers/architecture.h"

namespace ptynet {

// Options that exclude each other or are out of range, and outputs that cannot be written or would
// replace an input or each other. Throws Error (input).
void expect_usable(const FinetuneOptions& options);

// Throws Error (input) for a pattern that no trainable parameter of the network matches.
void expect_freezable(const Architecture& architecture, const std::vector<std::string>& patterns);

// The options that the weights at the end depend on, by the names that users know.
std::map<std::string, std::string> settings_of(const FinetuneOptions& options);

// The architecture's file with another input rule; scan_max, which is the scan's, is not in it.
std::string json_with_input_rule(const Architecture& architecture, const InputRule& rule);

}  // namespace ptynet
