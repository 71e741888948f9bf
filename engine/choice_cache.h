// Which ways to compute convolutions were the fastest on a device, kept from one run to the next:
// to time them all takes seconds.
#pragma once

#include <filesystem>

#include "kernels/context.h"

namespace ptynet {

// choices.json in $PTYNET_CACHE, or else in $XDG_CACHE_HOME/ptynet, or else in ~/.cache/ptynet;
// empty where there is no such folder's name.
std::filesystem::path choice_file();

// What the file has for this device, these kernels and these versions of libraries
// (Backend::description()). A file that is missing or damaged has nothing.
void load_choices(const std::filesystem::path& file, Backend& backend);

// Adds the backend's choices to the file. Nothing happens where it cannot be written: they are then
// made again by the next run.
void save_choices(const std::filesystem::path& file, Backend& backend);

}  // namespace ptynet
