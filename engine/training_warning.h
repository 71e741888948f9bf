// Weights see only what they were trained for: says where a scan differs.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/scan.h"
#include "io/weights.h"

namespace ptynet {

// One line for each of frame size, object pixel, probe, orientation and counts that is recorded,
// known of the scan, and different; counts (mean of a frame) by more than 10x. `warning` may be
// empty.
void warn_about_training(const io::TrainingRecord& trained, const Scan& scan,
                         std::optional<double> mean_counts,
                         const std::function<void(const std::string&)>& warning);

}  // namespace ptynet
