// Architectures as users name them.
#pragma once

#include <string>

#include "io/weights.h"
#include "layers/architecture.h"

namespace ptynet {

// A built-in name, or a file where `name` ends in .json or holds a '/'. Throws Error (input).
Architecture load_architecture(const std::string& name);

// The one called `name`, or the weight file's own where the name is empty. `weights_path` is for
// messages. Throws Error (input).
Architecture load_architecture(const std::string& name, const io::WeightFile& weights,
                               const std::string& weights_path);

}  // namespace ptynet
