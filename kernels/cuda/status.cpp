#include "kernels/cuda/status.h"

#include <algorithm>
#include <array>

namespace ptynet::cuda {

namespace {

// cuFFT has no words of its own. By number: CUDA 12 and 13 do not name the same ones.
const char* name_of(cufftResult status) {
  switch (static_cast<int>(status)) {
    case 0x1:
      return "CUFFT_INVALID_PLAN";
    case 0x2:
      return "CUFFT_ALLOC_FAILED";
    case 0x3:
      return "CUFFT_INVALID_TYPE";
    case 0x4:
      return "CUFFT_INVALID_VALUE";
    case 0x5:
      return "CUFFT_INTERNAL_ERROR";
    case 0x6:
      return "CUFFT_EXEC_FAILED";
    case 0x7:
      return "CUFFT_SETUP_FAILED";
    case 0x8:
      return "CUFFT_INVALID_SIZE";
    case 0x9:
      return "CUFFT_UNALIGNED_DATA";
    case 0xA:
      return "CUFFT_INCOMPLETE_PARAMETER_LIST";
    case 0xB:
      return "CUFFT_INVALID_DEVICE";
    case 0xC:
      return "CUFFT_PARSE_ERROR";
    case 0xD:
      return "CUFFT_NO_WORKSPACE";
    case 0xE:
      return "CUFFT_NOT_IMPLEMENTED";
    case 0xF:
      return "CUFFT_LICENSE_ERROR";
    case 0x10:
      return "CUFFT_NOT_SUPPORTED";
    case 0x11:
      return "CUFFT_MISSING_DEPENDENCY";
    case 0x12:
      return "CUFFT_NVRTC_FAILURE";
    case 0x13:
      return "CUFFT_NVJITLINK_FAILURE";
    case 0x14:
      return "CUFFT_NVSHMEM_FAILURE";
    default:
      return "unknown status";
  }
}

// cuDNN's account of the last failure on this thread; it may have several lines.
std::string last_cudnn_failure() {
  std::array<char, 512> message{};
  cudnnGetLastErrorString(message.data(), message.size());
  std::string line(message.data());
  while (!line.empty() && line.back() == '\n') line.pop_back();
  std::ranges::replace(line, '\n', ' ');
  return line;
}

}  // namespace

std::string words(cudnnStatus_t status, const char* call) {
  const std::string why = last_cudnn_failure();
  return text("cuDNN, ", call, ": ", cudnnGetErrorString(status), why.empty() ? "" : " (", why,
              why.empty() ? "" : ")");
}

std::string words(cublasStatus_t status, const char* call) {
  return text("cuBLASLt, ", call, ": ", cublasLtGetStatusString(status), " (",
              cublasLtGetStatusName(status), ")");
}

std::string words(cufftResult status, const char* call) {
  return text("cuFFT, ", call, ": ", name_of(status), " (", static_cast<int>(status), ")");
}

}  // namespace ptynet::cuda
