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

// Throws Error (input) when `output` is one of the `inputs`, under whatever name: writing it would
// destroy what is read. Inputs that are empty or do not exist are passed over.
void expect_no_input(const std::filesystem::path& output,
                     const std::vector<std::filesystem::path>& inputs);

// Throws Error (input) when an output is an input or another output, under whatever name, or cannot
// be written. What is empty is passed over.
void expect_outputs(const std::vector<std::filesystem::path>& outputs,
                    const std::vector<std::filesystem::path>& inputs);

// A folder, made with those above it. Those that it made and that are empty are removed again by
// the destructor unless keep() was called.
class PendingFolder {
 public:
  // Throws Error (input) when the folder cannot be made.
  explicit PendingFolder(const std::filesystem::path& folder);
  ~PendingFolder();
  PendingFolder(const PendingFolder&) = delete;
  PendingFolder& operator=(const PendingFolder&) = delete;
  void keep() { made_.clear(); }

 private:
  void remove() noexcept;

  std::vector<std::filesystem::path> made_;  // outermost first
};

// An output file under a temporary name beside the final one: write to path(), then commit()
// renames it. Without commit() the destructor removes it, and the old file stays. What commit()
// renames lies on the disk first (fsync), so that a machine that goes down leaves the old file or
// the new one, never a piece.
class PendingFile {
 public:
  // Throws Error (input) when the folder does not exist or cannot be written to, or the final name
  // is a folder's.
  explicit PendingFile(std::filesystem::path final_path);
  ~PendingFile();
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  const std::filesystem::path& path() const { return temporary_; }
  // Appends; throws Error (input) when the disk is full.
  void write(Bytes bytes);
  // Waits until everything lies on the disk; throws Error (input) when it does not fit there.
  // commit() does it too: call it first where several files are to appear together.
  void sync();
  void commit();

 private:
  std::filesystem::path final_;
  std::filesystem::path temporary_;
  bool pending_ = false;
};

}  // namespace ptynet::io
