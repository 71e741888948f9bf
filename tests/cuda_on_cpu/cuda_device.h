// The CUDA device of the tests that run on a GPU or on the CPU's twin of one, which
// PTYNET_CUDA_LIBRARY names. They are skipped where there is no device, unless PTYNET_REQUIRE_CUDA
// is set.
#pragma once

#include <cstdlib>
#include <string>

#include "kernels/context.h"
#include "tests/support.h"

namespace ptynet::tests {

inline ContextOptions on_cuda(bool tune = false) {
  ContextOptions options;
  options.device = {DeviceKind::kCuda, 0};
  options.tune = tune;
  return options;
}

// Why cuda:0 cannot be used, or nothing.
inline std::string why_no_cuda() {
  for (const DeviceReport& found : list_devices()) {
    if (found.device.kind == DeviceKind::kCuda) return found.usable ? "" : found.description;
  }
  return "no CUDA device is listed";
}

inline bool is_cuda_required() {
  return std::getenv("PTYNET_REQUIRE_CUDA") != nullptr ||
         std::getenv("PTYNET_CUDA_LIBRARY") != nullptr;
}

// Leaves the test case where there is no device; fails it where one is required.
#define NEED_CUDA()                                                            \
  do {                                                                         \
    if (ptynet::tests::why_no_cuda().empty()) break;                           \
    if (ptynet::tests::is_cuda_required()) FAIL(ptynet::tests::why_no_cuda()); \
    PTYNET_SKIP("no usable CUDA device: ptynet info --devices says why");      \
  } while (false)

inline bool on_twin() {
  Context context(on_cuda());
  return context.backend().description().find("twin") != std::string::npos;
}

}  // namespace ptynet::tests
