#include "engine/version.h"

#include "kernels/error.h"

namespace ptynet {

std::string version() { return PTYNET_VERSION; }

std::string build_description() {
#ifdef __clang__
  const std::string compiler = text("clang ", __clang_major__, ".", __clang_minor__);
#else
  const std::string compiler = text("gcc ", __GNUC__, ".", __GNUC_MINOR__);
#endif
  return text(PTYNET_BUILD_TYPE, " build, ", compiler, ", C++", __cplusplus / 100 % 100,
              ", FFT by ", PTYNET_FFT_NAME);
}

}  // namespace ptynet
