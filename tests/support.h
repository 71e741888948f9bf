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

// A test case that left early ends its program with this code (tests/main.cpp), unless something
// failed: CTest then reports it as skipped, never as passed, and a failure as a failure.
inline constexpr int kSkippedExitCode = 77;
inline bool skipped = false;

// Leaves the test case, loudly.
#define PTYNET_SKIP(reason)        \
  do {                             \
    WARN("SKIPPED: " reason);      \
    ptynet::tests::skipped = true; \
    return;                        \
  } while (false)

// Leaves it when there is no reference material.
#define PTYNET_NEED_REFERENCE()                                            \
  do {                                                                     \
    if (!ptynet::tests::reference_folder()) {                              \
      PTYNET_SKIP("set PTYNET_REFERENCE to the folder of reference data"); \
    }                                                                      \
  } while (false)

// An environment variable, for a scope.
class Setting {
 public:
  Setting(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Setting() { unsetenv(name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
};

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
