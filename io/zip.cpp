#include "io/zip.h"

#include <zip.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/error.h"

namespace ptynet::io {

namespace {

// Deflate packs at most 258 bytes into 2 bits, so 1032 to 1.
constexpr std::uint64_t kMaxDeflateRatio = 1032;

struct CloseFile {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using OpenFile = std::unique_ptr<zip_file_t, CloseFile>;

std::string message_of(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string out = zip_error_strerror(&error);
  zip_error_fini(&error);
  return out;
}

}  // namespace

struct ZipArchive::Handle {
  Handle(zip_t* opened, std::string archive_name) : zip(opened), name(std::move(archive_name)) {}
  ~Handle() { zip_discard(zip); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  zip_t* zip;
  std::string name;
};

namespace {

ZipMember checked_member(zip_t* zip, zip_uint64_t index, const std::string& archive,
                         std::uint64_t archive_size) {
  zip_stat_t status;
  constexpr zip_uint64_t kNeeded =
      ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  if (zip_stat_index(zip, index, 0, &status) != 0 || (status.valid & kNeeded) != kNeeded) {
    fail_input(archive, ": entry ", index, " of the zip archive is damaged");
  }
  ZipMember member{status.name, status.size, status.comp_size, status.comp_method == ZIP_CM_STORE};
  const std::string where = text(archive, ":", member.name);
  if ((status.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && status.encryption_method != ZIP_EM_NONE) {
    fail_input(where, ": is encrypted");
  }
  if (!member.stored && status.comp_method != ZIP_CM_DEFLATE) {
    fail_input(where, ": expected a stored or deflated member, found compression method ",
               status.comp_method);
  }
  const bool possible = member.stored ? member.size == member.compressed_size
                                      : member.size / kMaxDeflateRatio <= member.compressed_size;
  if (!possible || member.compressed_size > archive_size) {
    fail_input(where, ": claims ", member.size, " bytes from ", member.compressed_size,
               " in an archive of ", archive_size, ": the file is damaged");
  }
  return member;
}

// libzip takes no bytes at all for an archive without members.
void refuse_nothing(std::uint64_t size, const std::string& name) {
  if (size == 0) fail_input(name, ": expected a zip archive, found an empty file");
}

}  // namespace

ZipArchive::ZipArchive(std::shared_ptr<Handle> handle, std::uint64_t archive_size)
    : handle_(std::move(handle)) {
  const auto entries = static_cast<zip_uint64_t>(zip_get_num_entries(handle_->zip, 0));
  std::uint64_t total = 0;
  for (zip_uint64_t i = 0; i < entries; ++i) {
    members_.push_back(checked_member(handle_->zip, i, handle_->name, archive_size));
    total += members_.back().compressed_size;
    // Entries that share bytes would let a small file unpack to any size.
    if (total > archive_size) fail_input(handle_->name, ": members of the zip archive overlap");
  }
}

ZipArchive ZipArchive::open(const std::filesystem::path& path) {
  const std::uint64_t size = open_file(path)->size();
  refuse_nothing(size, path.string());
  int code = 0;
  zip_t* zip = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (zip == nullptr) fail_input(path.string(), ": is no readable zip archive: ", message_of(code));
  return {std::make_shared<Handle>(zip, path.string()), size};
}

ZipArchive ZipArchive::from_memory(Bytes bytes, std::string name) {
  refuse_nothing(bytes.size(), name);
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  zip_t* zip = source != nullptr ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr;
  const std::string problem = zip_error_strerror(&error);
  zip_error_fini(&error);
  if (zip == nullptr) {
    zip_source_free(source);
    fail_input(name, ": is no readable zip archive: ", problem);
  }
  return {std::make_shared<Handle>(zip, std::move(name)), bytes.size()};
}

const ZipMember* ZipArchive::find(const std::string& name) const {
  const auto found = std::find_if(members_.begin(), members_.end(),
                                  [&](const ZipMember& member) { return member.name == name; });
  return found == members_.end() ? nullptr : &*found;
}

namespace {

// Keeps its archive open. Deflated members have one way, forwards: going back begins anew.
class MemberSource final : public ByteSource {
 public:
  MemberSource(std::shared_ptr<void> archive, zip_t* zip, zip_uint64_t index, ZipMember member,
               std::string name)
      : archive_(std::move(archive)),
        zip_(zip),
        index_(index),
        member_(std::move(member)),
        name_(std::move(name)) {
    reopen();
  }
  std::uint64_t size() const override { return member_.size; }
  const std::string& name() const override { return name_; }

