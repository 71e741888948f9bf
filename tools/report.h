// What a command found out, for people or for programs, on stdout.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace ptynet::tools {

using Report = nlohmann::ordered_json;

// As JSON, or indented "key: value" lines with the same keys; short lists stand on one line.
std::string render(const Report& report, bool json);

// Writes to stdout, where nothing else is written. Throws Error (runtime) when that fails.
void print_output(const std::string& content);

}  // namespace ptynet::tools
