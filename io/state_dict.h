// Named tensors, the form every weight file is read into.
#pragma once

#include <map>
#include <string>

#include "kernels/array.h"

namespace ptynet::io {

// Host arrays by their PyTorch name and in PyTorch's layouts (convolution weights OIHW):
// floating-point tensors as f32, integers as i32, u8, u16 or u32, complex ones as c64.
using StateDict = std::map<std::string, Array>;

// Removes the prefixes that training frameworks wrap a whole network in ("module.", "model.",
// "_orig_mod."), as long as every name has the same one.
StateDict without_wrapper_prefixes(StateDict tensors);

// Throws Error (input), naming tensor and `file`, when a value is NaN or infinite.
void check_finite(const StateDict& tensors, const std::string& file);

}  // namespace ptynet::io
