#include "tools/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iomanip>
#include <sstream>

#include "kernels/error.h"

namespace ptynet::tools {

namespace {

using Seconds = std::chrono::duration<double>;

constexpr Seconds kBarInterval{0.1};
constexpr Seconds kLineInterval{5.0};
constexpr std::size_t kBarCells = 24;

std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

// "4.2 s", "3:05 min", "2:03:05 h"
std::string duration(double seconds) {
  const auto whole = std::llround(seconds);
  std::ostringstream out;
  out << std::setfill('0');
  if (whole < 60) {
    out << std::fixed << std::setprecision(seconds < 10 ? 1 : 0) << seconds << " s";
  } else if (whole < 3600) {
    out << whole / 60 << ':' << std::setw(2) << whole % 60 << " min";
  } else {
    out << whole / 3600 << ':' << std::setw(2) << whole / 60 % 60 << ':' << std::setw(2)
        << whole % 60 << " h";
  }
  return out.str();
}

void print(const std::string& line) {
  std::fprintf(stderr, "ptynet: %s\n", line.c_str());
  std::fflush(stderr);
}

}  // namespace

Console::Console(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

Console::~Console() { clear_bar(); }

void Console::log(const std::string& line) {
  if (quiet_) return;
  clear_bar();
  print(line);
}

void Console::warning(const std::string& line) {
  clear_bar();
  print("warning: " + line);
}

void Console::begin(const std::string& stage) {
  clear_bar();
  stage_ = stage;
  stage_start_ = Clock::now();
  // The bar shows at once, a plain line only when the work takes a while.
  last_shown_ = terminal_ ? Clock::time_point{} : stage_start_;
}

void Console::listen_to(Progress& stages, Log& lines, Log& warnings) {
  stages = [this](const std::string& stage, std::int64_t done, std::int64_t total) {
    progress(stage, done, total);
  };
  lines = [this](const std::string& line) { log(line); };
  warnings = [this](const std::string& line) { warning(line); };
}

void Console::progress(const std::string& stage, std::int64_t done, std::int64_t total) {
  if (quiet_) return;
  if (stage != stage_) begin(stage);
  const Clock::time_point now = Clock::now();
  const Seconds since = now - last_shown_;
  if (terminal_) {
    if (done < total && since < kBarInterval) return;
    draw(done, total);
  } else {
    if (since < kLineInterval) return;
    print(stage_ + ": " + state(done, total));
  }
  last_shown_ = now;
}

std::string Console::state(std::int64_t done, std::int64_t total) const {
  const double elapsed = Seconds(Clock::now() - stage_start_).count();
  const double rate = elapsed > 0 ? static_cast<double>(done) / elapsed : 0;
  std::ostringstream out;
  out << done << '/' << total;
  if (rate > 0) {
    out << ", " << std::fixed << std::setprecision(rate < 100 ? 1 : 0) << rate << "/s, "
        << (done < total ? duration(static_cast<double>(total - done) / rate) + " left"
                         : duration(elapsed));
  }
  return out.str();
}

void Console::draw(std::int64_t done, std::int64_t total) {
  const double share =
      total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0;
  const auto cells = static_cast<std::size_t>(share * kBarCells);
  std::string line = stage_ + " [" + std::string(cells, '#') + std::string(kBarCells - cells, '.') +
                     "] " + state(done, total);
  line.resize(std::min(line.size(), terminal_columns() - 1));
  // "\33[K" erases what an earlier, longer line left.
  std::fprintf(stderr, "\r%s\33[K", line.c_str());
  std::fflush(stderr);
  bar_visible_ = true;
}

void Console::clear_bar() {
  if (!bar_visible_) return;
  std::fputs("\r\33[K", stderr);
  std::fflush(stderr);
  bar_visible_ = false;
}

}  // namespace ptynet::tools
