// Where an array lives.
#pragma once

#include <string>
#include <string_view>

namespace ptynet {

enum class DeviceKind { kCpu, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;

  // "cpu", "cuda" or "cuda:1"; throws Error (input) for anything else.
  static Device parse(std::string_view name);
  bool operator==(const Device&) const = default;
};

std::string to_string(const Device& device);

}  // namespace ptynet
