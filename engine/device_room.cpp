#include "engine/device_room.h"

namespace ptynet {

std::int64_t step_reserve(std::int64_t batch, std::int64_t height, std::int64_t width) {
  constexpr std::int64_t kBytesPerPixel = 4600;
  return kBytesPerPixel * batch * height * width;
}

bool fits_beside(Context& context, std::int64_t reserve, const std::function<void()>& allocate) {
  if (context.device().kind == DeviceKind::kCpu) {
    allocate();
    return true;
  }
  bool fits = false;
  try {
    const Array reserved = context.allocate({reserve}, DType::kU8);
    allocate();
    fits = true;
  } catch (const Error&) {  // there is no room
  }
  context.backend().release_unused();  // libraries take theirs from the device itself
  return fits;
}

}  // namespace ptynet
