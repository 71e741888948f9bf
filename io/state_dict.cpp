#include "io/state_dict.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "io/bytes.h"
#include "kernels/error.h"

namespace ptynet::io {

StateDict without_wrapper_prefixes(StateDict tensors) {
  constexpr std::array<std::string_view, 3> kWrappers = {"module.", "model.", "_orig_mod."};
  const auto shared_prefix = [&]() -> std::string_view {
    for (const std::string_view prefix : kWrappers) {
      const bool all = std::all_of(tensors.begin(), tensors.end(), [&](const auto& entry) {
        return entry.first.starts_with(prefix) && entry.first.size() > prefix.size();
      });
      if (all) return prefix;
    }
    return {};
  };
  while (!tensors.empty()) {
    const std::string_view prefix = shared_prefix();
    if (prefix.empty()) break;
    StateDict shorter;
    for (auto& [name, tensor] : tensors) {
      shorter.emplace(name.substr(prefix.size()), std::move(tensor));
    }
    tensors = std::move(shorter);
  }
  return tensors;
}

void check_finite(const StateDict& tensors, const std::string& file) {
  for (const auto& [name, tensor] : tensors) {
    if (tensor.dtype() != DType::kF32 && tensor.dtype() != DType::kC64) continue;
    const auto* values = static_cast<const float*>(tensor.data());  // c64 is pairs of floats
    const std::size_t count = tensor.bytes() / sizeof(float);
    const auto* bad =
        std::find_if(values, values + count, [](float v) { return !std::isfinite(v); });
    if (bad == values + count) continue;
    fail_input(file, ": expected finite weights, found ", *bad, " at element ", bad - values,
               " of tensor '", printable(name), "': the training that made it has diverged");
  }
}

}  // namespace ptynet::io
