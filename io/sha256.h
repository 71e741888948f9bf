// SHA-256 fingerprints, as `sha256sum` prints them: 64 lower-case hexadecimal digits.
#pragma once

#include <filesystem>
#include <string>

#include "io/bytes.h"

namespace ptynet::io {

std::string sha256(Bytes bytes);
// Of a file's content; throws Error (input) when it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace ptynet::io
