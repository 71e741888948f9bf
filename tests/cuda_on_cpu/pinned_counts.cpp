#include "tests/cuda_on_cpu/pinned_counts.h"

#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <vector>

#include "kernels/error.h"
#include "tests/cuda_on_cpu/count_layers.h"

namespace ptynet::cuda::tests {

namespace {

// A count that is pinned; one with a limit has a ratio to its floor, and above it needs a reason.
struct Measure {
  const char* name;
  std::int64_t LayerCounts::*count;
  std::int64_t LayerCounts::*floor;  // null: pinned only
  double limit;
};

constexpr Measure kMeasures[] = {
    {"sectors", &LayerCounts::sectors, &LayerCounts::least_sectors, 2},
    {"waves", &LayerCounts::waves, &LayerCounts::accesses, 1.2},
    {"accesses", &LayerCounts::accesses, nullptr, 0},
    {"products", &LayerCounts::products, &LayerCounts::least_products, 1.5},
};

double ratio(const LayerCounts& counts, const Measure& measure) {
  const std::int64_t floor = counts.*measure.floor;
  return floor == 0 ? 0 : static_cast<double>(counts.*measure.count) / static_cast<double>(floor);
}

struct PinnedRow {
  LayerCounts counts;
  std::map<std::string, std::string> reasons;  // by measure
};

struct PinnedTable {
  std::vector<std::string> heading;       // every line that is no row
  std::set<std::string> reasons;          // defined there
  std::map<std::string, PinnedRow> rows;  // by network and layer
};

std::string key_of(const LayerCounts& counts) { return counts.network + " " + counts.layer; }

PinnedRow parse_row(const std::string& line) {
  PinnedRow out;
  LayerCounts& c = out.counts;
  std::istringstream words(line);
  std::string ratio_of;  // counted anew
  std::string word;
  words >> c.network >> c.layer >> c.tile >> c.sectors >> c.least_sectors >> ratio_of >> c.waves >>
      c.accesses >> ratio_of >> c.products >> c.least_products >> ratio_of;
  if (!words) {
    fail_input("layer_counts.txt: expected three words and nine numbers, found: ", line,
               "; cuda_on_cpu --count FILE prints the rows");
  }
  while (words >> word) {
    const std::size_t colon = word.find(':');
    if (colon == std::string::npos) {
      fail_input("layer_counts.txt: expected measure:reason at the end of a row, found: ", word);
    }
    out.reasons[word.substr(0, colon)] = word.substr(colon + 1);
  }
  return out;
}

PinnedTable read_table(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail_input("--count: cannot read ", path, ": expected layer_counts.txt");
  PinnedTable out;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("ptynet-", 0) == 0) {
      const PinnedRow row = parse_row(line);
      out.rows[key_of(row.counts)] = row;
      continue;
    }
    out.heading.push_back(line);
    std::istringstream words(line);
    std::string first;
    std::string name;
    if (words >> first >> name && first == "reason") out.reasons.insert(name);
  }
  return out;
}

// Prints to stderr; false.
template <typename... Parts>
bool complain(const Parts&... parts) {
  std::fprintf(stderr, "FAILED %s\n", text(parts...).c_str());
  return false;
}

bool matches(const LayerCounts& found, const LayerCounts& pinned) {
  bool good = true;
  if (found.tile != pinned.tile) {
    good = complain(key_of(found), ": tile ", found.tile, ", pinned ", pinned.tile);
  }
  for (const Measure& measure : kMeasures) {
    const std::int64_t now = found.*measure.count;
    const std::int64_t then = pinned.*measure.count;
    if (now != then) {
      good = complain(key_of(found), ": ", measure.name, now > then ? " grew" : " fell", " to ",
                      now, ", pinned ", then, now > then ? "" : ": pin the new table");
    }
  }
  return good;
}

bool is_reasoned(const LayerCounts& found, const PinnedRow& row, const PinnedTable& table) {
  bool good = true;
  for (const Measure& measure : kMeasures) {
    if (measure.floor == nullptr) continue;
    const auto reason = row.reasons.find(measure.name);
    const bool above = ratio(found, measure) > measure.limit;
    if (above && (reason == row.reasons.end() || !table.reasons.contains(reason->second))) {
      good = complain(key_of(found), ": ", measure.name, " are ", ratio(found, measure),
                      " times their floor, above ", measure.limit,
                      ": lower them, or end the row with ", measure.name,
                      ":NAME and say why in a line `reason NAME ...`");
    }
    if (!above && reason != row.reasons.end()) {
      good = complain(key_of(found), ": ", measure.name, " are within ", measure.limit,
                      " and need no reason: take ", measure.name, ":", reason->second, " away");
    }
  }
  return good;
}

void print_row(const LayerCounts& c, const PinnedRow& row) {
  std::printf("%-8s %-32s %5s %8ld %6ld %5.2f %8ld %8ld %5.2f %7ld %7ld %6.2f", c.network.c_str(),
              c.layer.c_str(), c.tile.c_str(), c.sectors, c.least_sectors, ratio(c, kMeasures[0]),
              c.waves, c.accesses, ratio(c, kMeasures[1]), c.products, c.least_products,
              ratio(c, kMeasures[3]));
  for (const Measure& measure : kMeasures) {
    const auto reason = row.reasons.find(measure.name);
    if (reason != row.reasons.end()) std::printf(" %s:%s", measure.name, reason->second.c_str());
  }
  std::printf("\n");
}

}  // namespace

bool check_pinned_counts(const std::string& path) {
  PinnedTable table = read_table(path);
  for (const std::string& line : table.heading) std::printf("%s\n", line.c_str());
  bool good = true;
  for (const LayerCounts& found : count_layers()) {
    const auto at = table.rows.find(key_of(found));
    const PinnedRow row = at == table.rows.end() ? PinnedRow{} : at->second;
    print_row(found, row);
    good &= at != table.rows.end() ? matches(found, row.counts)
                                   : complain(key_of(found), ": not pinned: add its row");
    good &= is_reasoned(found, row, table);
    if (at != table.rows.end()) table.rows.erase(at);
  }
  for (const auto& [key, row] : table.rows) {
    good = complain(key, ": pinned, but no such layer is counted: take its row away");
  }
  return good;
}

}  // namespace ptynet::cuda::tests
