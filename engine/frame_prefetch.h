// Reads frames on a thread of its own while the network runs.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/scan.h"

namespace ptynet {

// A run of frames: f32 [n, h, w] counts, bad pixels -1.
struct FrameBatch {
  std::int64_t first = 0;
  Array frames;
};

// Batches of a scan in order, at most two read ahead. The scan must not be used by others while
// this lives.
class FramePrefetch {
 public:
  // Throws Error (runtime) when no thread can be started.
  FramePrefetch(Scan& scan, std::int64_t batch);
  ~FramePrefetch();
  FramePrefetch(const FramePrefetch&) = delete;
  FramePrefetch& operator=(const FramePrefetch&) = delete;

  // The next batch, or nothing after the last. Rethrows what reading threw.
  std::optional<FrameBatch> next();

 private:
  void read_all();

  Scan& scan_;
  std::int64_t batch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<FrameBatch> ready_;
  std::exception_ptr failure_;
  bool done_ = false;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace ptynet
