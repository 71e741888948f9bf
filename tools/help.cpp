#include "tools/help.h"

#include <sstream>
#include <vector>

#include "kernels/error.h"

namespace ptynet::tools {

namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kIndent = 34;  // where descriptions begin

// `words` wrapped at kColumns, lines after the first one indented.
std::string wrapped(const std::string& words, std::size_t indent) {
  std::istringstream in(words);
  std::string out;
  std::size_t column = indent;
  for (std::string word; in >> word;) {
    if (column > indent && column + 1 + word.size() > kColumns) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::string row(const std::string& name, const std::string& description) {
  std::string out = "  " + name;
  if (out.size() + 2 > kIndent) {
    out += "\n" + std::string(kIndent, ' ');
  } else {
    out.resize(kIndent, ' ');
  }
  return out + wrapped(description, kIndent) + "\n";
}

std::string name_and_value(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true);
  std::string name;
  for (const std::string& letter : option.get_snames()) name += "-" + letter + ", ";
  for (const std::string& word : option.get_lnames()) name += "--" + word + ", ";
  name.resize(name.size() - 2);
  const bool takes_value = option.get_expected_max() > 0 && option.get_type_size_max() > 0;
  return takes_value ? name + " " + option.get_type_name() : name;
}

std::string usage(const CLI::App& app, const std::string& name) {
  std::string out = "Usage: " + name;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_required() && !option->get_positional()) continue;
    const std::string part = name_and_value(*option);
    out += option->get_required() ? " " + part : " [" + part + "]";
  }
  if (!app.get_subcommands({}).empty()) out += " COMMAND";
  return out + " [options]\n";
}

}  // namespace

std::string HelpFormatter::make_help(const CLI::App* app, std::string name,
                                     CLI::AppFormatMode /*mode*/) const {
  std::string out = wrapped(app->get_description(), 0) + "\n\n" + usage(*app, name);
  const auto commands = app->get_subcommands({});
  if (!commands.empty()) {
    out += "\nCommands (ptynet COMMAND --help explains each):\n";
    for (const CLI::App* command : commands) {
      out += row(command->get_name(), command->get_description());
    }
  }
  // Positional arguments first, then the options in the order they were added, by group.
  std::string positional;
  for (const CLI::Option* option : app->get_options()) {
    if (option->get_positional())
      positional += row(name_and_value(*option), option->get_description());
  }
  if (!positional.empty()) out += "\nArguments:\n" + positional;
  for (const std::string& group : app->get_groups()) {
    std::string rows;
    for (const CLI::Option* option : app->get_options()) {
      if (option->get_positional() || option->get_group() != group) continue;
      rows += row(name_and_value(*option), option->get_description());
    }
    if (!group.empty() && !rows.empty()) out += ptynet::text("\n", group, ":\n", rows);
  }
  if (!app->get_footer().empty()) out += "\n" + app->get_footer() + "\n";
  return out;
}

}  // namespace ptynet::tools
