// Memory that kernels reach: of the device, or of the host where the twin plays it.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/error.h"

#ifdef PTYNET_ON_GPU
#include <cuda_runtime_api.h>
#endif

namespace ptynet::cuda::tests {

#ifdef PTYNET_ON_GPU

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) fail_runtime("CUDA, ", what, ": ", cudaGetErrorString(status));
}

class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes) : bytes_(bytes) {
    void* data = nullptr;
    check(cudaMalloc(&data, bytes), "cudaMalloc");
    data_.reset(data);
  }
  void* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }
  void upload(const void* from) {
    check(cudaMemcpy(data(), from, bytes_, cudaMemcpyHostToDevice), "upload");
  }
  void download(void* to) const {
    check(cudaMemcpy(to, data(), bytes_, cudaMemcpyDeviceToHost), "download or a kernel before it");
  }
  void fill(int byte) { check(cudaMemset(data(), byte, bytes_), "cudaMemset"); }

 private:
  struct Free {
    void operator()(void* p) const { cudaFree(p); }
  };
  std::unique_ptr<void, Free> data_;
  std::size_t bytes_;
};

#else

class DeviceMemory {
 public:
  // As much as asked for, so that AddressSanitizer sees the first byte beyond.
  explicit DeviceMemory(std::size_t bytes)
      : data_(static_cast<unsigned char*>(::operator new (bytes, std::align_val_t{256}))),
        bytes_(bytes) {}
  void* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }
  void upload(const void* from) {
    if (bytes_ > 0) std::memcpy(data(), from, bytes_);
  }
  void download(void* to) const { std::memcpy(to, data(), bytes_); }
  void fill(int byte) { std::memset(data(), byte, bytes_); }

 private:
  struct Free {
    void operator()(unsigned char* p) const { ::operator delete (p, std::align_val_t{256}); }
  };
  std::unique_ptr<unsigned char, Free> data_;
  std::size_t bytes_;
};

#endif

}  // namespace ptynet::cuda::tests
