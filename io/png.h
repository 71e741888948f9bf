// PNG pictures as arrays.
#pragma once

#include <filesystem>
#include <string>

#include "io/bytes.h"
#include "kernels/array.h"

namespace ptynet::io {

// The picture as stored: u8, or u16 for 16 bits a channel; [rows, columns] for grey, [rows,
// columns, channels] for grey with alpha (2), RGB (3) and RGBA (4). Palettes become RGB, 1 to 4 bit
// grey is scaled up to 8 bits; gamma and colour profiles are ignored.
// Throws Error (input), before any pixel is allocated, when it is no PNG, has over 2^16 rows or
// columns or 2^28 pixels, or claims more pixels than its length can hold (deflate packs 1032 to 1
// at best); and when the file is damaged or ends early.
Array read_png(const std::filesystem::path& path);
// The same for bytes in memory; `name` is for messages.
Array parse_png(Bytes bytes, const std::string& name);

// Writes a host u8 array, [rows, columns] as grey or [rows, columns, 3] as RGB; the file appears
// whole or not at all. The same pixels give the same bytes.
void write_png(const std::filesystem::path& path, const Array& picture);

}  // namespace ptynet::io
