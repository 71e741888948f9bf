#include "kernels/cuda/fft.h"

#include <array>
#include <ostream>

#include "kernels/cuda/status.h"

namespace ptynet::cuda {

namespace {

// For messages.
struct Images {
  int n, h, w;
};

std::ostream& operator<<(std::ostream& out, const Images& images) {
  return out << ", transforms of " << images.n << " x " << images.h << " x " << images.w;
}

}  // namespace

FftPlan::FftPlan(int n, int h, int w) : plan_(CUFFT_PLAN_NULL), n_(n), h_(h), w_(w) {
  const Images images{n, h, w};
  check(cufftCreate(&plan_), "cufftCreate", images);
  try {
    check(cufftSetAutoAllocation(plan_, 0), "cufftSetAutoAllocation", images);
    std::array<long long, 2> extents = {h, w};
    // No embedding: images are dense and follow each other.
    check(cufftMakePlanMany64(plan_, static_cast<int>(extents.size()), extents.data(), nullptr, 1,
                              0, nullptr, 1, 0, CUFFT_C2C, n, &workspace_bytes_),
          "cufftMakePlanMany64", images);
  } catch (...) {
    cufftDestroy(plan_);
    throw;
  }
}

FftPlan::~FftPlan() { cufftDestroy(plan_); }

void FftPlan::run(const float* in, float* out, FftDirection direction, void* workspace,
                  Stream stream) {
  const Images images{n_, h_, w_};
  check(cufftSetStream(plan_, stream), "cufftSetStream", images);
  check(cufftSetWorkArea(plan_, workspace), "cufftSetWorkArea", images);
  // Out of place cuFFT leaves the input of complex transforms as it is.
  auto* from = reinterpret_cast<cufftComplex*>(const_cast<float*>(in));
  check(cufftExecC2C(plan_, from, reinterpret_cast<cufftComplex*>(out),
                     direction == FftDirection::kForward ? CUFFT_FORWARD : CUFFT_INVERSE),
        "cufftExecC2C", images);
}

}  // namespace ptynet::cuda
