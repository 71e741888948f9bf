// The one exception of the project, and how messages are put together.
#pragma once

#include <array>
#include <charconv>
#include <sstream>
#include <stdexcept>
#include <string>

namespace ptynet {

// Who has to act: the user (bad usage or bad input; the program exits with 2) or the machine's
// keeper (a failure while running; the program exits with 1).
enum class Fault { kInput, kRuntime };

// Every failure the library reports. The message is one line: what was expected, what was found,
// where (file, dataset, frame index) and what to do.
class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& message) : std::runtime_error(message), fault_(fault) {}
  Fault fault() const noexcept { return fault_; }

 private:
  Fault fault_;
};

// The parts printed one after the other.
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// The fewest digits that read back as the same number.
inline std::string shortest(double value) {
  std::array<char, 32> buffer{};
  return {buffer.data(), std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr};
}

template <typename... Parts>
[[noreturn]] void fail_input(const Parts&... parts) {
  throw Error(Fault::kInput, text(parts...));
}

template <typename... Parts>
[[noreturn]] void fail_runtime(const Parts&... parts) {
  throw Error(Fault::kRuntime, text(parts...));
}

}  // namespace ptynet
