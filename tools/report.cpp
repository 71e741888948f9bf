#include "tools/report.h"

#include <algorithm>
#include <cstdio>

#include "kernels/error.h"

namespace ptynet::tools {

namespace {

std::string scalar(const Report& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_null()) return "unknown";
  if (value.is_number_float()) return text(value.get<double>());
  return value.dump();
}

bool is_plain(const Report& list) {
  return std::none_of(list.begin(), list.end(),
                      [](const Report& item) { return item.is_structured(); });
}

void write(const Report& value, const std::string& indent, std::string& out);

void write_entry(const std::string& lead, const Report& value, const std::string& indent,
                 std::string& out) {
  if (!value.is_structured()) {
    out += lead + " " + scalar(value) + "\n";
  } else if (value.empty()) {
    out += lead + " none\n";
  } else if (value.is_array() && is_plain(value) && !value.front().is_string()) {
    out += lead;
    for (const Report& item : value) {
      out += ' ';
      out += scalar(item);
    }
    out += "\n";
  } else {
    out += lead + "\n";
    write(value, indent + "  ", out);
  }
}

void write(const Report& value, const std::string& indent, std::string& out) {
  if (value.is_object()) {
    for (const auto& [key, item] : value.items())
      write_entry(indent + key + ":", item, indent, out);
    return;
  }
  for (const Report& item : value) {
    if (!item.is_object() || item.empty()) {
      write_entry(indent + "-", item, indent, out);
      continue;
    }
    // The first key stands beside the dash.
    std::string lines;
    write(item, indent + "  ", lines);
    lines[indent.size()] = '-';
    out += lines;
  }
}

}  // namespace

std::string render(const Report& report, bool json) {
  // Names from files may be no UTF-8.
  if (json) return report.dump(2, ' ', false, Report::error_handler_t::replace) + "\n";
  std::string out;
  write(report, "", out);
  return out;
}

void print_output(const std::string& content) {
  if (std::fwrite(content.data(), 1, content.size(), stdout) != content.size() ||
      std::fflush(stdout) != 0) {
    fail_runtime("cannot write to standard output");
  }
}

}  // namespace ptynet::tools
