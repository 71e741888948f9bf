// Prints the devices ptynet finds on this machine; exits 1 when it can use none of them.
#include <ptynet/kernels/context.h>

#include <algorithm>
#include <iostream>

int main() {
  const auto devices = ptynet::list_devices();
  for (const auto& device : devices) {
    std::cout << ptynet::to_string(device.device) << ": " << device.description
              << (device.usable ? "" : " (not usable)") << '\n';
  }
  const bool any = std::any_of(devices.begin(), devices.end(),
                               [](const ptynet::DeviceReport& device) { return device.usable; });
  return any ? 0 : 1;
}
