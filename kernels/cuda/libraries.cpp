#include "kernels/cuda/libraries.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <ostream>
#include <utility>

#include "kernels/cuda/cublaslt_conv.h"
#include "kernels/cuda/cuda_status.h"
#include "kernels/cuda/cudnn_conv.h"
#include "kernels/cuda/library_conv.h"
#include "kernels/cuda/status.h"

namespace ptynet::cuda {

namespace {

// get: cudnnGetProperty or cublasLtGetProperty.
template <typename Get>
std::string version(const char* call, Get get) {
  const auto part = [&](libraryPropertyType type) {
    int value = 0;
    check(get(type, &value), call);
    return value;
  };
  return text(part(MAJOR_VERSION), ".", part(MINOR_VERSION), ".", part(PATCH_LEVEL));
}

}  // namespace

Libraries::Libraries() {
  // Asked first: without a device the libraries' own words are about their insides.
  int device = 0;
  check(cudaGetDevice(&device), "a device for cuDNN and cuBLASLt");
  cudnnHandle_t cudnn = nullptr;
  check(cudnnCreate(&cudnn), "cudnnCreate");
  cudnn_.reset(cudnn);
  cublasLtHandle_t cublaslt = nullptr;
  check(cublasLtCreate(&cublaslt), "cublasLtCreate");
  cublaslt_.reset(cublaslt);
}

Libraries::~Libraries() = default;

// A destructor has nobody to tell of a failure.
void Libraries::Destroy::operator()(cudnnContext* handle) const { cudnnDestroy(handle); }
void Libraries::Destroy::operator()(cublasLtContext* handle) const { cublasLtDestroy(handle); }

std::string Libraries::versions() {
  return text("cuDNN ", version("cudnnGetProperty", cudnnGetProperty), ", cuBLASLt ",
              version("cublasLtGetProperty", cublasLtGetProperty));
}

std::ostream& operator<<(std::ostream& out, const ConvRequest& request) {
  static constexpr std::array kPrecisions = {"f32", "tf32", "bf16", "f16"};
  const ConvShape& s = request.shape;
  const bool by_weights = request.result == ConvResult::kWeightGradient;
  return out << "the " << (by_weights ? "gradient by weights of the " : "")
             << (request.widens() ? "transposed " : "") << "convolution of " << s.n << " x " << s.h
             << " x " << s.w << " x " << s.ci << " to " << s.co << " channels, kernel " << s.kernel
             << ", stride " << s.stride << ", padding " << s.padding << ", groups " << s.groups
             << ", " << kPrecisions.at(static_cast<std::size_t>(request.precision));
}

void check_operands(const ConvRequest& request, const ConvOperands& operands) {
  const auto expect = [&](const void* p) {
    if (p != nullptr && reinterpret_cast<std::uintptr_t>(p) % kOperandAlignment == 0) return;
    fail_runtime(request, ": a library takes x, w, b and y aligned to ", kOperandAlignment,
                 " bytes, found ", p, ": take a hand-written kernel");
  };
  for (const void* p : std::array<const void*, 3>{operands.x, operands.w, operands.y}) expect(p);
  if (request.has_bias()) expect(operands.b);
}

std::vector<std::unique_ptr<LibraryConv>> library_convs(Libraries& libraries, const ConvTask& task,
                                                        int most) {
  const ConvRequest request{task};
  // cuBLASLt knows few of the layers, and those well; it leaves room for cuDNN.
  LibraryConvs found = cublaslt_convs(libraries.cublaslt(), request, (most + 1) / 2);
  const int left = most - static_cast<int>(found.size());
  LibraryConvs more = cudnn_convs({libraries.cudnn(), nullptr}, request, left);
  std::ranges::move(more, std::back_inserter(found));
  return found;
}

}  // namespace ptynet::cuda
