// Any bytes as a zip archive: its members, and the state dict of torch.save if it is one.
#include <cstdint>

#include "io/pytorch.h"
#include "io/zip.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ptynet;
  const io::Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const io::ZipArchive archive = io::ZipArchive::from_memory(bytes, "fuzz.zip");
    for (const io::ZipMember& member : archive.members()) {
      try {
        archive.read(member.name);
      } catch (const Error&) {  // the other members may be good
      }
    }
    io::parse_pytorch(bytes, "fuzz.zip");
  } catch (const Error&) {
  }
  return 0;
}
