// Internal: what may lie on the device for a whole job, and what has to stay on the host.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/context.h"

namespace ptynet {

// Bytes that a training step on frames of that shape may want: a guess, with the 75 MB for a frame
// of 128x128 that PtyNet-B takes, the largest of the field's networks.
std::int64_t step_reserve(std::int64_t batch, std::int64_t height, std::int64_t width);

// Runs `allocate` while so many bytes of the device are taken by nobody. False where it threw, as
// it does where there is no room.
bool fits_beside(Context& context, std::int64_t reserve, const std::function<void()>& allocate);

}  // namespace ptynet
