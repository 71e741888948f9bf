// Architectures as users name them.
#pragma once

#include <string>

#include "layers/architecture.h"

namespace ptynet {

// A built-in name, or a file where `name` ends in .json or holds a '/'. Throws Error (input).
Architecture load_architecture(const std::string& name);

}  // namespace ptynet
