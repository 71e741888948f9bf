#include "layers/built_in.h"

#include "layers/architecture.h"

namespace ptynet {

std::vector<std::string> built_in_architectures() {
  std::vector<std::string> names;
  for (const BuiltIn& file : built_in_files()) names.emplace_back(file.name);
  return names;
}

Architecture built_in_architecture(std::string_view name) {
  std::string names;
  for (const BuiltIn& file : built_in_files()) {
    if (file.name == name) return parse_architecture(file.json);
    names += (names.empty() ? "" : ", ") + std::string(file.name);
  }
  fail_input("no architecture is called '", name, "': there are ", names, ", or a JSON file");
}

}  // namespace ptynet
