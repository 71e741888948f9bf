// Lengths of an experiment on the command line: in metres, within what instruments have.
#pragma once

#include <optional>
#include <string>

#include "tools/options.h"

namespace ptynet::tools {

// Wide: what lies outside is another unit, or a slip. `usual_m` is the middle of what is common, on
// a logarithmic scale.
struct LengthRange {
  double least_m;
  double usual_m;
  double most_m;
};
inline constexpr LengthRange kDistance{1e-5, 2, 300};  // sample to detector
inline constexpr LengthRange kDetectorPixel{1e-7, 75e-6, 0.01};
inline constexpr LengthRange kObjectPixel{1e-12, 20e-9, 1e-4};
inline constexpr LengthRange kOpticDiameter{1e-9, 7e-6, 0.1};
inline constexpr LengthRange kZoneWidth{1e-9, 50e-9, 1e-3};
inline constexpr LengthRange kDefocus{1e-12, 1e-3, 10};  // of either sign

// Throws Error (input) for metres whose magnitude is outside, with the unit that was probably
// meant. 0 passes.
void expect_length(const std::string& option, double metres, const LengthRange& range);

// A finite number above 0, within the range.
CLI::Option* add_length(CLI::App& command, const OptionText& what, const LengthRange& range,
                        std::optional<double>& value);

}  // namespace ptynet::tools
