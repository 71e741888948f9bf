#include "io/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "kernels/error.h"

namespace ptynet::io {

namespace {

class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }
  void add(Bytes bytes) {
    check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }
  std::string hex() {
    std::array<unsigned char, 32> raw{};
    check(EVP_DigestFinal_ex(context_.get(), raw.data(), nullptr) == 1);
    std::string out;
    for (const unsigned char byte : raw) {
      out += "0123456789abcdef"[byte >> 4];
      out += "0123456789abcdef"[byte & 15];
    }
    return out;
  }

 private:
  static void check(bool good) {
    if (!good) fail_runtime("libcrypto cannot compute a SHA-256");
  }
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

}  // namespace

std::string sha256(Bytes bytes) {
  Digest digest;
  digest.add(bytes);
  return digest.hex();
}

std::string sha256_of(const Array& array) {
  return sha256({static_cast<const std::byte*>(array.data()), array.bytes()});
}

std::string sha256_of(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

std::string sha256_of_file(const std::filesystem::path& path) {
  const std::unique_ptr<ByteSource> source = open_file(path);
  Digest digest;
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (std::uint64_t done = 0; done < source->size();) {
    const auto part =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), source->size() - done));
    source->read(done, part);
    digest.add(part);
    done += part.size();
  }
  return digest.hex();
}

}  // namespace ptynet::io
