// Options of the command line: parsed strictly, with one-line errors that show the form.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/session.h"

namespace ptynet::tools {

// How an option is written and explained.
struct OptionText {
  std::string name;         // "--frames"
  std::string form;         // of its value: "A:B"
  std::string description;  // with unit and default
};

// `take` stores the value and says whether the text had the form; if not, the error shows
// `expected` ("A:B with 0 <= A < B").
CLI::Option* add_parsed(CLI::App& command, const OptionText& what, const std::string& expected,
                        const std::function<bool(const std::string&)>& take);

CLI::Option* add_text(CLI::App& command, const OptionText& what, std::string& value);
// One or more, none of them empty; for the positional arguments of a command.
CLI::Option* add_texts(CLI::App& command, const OptionText& what, std::vector<std::string>& values);

struct IntegerRange {
  std::int64_t low;
  std::int64_t high;
};
// The value it has when added is the default that the description ends with.
CLI::Option* add_integer(CLI::App& command, const OptionText& what, IntegerRange range,
                         std::int64_t& value);
CLI::Option* add_integer(CLI::App& command, const OptionText& what, IntegerRange range, int& value);
// One without a default; the description says what comes without it.
CLI::Option* add_integer(CLI::App& command, const OptionText& what, IntegerRange range,
                         std::optional<std::int64_t>& value);

// A finite number above 0; the value it has when added is the default, where it has one.
CLI::Option* add_positive(CLI::App& command, const OptionText& what, std::optional<double>& value);
CLI::Option* add_positive(CLI::App& command, const OptionText& what, double& value);

// A finite number of 0 or more; the value it has when added is the default.
CLI::Option* add_not_negative(CLI::App& command, const OptionText& what, double& value);

// One of the names; the form becomes "a|b|c".
template <typename T>
CLI::Option* add_choice(CLI::App& command, OptionText what,
                        const std::vector<std::pair<std::string, T>>& names,
                        const std::function<void(const T&)>& take) {
  std::string expected;
  what.form.clear();
  for (const auto& [name, value] : names) {
    what.form += (what.form.empty() ? "" : "|") + name;
    expected += (expected.empty() ? "" : ", ") + name;
  }
  return add_parsed(command, what, "one of " + expected, [names, take](const std::string& found) {
    for (const auto& [name, value] : names) {
      if (name != found) continue;
      take(value);
      return true;
    }
    return false;
  });
}

// --device, --threads and --precision, of every command that only predicts.
struct DeviceArguments {
  std::optional<Device> device;  // empty: the best there is
  Precision precision = Precision::kF32;
  int threads = 0;

  void add_to(CLI::App& command);
};
// The same of commands that train.
void add_training_device(CLI::App& command, std::optional<Device>& device, int& threads,
                         Precision& precision);

// "A,B,..." of texts that are not empty.
CLI::Option* add_list(CLI::App& command, const OptionText& what, const std::string& expected,
                      std::vector<std::string>& values);

// Whole texts only, no sign but '-', no spaces; nothing when they have another form.
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);  // finite
// The two parts around the only `separator`.
std::optional<std::pair<std::string_view, std::string_view>> split(std::string_view text,
                                                                   char separator);
// "R,C" or "RxC" of whole numbers.
std::optional<std::array<std::int64_t, 2>> parse_integers(std::string_view text, char separator);
// "R,C" of numbers.
std::optional<std::array<double, 2>> parse_numbers(std::string_view text);

}  // namespace ptynet::tools
