// Any bytes as the data.pkl of a PyTorch file whose storages are 256 bytes each.
#include <cstdint>
#include <vector>

#include "io/pytorch.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ptynet;
  io::PytorchStorages storages;
  storages.read = [](const std::string& member) {
    if (member == "missing") fail_input("no such storage");
    return std::vector<std::byte>(256, std::byte{1});
  };
  storages.file_bytes = size;
  try {
    const io::StateDict tensors = io::without_wrapper_prefixes(
        io::read_tensors({reinterpret_cast<const std::byte*>(data), size}, "fuzz.pth", storages));
    io::check_finite(tensors, "fuzz.pth");
  } catch (const Error&) {
  }
  return 0;
}
