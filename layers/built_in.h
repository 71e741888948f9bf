// The architectures compiled into the library; their list is made from layers/architectures/.
#pragma once

#include <string_view>
#include <vector>

namespace ptynet {

struct BuiltIn {
  std::string_view name;
  std::string_view json;
};

const std::vector<BuiltIn>& built_in_files();

}  // namespace ptynet
