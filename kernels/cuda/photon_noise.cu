#include "kernels/cuda/launching.h"
#include "kernels/cuda/photon_noise.h"
#include "kernels/poisson.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;

// A thread: one pixel. Of neighbours the means are much alike, so that most warps go one way.
PTYNET_KERNEL(kThreads)
photon_noise_kernel(NoisyFrames frames, std::uint64_t seed, const double* first) {
  const int pixel = block().y * kThreads + thread();
  if (pixel >= frames.pixels) return;
  const int frame = block().x;
  const std::int64_t at = std::int64_t{frame} * frames.pixels + pixel;
  const double mean = double{load(frames.expected + at)};
  const std::uint64_t number =
      static_cast<std::uint64_t>(load_readonly(first)) + static_cast<std::uint64_t>(frame);
  const double count =
      poisson_sample(mean, photon_stream(seed, number), static_cast<std::uint64_t>(pixel),
                     static_cast<std::uint64_t>(frames.pixels));
  store(frames.counts + at, static_cast<float>(count));
}

}  // namespace

void photon_noise(const NoisyFrames& frames, std::uint64_t seed, const double* first,
                  Stream stream) {
  constexpr const char* kName = "photon_noise";
  const LaunchShape shape{grid_of(kName, frames.n, blocks_for(kName, frames.pixels, kThreads)),
                          kThreads};
  launch(kName, photon_noise_kernel, shape, stream, frames, seed, first);
}

}  // namespace ptynet::cuda
