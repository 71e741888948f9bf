// One device made ready: its backend, library handles and memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace ptynet {

struct ContextOptions {
  Device device;
  int threads = 0;  // of the CPU backend; 0: as many as the machine has
};

// Used by one thread at a time; several may live in one process.
class Context {
 public:
  // Throws Error (runtime) when the device cannot be used, saying why.
  explicit Context(const ContextOptions& options = {});
  // Takes any backend, such as the reference or a check backend.
  explicit Context(std::unique_ptr<Backend> backend);

  Backend& backend() { return *backend_; }
  Device device() const { return backend_->device(); }
  Array allocate(const Shape& shape, DType type) {
    return backend_->allocator().allocate(shape, type);
  }

 private:
  std::unique_ptr<Backend> backend_;
};

// What this build and this machine offer: "cpu" with its instruction set, every CUDA device, and
// why a device is not usable.
struct DeviceReport {
  Device device;
  bool usable = false;
  std::string description;
};
std::vector<DeviceReport> list_devices();

// The device that --device auto means: the first usable one, CUDA before the CPU.
Device best_device();

}  // namespace ptynet
