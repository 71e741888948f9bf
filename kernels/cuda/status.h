// What cuDNN, cuBLASLt and cuFFT answer, as an Error of one line: the library and its call, its
// words, and what the call was about.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>
#include <cufft.h>

#include <string>

#include "kernels/error.h"

namespace ptynet::cuda {

// "cuDNN, <call>: CUDNN_STATUS_BAD_PARAM (<what cuDNN says of this thread's last failure>)".
std::string words(cudnnStatus_t status, const char* call);
std::string words(cublasStatus_t status, const char* call);
std::string words(cufftResult status, const char* call);

inline bool succeeded(cudnnStatus_t status) { return status == CUDNN_STATUS_SUCCESS; }
inline bool succeeded(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS; }
inline bool succeeded(cufftResult status) { return status == CUFFT_SUCCESS; }

// Throws Error (runtime). `about` is printed only then: calls of every layer cost no text.
template <typename Status, typename... About>
void check_library(Status status, const char* call, const About&... about) {
  if (!succeeded(status)) fail_runtime(words(status, call), about...);
}

template <typename... About>
void check(cudnnStatus_t status, const char* call, const About&... about) {
  check_library(status, call, about...);
}
template <typename... About>
void check(cublasStatus_t status, const char* call, const About&... about) {
  check_library(status, call, about...);
}
template <typename... About>
void check(cufftResult status, const char* call, const About&... about) {
  check_library(status, call, about...);
}

}  // namespace ptynet::cuda
