// SHA-256 fingerprints, as `sha256sum` prints them: 64 lower-case hexadecimal digits.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "io/bytes.h"
#include "kernels/array.h"

namespace ptynet::io {

std::string sha256(Bytes bytes);
// Of an array's elements, on the host, and of a text.
std::string sha256_of(const Array& array);
std::string sha256_of(std::string_view text);
// Of a file's content; throws Error (input) when it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace ptynet::io
