// The floors of a network's layers, for people and for programs.
#pragma once

#include <string>

#include "engine/floors.h"
#include "tools/report.h"

namespace ptynet::tools {

// Sums over the layers, as "least_us" and by what multiplies.
void add_floors(Report& report, const Floors& floors);
// Every layer for itself, microseconds.
Report floor_rows(const Floors& floors);
// A line for all layers of the same shapes, at the place of the first.
std::string floor_table(const Floors& floors);

}  // namespace ptynet::tools
