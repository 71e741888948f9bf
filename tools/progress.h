// What a command says on stderr while it works.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "engine/reconstruct.h"

namespace ptynet::tools {

// A bar with rate and time left on a terminal, a plain line every few seconds elsewhere. Quiet: no
// progress and no log, warnings only. One thread at a time.
class Console {
 public:
  explicit Console(bool quiet);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  void log(const std::string& line);
  void warning(const std::string& line);
  // `done` of `total` in a stage of the work; another name begins another stage.
  void progress(const std::string& stage, std::int64_t done, std::int64_t total);
  // A job's words come here from now on; it must outlive the job.
  void listen_to(Progress& stages, Log& lines, Log& warnings);

 private:
  using Clock = std::chrono::steady_clock;

  void begin(const std::string& stage);
  void draw(std::int64_t done, std::int64_t total);
  void clear_bar();
  std::string state(std::int64_t done, std::int64_t total) const;

  bool quiet_;
  bool terminal_;
  bool bar_visible_ = false;
  std::string stage_;
  Clock::time_point stage_start_;
  Clock::time_point last_shown_;
};

}  // namespace ptynet::tools
