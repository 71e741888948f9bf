// What several tests share: where reference material lies, and temporary folders.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "tests/catch.h"

namespace ptynet::tests {

// The folder of reference data and weights (PTYNET_REFERENCE), which a user's clone has not.
inline std::optional<std::filesystem::path> reference_folder() {
  const char* folder = std::getenv("PTYNET_REFERENCE");
  if (folder == nullptr || *folder == '\0') return std::nullopt;
  return std::filesystem::path(folder);
}

// Leaves the test case, loudly, when there is no reference material: CTest then reports it as
// skipped, never as passed.
#define PTYNET_NEED_REFERENCE()                                           \
  if (!ptynet::tests::reference_folder()) {                               \
    WARN("SKIPPED: set PTYNET_REFERENCE to the folder of reference data"); \
    return;                                                               \
  }

// A folder of its own for one test, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ptynet-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) FAIL("cannot make a temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace ptynet::tests
