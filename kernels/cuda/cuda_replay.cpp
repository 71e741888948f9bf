#include "kernels/cuda/cuda_replay.h"

#include <algorithm>

namespace ptynet::cuda {

// What runs may still read what the steps own.
CudaReplay::~CudaReplay() {
  try {
    const DeviceScope scope(device_);
    stream_.synchronize();
    graph_ = {};
    work_.clear();
  } catch (const Error&) {  // of earlier work, which was or will be reported where it is waited for
    return;
  }
}

void CudaReplay::add(std::string name, std::function<void(Stream)> step) {
  names_.push_back(std::move(name));
  work_.push_back({std::move(step), aside_});
}

void CudaReplay::capture() {
  const DeviceScope scope(device_);
  const Stream stream = stream_.get();
  leaving_updated([&] {
    for (const Work& work : work_) work.step(stream);
  });
  const bool branches =
      std::any_of(work_.begin(), work_.end(), [](const Work& work) { return work.aside; });
  graph_ = Graph::capture(stream, [&] {
    bool aside = false;
    for (const Work& work : work_) {
      if (work.aside && !aside) let_wait(side_.get(), Mark(stream));
      aside = work.aside;
      work.step(aside ? side_.get() : stream);
    }
    if (branches) let_wait(stream, Mark(side_.get()));
  });
}

// Saved to the host: a device may have no room for trained values twice.
void CudaReplay::leaving_updated(const std::function<void()>& work) {
  std::vector<Array> saved;
  for (const Array& memory : updated_) {
    saved.push_back(Array::host(memory.shape(), memory.dtype()));
    copy_bytes(saved.back().data(), memory.data(), memory.bytes(), stream_.get());
  }
  work();
  for (std::size_t i = 0; i < saved.size(); ++i) {
    copy_bytes(updated_[i].data(), saved[i].data(), saved[i].bytes(), stream_.get());
  }
  stream_.synchronize();
}

void CudaReplay::run() {
  const DeviceScope scope(device_);
  graph_.launch(stream_.get());
}

std::vector<double> CudaReplay::time_steps() {
  const DeviceScope scope(device_);
  std::vector<double> seconds;
  leaving_updated([&] {
    for (const Work& work : work_) {
      seconds.push_back(Graph::time(stream_.get(), [&] { work.step(stream_.get()); }));
    }
  });
  return seconds;
}

}  // namespace ptynet::cuda
