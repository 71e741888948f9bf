// NVIDIA's libraries as the CPU's twin has them: no convolutions, and FFTW or kissfft in cuFFT's
// place.
#include <complex>

#include "kernels/cpu/fft.h"
#include "kernels/cuda/fft.h"
#include "kernels/cuda/libraries.h"
#include "tests/cuda_on_cpu/twin.h"

namespace ptynet::cuda {

namespace {

struct Extents {
  int n;
  int h;
  int w;
};

// cuFFT's inverse leaves out 1 / (h w).
void transform(const Extents& extents, const float* in, float* out, FftDirection direction) {
  const auto [n, h, w] = extents;
  const Fft2<float> plan(h, w, direction);
  const std::int64_t pixels = std::int64_t{h} * w;
  const auto* from = reinterpret_cast<const std::complex<float>*>(in);
  auto* to = reinterpret_cast<std::complex<float>*>(out);
  for (std::int64_t i = 0; i < n; ++i) {
    plan.run(from + i * pixels, to + i * pixels);
    if (direction == FftDirection::kForward) continue;
    for (std::int64_t p = i * pixels; p < (i + 1) * pixels; ++p) {
      to[p] *= static_cast<float>(pixels);
    }
  }
}

}  // namespace

Libraries::Libraries() = default;
Libraries::~Libraries() = default;
void Libraries::Destroy::operator()(cudnnContext*) const {}
void Libraries::Destroy::operator()(cublasLtContext*) const {}
std::string Libraries::versions() { return "no libraries"; }

std::vector<std::unique_ptr<LibraryConv>> library_convs(Libraries&, const ConvShape&, Precision,
                                                        bool, int) {
  return {};
}

FftPlan::FftPlan(int n, int h, int w) : plan_(0), n_(n), h_(h), w_(w), workspace_bytes_(64) {}
FftPlan::~FftPlan() = default;

void FftPlan::run(const float* in, float* out, FftDirection direction, void*, Stream) {
  twin::submit([extents = Extents{n_, h_, w_}, in, out, direction] {
    transform(extents, in, out, direction);
  });
}

}  // namespace ptynet::cuda
