#include "engine/frame_prefetch.h"

#include <algorithm>
#include <system_error>

#include "kernels/context.h"

namespace ptynet {

namespace {

constexpr std::size_t kReadAhead = 2;

}  // namespace

FramePrefetch::FramePrefetch(Scan& scan, std::int64_t batch) : scan_(scan), batch_(batch) {
  try {
    thread_ = std::thread([this] { read_all(); });
  } catch (const std::system_error& problem) {
    fail_runtime("cannot start a thread that reads frames: ", problem.what());
  }
}

FramePrefetch::~FramePrefetch() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void FramePrefetch::read_all() {
  set_threads_of_caller(1);
  try {
    for (std::int64_t first = 0; first < scan_.count(); first += batch_) {
      FrameBatch batch{first, scan_.read(first, std::min(batch_, scan_.count() - first))};
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || ready_.size() < kReadAhead; });
      if (stop_) return;
      ready_.push_back(std::move(batch));
      changed_.notify_all();
    }
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    failure_ = std::current_exception();
  }
  const std::scoped_lock lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

std::optional<FrameBatch> FramePrefetch::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return done_ || !ready_.empty(); });
  if (ready_.empty()) {
    if (failure_) std::rethrow_exception(failure_);
    return std::nullopt;
  }
  FrameBatch batch = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return batch;
}

}  // namespace ptynet
