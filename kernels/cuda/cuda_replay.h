// A recorded sequence as one CUDA graph.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/runtime.h"

namespace ptynet::cuda {

class CudaReplay final : public Replay {
 public:
  CudaReplay(int device, const OwnStream& stream) : device_(device), stream_(stream) {}

  ~CudaReplay() override;
  CudaReplay(const CudaReplay&) = delete;
  CudaReplay& operator=(const CudaReplay&) = delete;

  // Starts the work; the stream is synchronised by who needs its results.
  void run() override;
  std::vector<std::string> steps() const override { return names_; }
  // Each step by itself, its operands in the caches where they fit: steps of one graph have no
  // times of their own.
  std::vector<double> time_steps() override;

  void add(std::string name, std::function<void(Stream)> step);
  // While it is true, steps are added to a branch of their own.
  bool& aside() { return aside_; }
  void keep(const Array& memory) { kept_.push_back(memory); }
  // A step updates it in place: steps that are run to warm up or to be timed leave it as it was.
  void updates(const Array& memory) { updated_.push_back(memory); }
  // Runs the steps once, so that kernels and libraries are loaded, and then records them: what
  // loads for the first time may allocate, which a graph must not.
  void capture();

 private:
  struct Work {
    std::function<void(Stream)> step;
    bool aside;
  };

  void leaving_updated(const std::function<void()>& work);

  int device_;
  OwnStream stream_;
  OwnStream side_;
  bool aside_ = false;
  std::vector<std::string> names_;
  std::vector<Work> work_;
  std::vector<Array> kept_;
  std::vector<Array> updated_;
  Graph graph_;
};

}  // namespace ptynet::cuda
