#include "tools/floors_report.h"

#include <algorithm>
#include <cstdio>

#include "kernels/error.h"

namespace ptynet::tools {

namespace {

constexpr double kMicro = 1e6;  // microseconds of a second

bool cost_the_same(const LayerFloor& a, const LayerFloor& b) {
  return a.input == b.input && a.output == b.output && a.bytes == b.bytes && a.flops == b.flops;
}

template <typename... Values>
std::string printed(const char* form, Values... values) {
  char line[64];
  std::snprintf(line, sizeof line, form, values...);
  return line;
}

std::string heading(const Floors& floors) {
  std::string line = "  x       MB    GFLOP    memory";
  for (const Multiplier& by : floors.multipliers) line += printed("%10s", by.name.c_str());
  for (const Multiplier& by : floors.multipliers) {
    line += printed("%17s", ("least, " + by.name).c_str());
  }
  return line + "  layer\n";
}

std::string pixels(const Shape& one) { return text(one[1], "x", one[2], "x", one[3]); }

std::string row(const Floors& floors, const LayerFloor& layer, std::ptrdiff_t count) {
  std::string line = printed("%3d %8.3f %8.3f %9.2f", static_cast<int>(count), layer.bytes / 1e6,
                             layer.flops / 1e9, layer.memory_s * kMicro);
  for (const double seconds : layer.arithmetic_s) line += printed("%10.2f", seconds * kMicro);
  for (std::size_t i = 0; i < floors.multipliers.size(); ++i) {
    line += printed("%15.2f %c", layer.least_s(i) * kMicro, layer.is_memory_bound(i) ? 'm' : 'a');
  }
  return line + "  " + layer.layer + "  " + pixels(layer.input) + " -> " + pixels(layer.output) +
         "\n";
}

}  // namespace

void add_floors(Report& report, const Floors& floors) {
  for (std::size_t i = 0; i < floors.multipliers.size(); ++i) {
    report["least_us"][floors.multipliers[i].name] = floors.least_s(i) * kMicro;
  }
}

Report floor_rows(const Floors& floors) {
  Report rows = Report::array();
  for (const LayerFloor& layer : floors.layers) {
    Report line{{"layer", layer.layer},
                {"input", std::vector<std::int64_t>(layer.input.begin(), layer.input.end())},
                {"output", std::vector<std::int64_t>(layer.output.begin(), layer.output.end())},
                {"bytes", layer.bytes},
                {"flop", layer.flops},
                {"memory_us", layer.memory_s * kMicro}};
    for (std::size_t i = 0; i < floors.multipliers.size(); ++i) {
      line["by"][floors.multipliers[i].name] = {
          {"arithmetic_us", layer.arithmetic_s[i] * kMicro},
          {"least_us", layer.least_s(i) * kMicro},
          {"bound", layer.is_memory_bound(i) ? "memory" : "arithmetic"}};
    }
    rows.push_back(std::move(line));
  }
  return rows;
}

std::string floor_table(const Floors& floors) {
  std::string out = "microseconds; the least is bound by m: memory, a: arithmetic\n";
  out += heading(floors);
  const auto& layers = floors.layers;
  for (auto layer = layers.begin(); layer != layers.end(); ++layer) {
    const auto same = [layer](const LayerFloor& other) { return cost_the_same(*layer, other); };
    if (std::any_of(layers.begin(), layer, same)) continue;
    out += row(floors, *layer, std::count_if(layer, layers.end(), same));
  }
  return out;
}

}  // namespace ptynet::tools
