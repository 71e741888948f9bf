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

// OpenMP loops that the calling thread starts from now on use this many threads (a reader thread
// beside the computing one wants 1: two teams on the same cores wait for each other).
void set_threads_of_caller(int threads);

// `host` itself where the device is the CPU, sharing its elements; else a copy on the device.
Array on_device(Context& context, const Array& host);

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
