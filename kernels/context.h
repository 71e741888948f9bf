// One device made ready: its backend, library handles and memory.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace ptynet {

struct ContextOptions {
  Device device;
  int threads = 0;  // of the CPU backend; 0: as many as the machine has
  // Products of f32 arrays may round their factors to TF32, where the device has it. A Session sets
  // it by its precision.
  bool tf32 = false;
  // A recording times the ways that a device has to compute a convolution, and keeps the fastest;
  // else it takes the one that a count of bytes and products suggests.
  bool tune = true;
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

// "cpu, cuda": what is there, whether this machine has a device for it or not.
std::string backends_of_build();

// The backend of the host, for what is done there beside a device: the CPU's, or the slow reference
// in a build without.
std::unique_ptr<Backend> make_host_backend(int threads);

// The device that --device auto means: the first usable one, CUDA before the CPU. Where none is,
// the one whose backend says why.
Device best_device();
// What was asked for, or else the best one; only then are devices looked for.
Device device_or_best(const std::optional<Device>& asked);

}  // namespace ptynet
