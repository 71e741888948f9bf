#include "engine/choice_cache.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace ptynet {

namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::uintmax_t kMostBytes = 16 << 20;
constexpr int kMostDepth = 4;  // of devices, tasks and their ways; deeper ones are not ours

std::string setting(const char* name) {
  const char* found = std::getenv(name);
  return found == nullptr ? "" : found;
}

// An empty object for whatever cannot be read.
Json read(const fs::path& file) {
  std::error_code ignored;
  if (fs::file_size(file, ignored) > kMostBytes || ignored) return Json::object();
  std::ifstream in(file);
  const auto shallow = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kMostDepth) throw std::length_error("deep");
    return true;
  };
  try {
    Json found = Json::parse(in, shallow);
    if (found.is_object()) return found;
  } catch (const Json::exception&) {
  } catch (const std::length_error&) {
  }
  return Json::object();
}

ConvChoice choice_of(const Json& found) {
  ConvChoice out;
  out.chosen = found.at("chosen").get<std::string>();
  out.seconds = found.at("seconds").get<std::map<std::string, double>>();
  return out;
}

}  // namespace

fs::path choice_file() {
  constexpr const char* kName = "choices.json";
  if (const std::string own = setting("PTYNET_CACHE"); !own.empty()) return fs::path(own) / kName;
  if (const std::string all = setting("XDG_CACHE_HOME"); !all.empty()) {
    return fs::path(all) / "ptynet" / kName;
  }
  if (const std::string home = setting("HOME"); !home.empty()) {
    return fs::path(home) / ".cache" / "ptynet" / kName;
  }
  return {};
}

void load_choices(const fs::path& file, Backend& backend) {
  if (backend.choices() == nullptr || file.empty()) return;
  const Json all = read(file);
  const auto own = all.find(backend.description());
  if (own == all.end() || !own->is_object()) return;
  for (const auto& [task, choice] : own->items()) {
    try {
      (*backend.choices())[task] = choice_of(choice);
    } catch (const Json::exception&) {
      continue;  // damaged: to be made anew
    }
  }
}

void save_choices(const fs::path& file, Backend& backend) {
  if (backend.choices() == nullptr || backend.choices()->empty() || file.empty()) return;
  Json all = read(file);
  Json& own = all[backend.description()];
  if (!own.is_object()) own = Json::object();
  const Json before = own;
  for (const auto& [task, choice] : *backend.choices()) {
    if (choice.seconds.empty()) continue;
    own[task] = {{"chosen", choice.chosen}, {"seconds", choice.seconds}};
  }
  if (own == before) return;
  std::error_code failed;
  fs::create_directories(file.parent_path(), failed);
  static std::atomic<int> number = 0;  // sessions of one process may write at once
  const fs::path written = text(file.string(), ".", getpid(), ".", ++number);
  std::ofstream out(written);
  out << all.dump(1) << '\n';
  out.close();
  if (!out) failed = std::make_error_code(std::errc::io_error);
  if (!failed) fs::rename(written, file, failed);
  if (failed) fs::remove(written, failed);
}

ChosenWays used_choices(Backend& backend) {
  ChosenWays out;
  if (backend.choices() == nullptr) return out;
  for (const auto& [task, choice] : *backend.choices()) {
    if (choice.used) out.emplace(task, choice.chosen);
  }
  return out;
}

void take_choices(const ChosenWays& ways, Backend& backend) {
  if (backend.choices() == nullptr) return;
  for (const auto& [task, way] : ways) (*backend.choices())[task] = {way, {}};
}

std::string to_text(const ChosenWays& ways) {
  std::string out;
  for (const auto& [task, way] : ways) out += text(task, ": ", way, "\n");
  return out;
}

}  // namespace ptynet
