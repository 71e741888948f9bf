// Convolutions as NVIDIA's libraries compute them: candidates to be timed beside the hand-written
// ones (conv.h, conv_transpose.h).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/conv_task.h"

struct cudnnContext;
struct cublasLtContext;

namespace ptynet::cuda {

// Handles of cuDNN and cuBLASLt, bound to the device that is current at construction. One thread at
// a time, for the handles and for all that is made from them. Throws Error (runtime) where there is
// no device or a library is missing.
class Libraries {
 public:
  Libraries();
  ~Libraries();
  Libraries(const Libraries&) = delete;
  Libraries& operator=(const Libraries&) = delete;

  // Of what runs, not of the headers: "cuDNN 9.13.0, cuBLASLt 13.0.2". An engine's name means
  // something for these alone.
  static std::string versions();

  cudnnContext* cudnn() const { return cudnn_.get(); }           // a cudnnHandle_t
  cublasLtContext* cublaslt() const { return cublaslt_.get(); }  // a cublasLtHandle_t

 private:
  struct Destroy {
    void operator()(cudnnContext* handle) const;
    void operator()(cublasLtContext* handle) const;
  };

  std::unique_ptr<cudnnContext, Destroy> cudnn_;
  std::unique_ptr<cublasLtContext, Destroy> cublaslt_;
};

// A task by one engine of one library. It must not outlive its Libraries, and must outlive the
// graphs that captured its runs.
class LibraryConv {
 public:
  LibraryConv() = default;
  LibraryConv(const LibraryConv&) = delete;
  LibraryConv& operator=(const LibraryConv&) = delete;
  virtual ~LibraryConv() = default;

  // The same for the same versions(), device and convolution: "cudnn engine 37 knobs 2=1,5=0",
  // "cublaslt algo 21 tile 18 ...".
  virtual std::string name() const = 0;
  virtual std::size_t workspace_bytes() const = 0;
  // Operands as ConvTask has them, the same bytes every time: y = activation(conv(x, w) + b), or a
  // gradient. Weights as the network has them, [co, kernel, kernel, ci / groups], transposed [ci,
  // kernel, kernel, co / groups]; b is not null but for gradients, which have none; all operands
  // are aligned to 16 bytes, the workspace to 256. Launches on `stream` and waits for nothing, so a
  // graph may capture it; the first run may load a kernel and belongs before that.
  virtual void run(const ConvOperands& operands, void* workspace, Stream stream) = 0;
};

// Every candidate worth timing, at most `most`, each library's own favourite first. Empty where
// the libraries have none:
// - activations but none, ReLU and LeakyReLU, and where no engine takes bias and activation along;
// - engines that may add up in another order from run to run, that transform (Winograd, FFT) or
//   that narrow their inputs are left out; for Precision::kF32 those on tensor cores too.
std::vector<std::unique_ptr<LibraryConv>> library_convs(Libraries& libraries, const ConvTask& task,
                                                        int most = 8);

}  // namespace ptynet::cuda
