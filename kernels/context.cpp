#include "kernels/context.h"

#include <omp.h>

#include "kernels/cuda_plugin.h"

namespace ptynet {

namespace {

#ifdef PTYNET_CPU
constexpr bool kHasCpu = true;
#else
constexpr bool kHasCpu = false;
#endif

std::string instruction_set() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return "AVX-512";
  if (__builtin_cpu_supports("avx2")) return "AVX2";
  if (__builtin_cpu_supports("avx")) return "AVX";
  return "SSE2";
}

// OpenMP's runtime ends the program when it cannot start a team.
constexpr int kMaxThreads = 4096;

std::unique_ptr<Backend> make_backend(const ContextOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    fail_input("--threads is 0 (as many as the machine has) to ", kMaxThreads, ", found ",
               options.threads);
  }
  if (options.device.kind == DeviceKind::kCpu) {
    if constexpr (kHasCpu) return make_cpu_backend(options.threads);
    fail_runtime(
        "device cpu cannot be used: this build has no CPU backend; use --device cuda, or a build "
        "with -DPTYNET_CPU=ON");
  }
  try {
    return cuda_plugin().make_backend(options);
  } catch (const Error& error) {
    fail_runtime("device ", to_string(options.device), ": ", error.what(),
                 kHasCpu ? "; or use --device cpu" : "");
  }
}

}  // namespace

Context::Context(const ContextOptions& options) : backend_(make_backend(options)) {}

Context::Context(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

void set_threads_of_caller(int threads) { omp_set_num_threads(threads); }

Array on_device(Context& context, const Array& host) {
  if (host.empty() || context.device() == host.device()) return host;
  Array copy = context.allocate(host.shape(), host.dtype());
  context.backend().copy(host, copy);
  return copy;
}

std::vector<DeviceReport> list_devices() {
  DeviceReport cpu;
  cpu.usable = kHasCpu;
  cpu.description = kHasCpu ? text(omp_get_num_procs(), " threads, ", instruction_set())
                            : "left out of this build (PTYNET_CPU=OFF)";
  std::vector<DeviceReport> out{cpu};
  try {
    const std::vector<DeviceReport> found = cuda_plugin().list_devices();
    out.insert(out.end(), found.begin(), found.end());
  } catch (const Error& error) {
    out.push_back({{DeviceKind::kCuda, 0}, false, error.what()});
  }
  return out;
}

Device best_device() {
  for (const DeviceReport& found : list_devices()) {
    if (found.usable && found.device.kind == DeviceKind::kCuda) return found.device;
  }
  return {kHasCpu ? DeviceKind::kCpu : DeviceKind::kCuda, 0};
}

Device device_or_best(const std::optional<Device>& asked) { return asked ? *asked : best_device(); }

std::string backends_of_build() {
  std::string cuda = cuda_plugin_path() ? "cuda" : "";
  if (!kHasCpu) return cuda;
  return cuda.empty() ? "cpu" : "cpu, " + cuda;
}

std::unique_ptr<Backend> make_host_backend(int threads) {
  if constexpr (kHasCpu) return make_cpu_backend(threads);
  return make_reference_backend();
}

}  // namespace ptynet
