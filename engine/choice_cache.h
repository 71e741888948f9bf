// Which ways to compute convolutions were the fastest on a device, kept from one run to the next:
// to time them all takes seconds.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "kernels/context.h"

namespace ptynet {

// choices.json in $PTYNET_CACHE, or else in $XDG_CACHE_HOME/ptynet, or else in ~/.cache/ptynet;
// empty where there is no such folder's name.
std::filesystem::path choice_file();

// What the file has for this device, these kernels and these versions of libraries
// (Backend::description()). A file that is missing or damaged has nothing.
void load_choices(const std::filesystem::path& file, Backend& backend);

// Adds the backend's choices to the file, those that were timed: not what a checkpoint said.
// Nothing happens where it cannot be written: they are then made again by the next run.
void save_choices(const std::filesystem::path& file, Backend& backend);

// The way that computes each convolution, by what is computed.
using ChosenWays = std::map<std::string, std::string>;
// Those that recordings of the backend have used.
ChosenWays used_choices(Backend& backend);
// From now on instead of what the backend knew; a way that it has not is timed anew.
void take_choices(const ChosenWays& ways, Backend& backend);
// A line "conv2d ...: tile of ..." for each.
std::string to_text(const ChosenWays& ways);

}  // namespace ptynet
