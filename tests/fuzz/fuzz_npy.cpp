// Any bytes as a .npy file: an array or an Error, whole or by rows.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "io/npy.h"
#include "kernels/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ptynet;
  const io::Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  Array whole;
  try {
    whole = io::parse_npy(bytes, "fuzz.npy");
  } catch (const Error&) {
    return 0;
  }
  io::NpyReader reader(io::open_memory(bytes, "fuzz.npy"));
  if (reader.shape().rank() == 0 || reader.shape()[0] == 0 || reader.header().fortran_order) {
    return 0;
  }
  // What is read by rows is what is read whole.
  const std::int64_t last = reader.shape()[0] - 1;
  const Array row = reader.read(last, 1);
  const Array expected = whole.slice(last, 1);
  if (row.bytes() != expected.bytes()) std::abort();
  if (row.bytes() > 0 && std::memcmp(row.data(), expected.data(), row.bytes()) != 0) std::abort();
  return 0;
}
