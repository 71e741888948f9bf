#include "tools/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <sstream>

namespace ptynet::tools {

namespace {

template <typename T>
std::optional<T> parse_all(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
OptionText with_default(const OptionText& what, const T& value) {
  return {what.name, what.form, text(what.description, " (default ", value, ")")};
}

CLI::Option* add_number(CLI::App& command, const OptionText& what, IntegerRange range,
                        const std::function<void(std::int64_t)>& take) {
  const bool open = range.high == std::numeric_limits<std::int64_t>::max();
  const std::string expected = open ? text("a whole number of ", range.low, " or more")
                                    : text("a whole number from ", range.low, " to ", range.high);
  return add_parsed(command, what, expected, [range, take](const std::string& found) {
    const auto number = parse_integer(found);
    if (!number || *number < range.low || *number > range.high) return false;
    take(*number);
    return true;
  });
}

CLI::Option* add_above_zero(CLI::App& command, const OptionText& what,
                            const std::function<void(double)>& take) {
  return add_parsed(command, what, "a number above 0", [take](const std::string& found) {
    const auto number = parse_number(found);
    if (!number || !(*number > 0)) return false;
    take(*number);
    return true;
  });
}

}  // namespace

std::optional<std::int64_t> parse_integer(std::string_view text) {
  return parse_all<std::int64_t>(text);
}

std::optional<double> parse_number(std::string_view text) {
  const std::optional<double> value = parse_all<double>(text);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

std::optional<std::pair<std::string_view, std::string_view>> split(std::string_view text,
                                                                   char separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos || text.find(separator, at + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return std::pair{text.substr(0, at), text.substr(at + 1)};
}

std::optional<std::array<std::int64_t, 2>> parse_integers(std::string_view text, char separator) {
  const auto parts = split(text, separator);
  if (!parts) return std::nullopt;
  const auto first = parse_integer(parts->first);
  const auto second = parse_integer(parts->second);
  if (!first || !second) return std::nullopt;
  return std::array{*first, *second};
}

std::optional<std::array<double, 2>> parse_numbers(std::string_view text) {
  const auto parts = split(text, ',');
  if (!parts) return std::nullopt;
  const auto first = parse_number(parts->first);
  const auto second = parse_number(parts->second);
  if (!first || !second) return std::nullopt;
  return std::array{*first, *second};
}

CLI::Option* add_parsed(CLI::App& command, const OptionText& what, const std::string& expected,
                        const std::function<bool(const std::string&)>& take) {
  const auto parse = [name = what.name, expected, take](const std::string& found) {
    if (!take(found)) fail_input(name, " expects ", expected, ", found '", found, "'");
  };
  return command.add_option_function<std::string>(what.name, parse, what.description)
      ->type_name(what.form);
}

CLI::Option* add_text(CLI::App& command, const OptionText& what, std::string& value) {
  return add_parsed(command, what, "a value that is not empty", [&value](const std::string& found) {
    value = found;
    return !found.empty();
  });
}

CLI::Option* add_texts(CLI::App& command, const OptionText& what,
                       std::vector<std::string>& values) {
  const auto take = [name = what.name, &values](const std::vector<std::string>& found) {
    if (std::find(found.begin(), found.end(), "") != found.end()) {
      fail_input(name, " expects values that are not empty, found ''");
    }
    values = found;
  };
  return command.add_option_function<std::vector<std::string>>(what.name, take, what.description)
      ->type_name(what.form);
}

CLI::Option* add_integer(CLI::App& command, const OptionText& what, IntegerRange range,
                         std::int64_t& value) {
  return add_number(command, with_default(what, value), range,
                    [&value](std::int64_t found) { value = found; });
}

CLI::Option* add_integer(CLI::App& command, const OptionText& what, IntegerRange range,
                         int& value) {
  return add_number(command, with_default(what, value), range,
                    [&value](std::int64_t found) { value = static_cast<int>(found); });
}

CLI::Option* add_integer(CLI::App& command, const OptionText& what, IntegerRange range,
                         std::optional<std::int64_t>& value) {
  return add_number(command, what, range, [&value](std::int64_t found) { value = found; });
}

CLI::Option* add_list(CLI::App& command, const OptionText& what, const std::string& expected,
                      std::vector<std::string>& values) {
  return add_parsed(command, what, expected, [&values](const std::string& found) {
    values.clear();
    std::istringstream parts(found);
    for (std::string part; std::getline(parts, part, ',');) values.push_back(part);
    return !found.empty() && found.back() != ',' &&
           std::find(values.begin(), values.end(), "") == values.end();
  });
}

CLI::Option* add_positive(CLI::App& command, const OptionText& what, std::optional<double>& value) {
  return add_above_zero(command, what, [&value](double found) { value = found; });
}

CLI::Option* add_positive(CLI::App& command, const OptionText& what, double& value) {
  return add_above_zero(command, with_default(what, value),
                        [&value](double found) { value = found; });
}

CLI::Option* add_not_negative(CLI::App& command, const OptionText& what, double& value) {
  return add_parsed(command, with_default(what, value), "a number of 0 or more",
                    [&value](const std::string& found) {
                      const auto number = parse_number(found);
                      if (!number || *number < 0) return false;
                      value = *number;
                      return true;
                    });
}

namespace {

void add_device_and_threads(CLI::App& command, std::optional<Device>& device, int& threads) {
  add_parsed(command,
             {"--device", "auto|cpu|cuda[:N]",
              "where to compute; auto takes a usable GPU, else the CPU (default auto)"},
             "auto, cpu, cuda or cuda:N", [&device](const std::string& found) {
               if (found == "auto") {
                 device.reset();
               } else {
                 device = Device::parse(found);
               }
               return true;
             });
  add_integer(command, {"--threads", "N", "threads of the CPU; 0: as many as the machine has"},
              {0, 4096}, threads);
}

void add_precision(CLI::App& command, std::span<const Precision> choices, const std::string& text,
                   Precision& precision) {
  std::vector<std::pair<std::string, Precision>> names;
  for (const Precision choice : choices) names.emplace_back(name_of(choice), choice);
  add_choice<Precision>(command, {"--precision", "", text + " (default fp32)"}, names,
                        [&precision](const Precision& found) { precision = found; });
}

}  // namespace

void DeviceArguments::add_to(CLI::App& command) {
  add_device_and_threads(command, device, threads);
  add_precision(command, kPrecisions,
                "of the network's operands; sums stay in fp32. tf32 and fp16 need a CUDA device, "
                "bf16 that or a CPU with AVX512-BF16",
                precision);
}

void add_training_device(CLI::App& command, std::optional<Device>& device, int& threads,
                         Precision& precision) {
  add_device_and_threads(command, device, threads);
  add_precision(command, kPrecisions,
                "of the convolutions' factors, forward and backward, and in bf16 and fp16 of what "
                "is between layers; sums, weights and the diffraction stay in fp32. All but fp32 "
                "need a CUDA device",
                precision);
}

}  // namespace ptynet::tools
