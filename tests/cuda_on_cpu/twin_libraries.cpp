// NVIDIA's libraries as the CPU's twin has them: no convolutions, or with PTYNET_TWIN_LIBRARY one
// candidate for each, and FFTW or kissfft in cuFFT's place.
#include <complex>
#include <cstdlib>

#include "kernels/cpu/fft.h"
#include "kernels/cuda/conv_candidates.h"
#include "kernels/cuda/conv_transpose.h"
#include "kernels/cuda/fft.h"
#include "kernels/cuda/libraries.h"
#include "kernels/error.h"
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

// The first of our own, as a library has it: it takes weights as they are and a bias always, but no
// bias for gradients.
class TwinConv final : public LibraryConv {
 public:
  explicit TwinConv(const ConvTask& task)
      : task_(task), conv_(hand_written_convs(task, 1).front()) {}

  std::string name() const override { return "twin engine 1"; }
  std::size_t workspace_bytes() const override {
    if (!conv_->packs_weights()) return conv_->workspace_bytes();
    return static_cast<std::size_t>(packed_weights(task_.shape)) * sizeof(float);
  }
  void run(const ConvOperands& operands, void* workspace, Stream stream) override {
    if ((operands.b != nullptr) != (task_.result == ConvResult::kOutput)) {
      fail_runtime("a bias for every convolution, and for no gradient");
    }
    ConvOperands own = operands;
    if (conv_->packs_weights()) {
      pack_weights(task_.shape, task_.precision, operands.w, workspace, stream);
      own.w = workspace;
    }
    conv_->run(own, workspace, stream);
  }

 private:
  ConvTask task_;
  std::shared_ptr<ConvCandidate> conv_;
};

}  // namespace

Libraries::Libraries() = default;
Libraries::~Libraries() = default;
void Libraries::Destroy::operator()(cudnnContext*) const {}
void Libraries::Destroy::operator()(cublasLtContext*) const {}
std::string Libraries::versions() { return "no libraries"; }

std::vector<std::unique_ptr<LibraryConv>> library_convs(Libraries&, const ConvTask& task, int) {
  std::vector<std::unique_ptr<LibraryConv>> out;
  const bool one = std::getenv("PTYNET_TWIN_LIBRARY") != nullptr;
  if (one) out.push_back(std::make_unique<TwinConv>(task));
  return out;
}

FftPlan::FftPlan(int n, int h, int w) : plan_(0), n_(n), h_(h), w_(w), workspace_bytes_(64) {}
FftPlan::~FftPlan() = default;

void FftPlan::run(const float* in, float* out, FftDirection direction, void*, Stream stream) {
  twin::submit(stream, [extents = Extents{n_, h_, w_}, in, out, direction] {
    transform(extents, in, out, direction);
  });
}

}  // namespace ptynet::cuda
