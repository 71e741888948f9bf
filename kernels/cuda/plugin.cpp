// What kernels/cuda_plugin.h finds in the CUDA backend's library.
#include <cmath>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda_plugin.h"

namespace ptynet::cuda {

std::string_view build_id() { return PTYNET_BUILD_ID; }

namespace {

std::string description_of(const DeviceFacts& facts) {
  constexpr double kGigabyte = 1e9;
  return text(facts.name, ", ", std::llround(static_cast<double>(facts.memory_bytes) / kGigabyte),
              " GB, compute capability ", facts.capability / 10, ".", facts.capability % 10,
              ", driver for CUDA ", facts.driver / 1000, ".", facts.driver % 1000 / 10);
}

std::vector<DeviceReport> list_devices() {
  std::vector<DeviceReport> out;
  for (const DeviceFacts& facts : find_devices()) {
    const std::string why = why_unusable(facts);
    out.push_back({{DeviceKind::kCuda, static_cast<int>(out.size())},
                   why.empty(),
                   why.empty() ? description_of(facts) : text(description_of(facts), ": ", why)});
  }
  return out;
}

}  // namespace

}  // namespace ptynet::cuda

extern "C" __attribute__((visibility("default"))) const ptynet::CudaPlugin* ptynet_cuda_plugin() {
  static constexpr ptynet::CudaPlugin kPlugin{PTYNET_BUILD_ID, ptynet::cuda::make_backend,
                                              ptynet::cuda::list_devices};
  return &kPlugin;
}
