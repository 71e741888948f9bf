// Zip archives, read through libzip.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/bytes.h"

namespace ptynet::io {

struct ZipMember {
  std::string name;
  std::uint64_t size = 0;             // bytes, unpacked
  std::uint64_t compressed_size = 0;  // bytes in the archive
  bool stored = false;                // not compressed: can be read at any offset
};

// An open archive, shared by the members opened from it. One thread at a time for all of them.
// Every size is checked when the archive is opened: a stored member is as long as its bytes in the
// archive, a deflated one at most 1032 times as long (the format's limit), and no member is longer
// than the archive. Throws Error (input) otherwise, and for encrypted or otherwise packed members.
class ZipArchive {
 public:
  static ZipArchive open(const std::filesystem::path& path);
  // The bytes are the caller's and outlive the archive and its members.
  static ZipArchive from_memory(Bytes bytes, std::string name);

  const std::vector<ZipMember>& members() const& { return members_; }
  const std::vector<ZipMember>& members() const&& = delete;  // would dangle in a range-based for
  // Null when there is no such member.
  const ZipMember* find(const std::string& name) const;
  // Throws Error (input) when there is no such member. Checksums are verified at the end of a
  // member that is read from its beginning on.
  std::unique_ptr<ByteSource> open_member(const std::string& name) const;
  std::vector<std::byte> read(const std::string& name) const;

 private:
  struct Handle;
  ZipArchive(std::shared_ptr<Handle> handle, std::uint64_t archive_size);

  std::shared_ptr<Handle> handle_;
  std::vector<ZipMember> members_;
};

}  // namespace ptynet::io
