#include "kernels/context.h"

#include <omp.h>

namespace ptynet {

namespace {

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
  if (options.device.kind == DeviceKind::kCpu) return make_cpu_backend(options.threads);
  fail_runtime("device ", to_string(options.device),
               " cannot be used: this build has no CUDA backend; use --device cpu");
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
  cpu.usable = true;
  cpu.description = text(omp_get_num_procs(), " threads, ", instruction_set());
  return {cpu};
}

Device best_device() { return {}; }

}  // namespace ptynet