  void read(std::uint64_t offset, std::span<std::byte> into) override {
    if (offset > member_.size || into.size() > member_.size - offset) {
      fail_input(name_, ": expected ", into.size(), " bytes at offset ", offset,
                 ", but there are only ", member_.size, ": the file is cut short or damaged");
    }
    move_to(offset);
    take(into);
    if (position_ == member_.size) check_end();
  }

 private:
  void reopen() {
    file_.reset(zip_fopen_index(zip_, index_, 0));
    if (file_ == nullptr) fail_input(name_, ": cannot be read: ", zip_strerror(zip_));
    position_ = 0;
  }
  void move_to(std::uint64_t offset) {
    if (offset == position_) return;
    if (member_.stored) {
      if (zip_fseek(file_.get(), static_cast<zip_int64_t>(offset), SEEK_SET) != 0) fail();
      position_ = offset;
      return;
    }
    if (offset < position_) reopen();
    std::array<std::byte, 65536> skipped;
    while (position_ < offset) {
      take(std::span(skipped).first(std::min<std::uint64_t>(skipped.size(), offset - position_)));
    }
  }
  void take(std::span<std::byte> into) {
    while (!into.empty()) {
      const zip_int64_t got = zip_fread(file_.get(), into.data(), into.size());
      if (got < 0) fail();
      if (got == 0) {
        fail_input(name_, ": expected ", member_.size, " bytes, found ", position_,
                   ": the file is cut short or damaged");
      }
      position_ += static_cast<std::uint64_t>(got);
      into = into.subspan(static_cast<std::size_t>(got));
    }
  }
  // libzip verifies the checksum when it meets the end.
  void check_end() {
    std::byte more{};
    const zip_int64_t got = zip_fread(file_.get(), &more, 1);
    if (got < 0) fail();
    if (got > 0) {
      fail_input(name_, ": expected ", member_.size, " bytes, found more: the file is damaged");
    }
  }
  [[noreturn]] void fail() {
    fail_input(name_, ": cannot be read: ", zip_file_strerror(file_.get()));
  }

  std::shared_ptr<void> archive_;
  zip_t* zip_;
  zip_uint64_t index_;
  ZipMember member_;
  std::string name_;
  OpenFile file_;
  std::uint64_t position_ = 0;
};

}  // namespace

std::unique_ptr<ByteSource> ZipArchive::open_member(const std::string& name) const {
  const ZipMember* member = find(name);
  if (member == nullptr) fail_input(handle_->name, ": expected a member '", name, "', found none");
  const auto index = static_cast<zip_uint64_t>(member - members_.data());
  return std::make_unique<MemberSource>(handle_, handle_->zip, index, *member,
                                        handle_->name + ":" + name);
}

std::vector<std::byte> ZipArchive::read(const std::string& name) const {
  const std::unique_ptr<ByteSource> source = open_member(name);
  std::vector<std::byte> out;
  // Grows with what is really there: a deflated member may claim more than it holds.
  constexpr std::uint64_t kStep = std::uint64_t{1} << 26;
  while (out.size() < source->size()) {
    const std::uint64_t offset = out.size();
    out.resize(offset + std::min(kStep, source->size() - offset));
    source->read(offset, std::span(out).subspan(offset));
  }
  return out;
}

}  // namespace ptynet::io
