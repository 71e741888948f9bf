// What the backend asks of a device beside kernels: memory, streams, events, graphs. runtime.cpp
// asks the CUDA runtime; tests/cuda_on_cpu/twin_runtime.cpp plays a device on the CPU.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

struct DeviceFacts {
  std::string name;    // "NVIDIA H200"
  int capability = 0;  // 90 is 9.0
  int multiprocessors = 0;
  std::size_t memory_bytes = 0;
  int driver = 0;  // the CUDA version that the driver supports: 13000 is 13.0
};

// One per device, in the driver's order. Throws Error (runtime) when there is no driver, when it is
// too old for this build, or when it sees no device: one line that says which.
std::vector<DeviceFacts> find_devices();

// The calling thread works on this device while the scope lives, then on what it had before if that
// was in use.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

// Of the current device, aligned to 256 bytes. Throws Error (runtime) with the bytes that were
// wanted and those that are free when memory is short.
std::shared_ptr<void> allocate_device_memory(std::size_t bytes);
// Of the host, where copies to and from the device run beside other work.
std::shared_ptr<void> allocate_pinned_memory(std::size_t bytes);

// A queue of work of the current device, with no tie to any other queue.
class OwnStream {
 public:
  OwnStream();
  Stream get() const { return stream_.get(); }
  void synchronize() const;

 private:
  std::shared_ptr<CUstream_st> stream_;
};

// From anywhere to anywhere.
void copy_bytes(void* to, const void* from, std::size_t bytes, Stream stream);
void zero_bytes(void* to, std::size_t bytes, Stream stream);  // of the device

// A point in a stream, with its time.
class Mark {
 public:
  explicit Mark(Stream stream);
  void renew(Stream stream);
  void wait() const;
  double seconds_since(const Mark& earlier) const;  // both must have been reached: wait() first

 private:
  friend void let_wait(Stream stream, const Mark& mark);
  std::shared_ptr<void> event_;
};

// What comes next on `stream` waits for the mark on another.
void let_wait(Stream stream, const Mark& mark);

// A sequence of work that begins and ends on one stream, launched as one.
class Graph {
 public:
  // Runs `work`, whose launches and copies go into the graph instead of to the device.
  static Graph capture(Stream stream, const std::function<void()>& work);
  void launch(Stream stream) const;
  // Of one run of `work`: the mean over several in succession, within a graph, on a device that is
  // warm.
  static double time(Stream stream, const std::function<void()>& work);

 private:
  std::shared_ptr<void> executable_;
};

}  // namespace ptynet::cuda
