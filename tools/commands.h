// The subcommands. Each adds itself to the program; its work runs when the command line names it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace ptynet::tools {

// `command_line` is what the user typed, for the result file.
void add_reconstruct(CLI::App& program, const std::string& command_line);
void add_finetune(CLI::App& program, const std::string& command_line);
void add_train(CLI::App& program);
void add_convert(CLI::App& program);
void add_info(CLI::App& program);
void add_bench(CLI::App& program);
void add_evaluate(CLI::App& program);
void add_simulate(CLI::App& program, const std::string& command_line);

}  // namespace ptynet::tools
