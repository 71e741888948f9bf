#include "io/bytes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/error.h"

namespace ptynet::io {

namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return descriptor_; }
  // The error of close() counts: some file systems report a full disk only there.
  bool close() { return ::close(std::exchange(descriptor_, -1)) == 0; }

 private:
  int descriptor_;
};

void check_range(const ByteSource& source, std::uint64_t offset, std::size_t count) {
  if (offset > source.size() || count > source.size() - offset) {
    fail_input(source.name(), ": expected ", count, " bytes at offset ", offset,
               ", but there are only ", source.size(), " bytes: the file is cut short or damaged");
  }
}

class FileSource final : public ByteSource {
 public:
  explicit FileSource(const std::filesystem::path& path)
      : name_(path.string()), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file_.get() < 0) fail_input(name_, ": cannot be opened: ", std::strerror(errno));
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
      fail_input(name_, ": expected a regular file");
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  std::uint64_t size() const override { return size_; }
  const std::string& name() const override { return name_; }
  void read(std::uint64_t offset, std::span<std::byte> into) override {
    check_range(*this, offset, into.size());
    while (!into.empty()) {
      const ssize_t got =
          ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail_input(name_, ": cannot be read: ", std::strerror(errno));
      if (got == 0) fail_input(name_, ": the file shrank while it was read");
      offset += static_cast<std::uint64_t>(got);
      into = into.subspan(static_cast<std::size_t>(got));
    }
  }

 private:
  std::string name_;
  FileDescriptor file_;
  std::uint64_t size_ = 0;
};

class MemorySource final : public ByteSource {
 public:
  MemorySource(Bytes bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  void read(std::uint64_t offset, std::span<std::byte> into) override {
    check_range(*this, offset, into.size());
    if (!into.empty()) std::memcpy(into.data(), bytes_.data() + offset, into.size());
  }

 private:
  Bytes bytes_;
  std::string name_;
};

}  // namespace

std::string printable(std::string_view raw) {
  std::string out(raw.substr(0, 100));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

std::unique_ptr<ByteSource> open_file(const std::filesystem::path& path) {
  return std::make_unique<FileSource>(path);
}

std::unique_ptr<ByteSource> open_memory(Bytes bytes, std::string name) {
  return std::make_unique<MemorySource>(bytes, std::move(name));
}

std::vector<std::byte> read_all(ByteSource& source, std::uint64_t limit) {
  if (source.size() > limit) {
    fail_input(source.name(), ": expected at most ", limit, " bytes, found ", source.size());
  }
  std::vector<std::byte> out(source.size());
  source.read(0, out);
  return out;
}

PendingFile::PendingFile(std::filesystem::path final_path) : final_(std::move(final_path)) {
  static std::atomic<unsigned> counter{0};
  temporary_ = final_;
  temporary_ += text(".partial-", ::getpid(), "-", counter++);
  if (std::filesystem::is_directory(final_)) {
    fail_input(final_.string(), ": cannot be written: it is a folder");
  }
  const FileDescriptor file(
      ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.get() < 0) fail_input(final_.string(), ": cannot be written: ", std::strerror(errno));
  pending_ = true;
}

PendingFile::~PendingFile() {
  if (pending_) ::unlink(temporary_.c_str());
}

void PendingFile::write(Bytes bytes) {
  FileDescriptor file(::open(temporary_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  bool good = file.get() >= 0;
  while (good && !bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    good = written >= 0;
    if (good) bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  if (!good || !file.close()) {
    fail_input(final_.string(), ": cannot be written: ", std::strerror(errno));
  }
}

void PendingFile::sync() {
  FileDescriptor file(::open(temporary_.c_str(), O_WRONLY | O_CLOEXEC));
  int status = -1;
  if (file.get() >= 0) {
    do {
      status = ::fsync(file.get());
    } while (status != 0 && errno == EINTR);
    if (status != 0 && (errno == EINVAL || errno == ENOTSUP)) status = 0;  // a file system without
  }
  if (status != 0 || !file.close()) {
    fail_input(final_.string(), ": cannot be written: ", std::strerror(errno));
  }
}

void PendingFile::commit() {
  sync();
  if (std::rename(temporary_.c_str(), final_.c_str()) != 0) {
    fail_input(final_.string(), ": cannot be written: ", std::strerror(errno));
  }
  pending_ = false;
}

void expect_no_input(const std::filesystem::path& output,
                     const std::vector<std::filesystem::path>& inputs) {
  for (const std::filesystem::path& input : inputs) {
    std::error_code missing;
    if (!input.empty() && std::filesystem::equivalent(output, input, missing)) {
      fail_input("the output ", output.string(), " is the input ", input.string(),
                 ", which it would replace: give the output another name");
    }
  }
}

void expect_outputs(const std::vector<std::filesystem::path>& outputs,
                    const std::vector<std::filesystem::path>& inputs) {
  std::vector<std::filesystem::path> seen;
  for (const std::filesystem::path& output : outputs) {
    if (output.empty()) continue;
    expect_no_input(output, inputs);
    std::error_code unknown;
    const auto place =
        std::filesystem::weakly_canonical(std::filesystem::absolute(output), unknown);
    const bool taken = std::any_of(seen.begin(), seen.end(), [&](const auto& other) {
      std::error_code missing;
      return other == place || std::filesystem::equivalent(other, place, missing);
    });
    if (taken) {
      fail_input(output.string(), " is to hold two things: give every output a name of its own");
    }
    seen.push_back(place);
    const PendingFile can_be_written(output);
  }
}

PendingFolder::PendingFolder(const std::filesystem::path& folder) {
  std::error_code problem;
  std::filesystem::path so_far;
  for (const std::filesystem::path& part : folder) {
    so_far /= part;
    if (std::filesystem::is_directory(so_far, problem)) continue;
    problem.clear();
    if (std::filesystem::create_directory(so_far, problem)) made_.push_back(so_far);
    if (problem) break;
  }
  if (!problem) return;
  remove();
  fail_input("cannot make the folder ", folder.string(), ": ", problem.message());
}

PendingFolder::~PendingFolder() { remove(); }

// Innermost first; a folder that holds something stays.
void PendingFolder::remove() noexcept {
  for (; !made_.empty(); made_.pop_back()) ::rmdir(made_.back().c_str());
}

}  // namespace ptynet::io
