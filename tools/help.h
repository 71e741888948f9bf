// The form of every --help text.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace ptynet::tools {

// One form whatever the version of CLI11: description, usage, then options by group, wrapped at 100
// columns. docs/command-line.md holds what it makes.
class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
};

}  // namespace ptynet::tools
