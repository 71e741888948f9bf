#include "kernels/cuda_plugin.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace ptynet {

namespace {

constexpr const char* kFileName = "libptynet_cuda.so";

std::string own_folder() {
  Dl_info found{};
  if (dladdr(reinterpret_cast<const void*>(&cuda_plugin), &found) == 0) return {};
  std::error_code ignored;  // a name that a later change of folder would not find
  return std::filesystem::weakly_canonical(found.dli_fname, ignored).parent_path();
}

const CudaPlugin& load() {
  const auto found = cuda_plugin_path();
  if (!found) {
    fail_runtime("this build has no CUDA backend: ", kFileName,
                 " is not beside the library; build with -DPTYNET_CUDA=ON");
  }
  const std::filesystem::path& path = *found;
  // Never unloaded: a device's libraries do not bear it.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    fail_runtime("the CUDA backend cannot be loaded: ", dlerror(), ": install what is missing");
  }
  const auto entry = reinterpret_cast<CudaPluginEntry>(dlsym(library, kCudaPluginEntry));
  if (entry == nullptr) {
    fail_runtime(path.string(), " is not a CUDA backend: it has no ", kCudaPluginEntry, "()");
  }
  const CudaPlugin* plugin = entry();
  if (std::string(plugin->build_id) != PTYNET_BUILD_ID) {
    fail_runtime(path.string(), " is of another build than this program (", plugin->build_id,
                 ", expected ", PTYNET_BUILD_ID, "): install both from one build");
  }
  return *plugin;
}

}  // namespace

std::optional<std::filesystem::path> cuda_plugin_path() {
  if (const char* named = std::getenv("PTYNET_CUDA_LIBRARY")) return named;
  std::filesystem::path beside = std::filesystem::path(own_folder()) / kFileName;
  std::error_code ignored;
  if (std::filesystem::exists(beside, ignored)) return beside;
  return std::nullopt;
}

const CudaPlugin& cuda_plugin() {
  static const CudaPlugin& plugin = load();
  return plugin;
}

}  // namespace ptynet
