// The CUDA backend as a library of its own, so that a machine without CUDA needs none of its files.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/context.h"

namespace ptynet {

struct CudaPlugin {
  // Of the headers that both sides were compiled with. What follows is only what it says here where
  // it is the reader's own id.
  const char* build_id;
  // Throws Error (runtime) when the device cannot be used, saying why.
  std::unique_ptr<Backend> (*make_backend)(const ContextOptions& options);
  // One per device. Throws Error (runtime) when there is none, saying why.
  std::vector<DeviceReport> (*list_devices)();
};

// The library's one entry point.
inline constexpr const char* kCudaPluginEntry = "ptynet_cuda_plugin";
using CudaPluginEntry = const CudaPlugin* (*)();

// Where the library is, if it is there.
std::optional<std::filesystem::path> cuda_plugin_path();

// libptynet_cuda.so beside this library, or what PTYNET_CUDA_LIBRARY names; loaded by the first
// call. Throws Error (runtime) when it is not there or cannot be loaded, saying why. Thread-safe.
const CudaPlugin& cuda_plugin();

}  // namespace ptynet
