#include "tools/lengths.h"

#include <array>
#include <cmath>

namespace ptynet::tools {

namespace {

struct Unit {
  const char* name;
  double metres;
};
constexpr std::array<Unit, 3> kUnits = {{{"mm", 1e-3}, {"um", 1e-6}, {"nm", 1e-9}}};

bool within(double metres, const LengthRange& range) {
  return std::abs(metres) >= range.least_m && std::abs(metres) <= range.most_m;
}

// "; write 7.5e-05 for 75 um": in the unit that makes the number most usual, if one makes it
// possible.
std::string advice(double number, const LengthRange& range) {
  const auto unusual = [&](const Unit& unit) {
    return std::abs(std::log(std::abs(number) * unit.metres / range.usual_m));
  };
  const Unit* meant = nullptr;
  for (const Unit& unit : kUnits) {
    if (!within(number * unit.metres, range)) continue;
    if (meant == nullptr || unusual(unit) < unusual(*meant)) meant = &unit;
  }
  if (meant == nullptr) return {};
  return text("; write ", number * meant->metres, " for ", number, " ", meant->name);
}

}  // namespace

void expect_length(const std::string& option, double metres, const LengthRange& range) {
  if (metres == 0 || within(metres, range)) return;
  fail_input(option, " expects metres, from ", range.least_m, " to ", range.most_m, ", found ",
             metres, advice(metres, range));
}

CLI::Option* add_length(CLI::App& command, const OptionText& what, const LengthRange& range,
                        std::optional<double>& value) {
  return add_parsed(command, what, "a number above 0",
                    [name = what.name, range, &value](const std::string& found) {
                      const auto number = parse_number(found);
                      if (!number || !(*number > 0)) return false;
                      expect_length(name, *number, range);
                      value = number;
                      return true;
                    });
}

}  // namespace ptynet::tools
