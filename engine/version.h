// What this library is.
#pragma once

#include <string>

namespace ptynet {

std::string version();  // "0.1.0"
// Compiler, build type and libraries, one line.
std::string build_description();

}  // namespace ptynet
