// Any text as an architecture: a network that can be traced, or an Error.
#include <cstdint>
#include <string_view>

#include "layers/state_dict.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ptynet;
  try {
    const Architecture architecture =
        parse_architecture({reinterpret_cast<const char*>(data), size});
    tensors_of(architecture);
    trace(architecture, 64, 48);
  } catch (const Error&) {
    // one line that says what is wrong
  }
  return 0;
}
