// What `ptynet evaluate` compares: results and their truth, cut out of their files pixel by pixel.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <vector>

#include "engine/evaluate.h"
#include "engine/metrics.h"

namespace ptynet {

struct JudgedResult {
  std::filesystem::path path;
  ComplexImage object;        // of the region; where no frame covers, the truth's value
  std::vector<bool> covered;  // pixel by pixel
  std::optional<std::array<double, 2>> pixel_size_m;  // (row, column)
  std::optional<ScanR> r_factor;
};

struct Judged {
  Region region{};
  ComplexImage truth;  // of the region
  std::vector<JudgedResult> results;
};

// Throws Error (input) as evaluate() does.
Judged judge(const EvaluateRequest& request);

}  // namespace ptynet
