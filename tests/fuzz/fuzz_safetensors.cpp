// Any bytes as a .safetensors file.
#include <cstdint>

#include "io/safetensors.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ptynet;
  try {
    io::check_finite(
        io::parse_safetensors({reinterpret_cast<const std::byte*>(data), size}, "fuzz.safetensors"),
        "fuzz.safetensors");
  } catch (const Error&) {
  }
  return 0;
}
