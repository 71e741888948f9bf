// Bytes that parsers read from, wherever they lie, and files that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ptynet::io {

using Bytes = std::span<const std::byte>;

// A run of bytes of known length. One thread at a time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const = 0;
  // What messages call it: "scan.npz:data".
  virtual const std::string& name() const = 0;
  // Fills `into` with the bytes from `offset` on.
  // Throws Error (input) when the source ends before, or cannot be read.
  virtual void read(std::uint64_t offset, std::span<std::byte> into) = 0;
};

// Text from a file for a message: at most 100 characters, one line, anything unprintable as '?'.
std::string printable(std::string_view raw);

// A file, read in place; throws Error (input) when it cannot be opened or is no regular file.
std::unique_ptr<ByteSource> open_file(const std::filesystem::path& path);
// Memory that the caller keeps alive.
std::unique_ptr<ByteSource> open_memory(Bytes bytes, std::string name);

// All of a source. Its size must not exceed `limit` bytes, else Error (input).
std::vector<std::byte> read_all(ByteSource& source, std::uint64_t limit);

// An output file under a temporary name beside the final one: write to path(), then commit()
// renames it. Without commit() the destructor removes it, and the old file stays.
class PendingFile {
 public:
  // Throws Error (input) when the folder does not exist or cannot be written to.
  explicit PendingFile(std::filesystem::path final_path);
  ~PendingFile();
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  const std::filesystem::path& path() const { return temporary_; }
  // Appends; throws Error (input) when the disk is full.
  void write(Bytes bytes);
  void commit();

 private:
  std::filesystem::path final_;
  std::filesystem::path temporary_;
  bool pending_ = false;
};

}  // namespace ptynet::io
