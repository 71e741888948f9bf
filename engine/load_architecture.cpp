#include "engine/load_architecture.h"

#include <filesystem>
#include <fstream>

namespace ptynet {

Architecture load_architecture(const std::string& name) {
  if (!name.ends_with(".json") && name.find('/') == std::string::npos) {
    return built_in_architecture(name);
  }
  constexpr std::uintmax_t kMaxBytes = std::uintmax_t{16} << 20;
  std::error_code problem;
  const std::uintmax_t bytes = std::filesystem::file_size(name, problem);
  if (problem) fail_input("cannot read the architecture ", name, ": ", problem.message());
  if (bytes > kMaxBytes) fail_input(name, " is ", bytes, " bytes long: not an architecture");
  std::string content(bytes, '\0');
  std::ifstream file(name, std::ios::binary);
  if (!file.read(content.data(), static_cast<std::streamsize>(bytes))) {
    fail_input("cannot read the architecture ", name);
  }
  return parse_architecture(content);
}

Architecture load_architecture(const std::string& name, const io::WeightFile& weights,
                               const std::string& weights_path) {
  if (!name.empty()) return load_architecture(name);
  if (weights.architecture_json.empty()) {
    fail_input(weights_path, " does not say which network it belongs to: give --architecture (one ",
               "of ptynet-s, ptynet-b, ptychonn, ptychonn-small-phase, ptychonet, or a JSON file)");
  }
  return parse_architecture(weights.architecture_json);
}

}  // namespace ptynet
