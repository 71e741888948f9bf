// The CUDA backend's operations on frames and patches.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/far_field.h"
#include "kernels/cuda/input_rule.h"
#include "kernels/cuda/object.h"
#include "kernels/cuda/photon_noise.h"
#include "kernels/cuda/stitch.h"
#include "kernels/cuda/values.h"
#include "kernels/cuda/vary_spectra.h"

namespace ptynet::cuda {

namespace {

struct Extents {
  int n, h, w;
};

Extents extents_of(const Array& frames) {
  const Shape& s = frames.shape();
  return {static_cast<int>(s[0]), static_cast<int>(s[1]), static_cast<int>(s[2])};
}

PatchShape patch_shape(const Array& frames) {
  const auto [n, h, w] = extents_of(frames);
  return {n, h, w};
}

DetectorFrames detector_frames(const Array& frames, const Array& mask) {
  const auto [n, h, w] = extents_of(frames);
  return {frames.data(), frames.dtype(), mask.empty() ? nullptr : mask.data<std::uint8_t>(),
          FrameWindow::whole(h, w), n};
}

float* complex_data(Array& a) { return static_cast<float*>(a.data()); }
const float* complex_data(const Array& a) { return static_cast<const float*>(a.data()); }

}  // namespace

void CudaBackend::input_rule(const Array& frames, const Array& mask, const InputRule& rule,
                             Array& y) {
  submit("input_rule", y,
         [from = detector_frames(frames, mask), rule, precision = precision_of(y),
          to = y.data()](Stream stream) { cuda::input_rule(from, rule, precision, to, stream); });
}

void CudaBackend::output_heads(const Array& x, const OutputHead& amplitude_head,
                               const OutputHead& phase_head, Array& amplitude, Array& phase) {
  const NetworkOutput output{x.data(), precision_of(x), static_cast<int>(x.shape()[3]),
                             amplitude_head, phase_head};
  PatchResults results;
  results.amplitude = amplitude.data<float>();
  results.phase = phase.data<float>();
  submit("output_heads", amplitude,
         [shape = patch_shape(amplitude), output, results](Stream stream) {
           compose_patches(shape, output, {}, results, stream);
         });
}

void CudaBackend::compose_object(const Array& amplitude, const Array& phase, Array& object) {
  PatchResults results;
  results.object = complex_data(object);
  submit("compose_object", object,
         [shape = patch_shape(object),
          patches = PolarPatches{amplitude.data<float>(), phase.data<float>()},
          results](Stream stream) { compose_patches(shape, patches, {}, results, stream); });
}

FftPlan& CudaBackend::plan(const Images& images) {
  const auto [n, h, w] = images;
  auto& plan = plans_[{n, h, w}];
  if (!plan) {
    const DeviceScope scope(index_);
    plan = std::make_unique<FftPlan>(n, h, w);
  }
  return *plan;
}

Array CudaBackend::transform_space(const FftPlan& plan) {
  const auto bytes = static_cast<std::int64_t>(plan.workspace_bytes());
  return bytes > 0 ? scratch({bytes}, DType::kU8) : Array();
}

void CudaBackend::fft2(const Array& x, FftDirection direction, Array& y) {
  const auto [n, h, w] = extents_of(x);
  FftPlan& transform = plan({n, h, w});
  Array space = transform_space(transform);
  const float factor = direction == FftDirection::kInverse
                           ? 1.0F / (static_cast<float>(h) * static_cast<float>(w))
                           : 1.0F;
  submit("fft2", y,
         [&transform, direction, from = complex_data(x), to = complex_data(y),
          count = 2 * y.elements(), factor, memory = space.data()](Stream stream) {
           transform.run(from, to, direction, memory, stream);
           if (factor != 1.0F) scale(to, factor, count, stream);
         });
}

void CudaBackend::far_field_intensity(const Array& object, const Array& probe, Array& y) {
  const bool of_each_frame = probe.shape().rank() == 4;
  const auto modes = static_cast<int>(probe.shape()[of_each_frame ? 1 : 0]);
  const auto [n, h, w] = extents_of(object);
  Array waves = scratch({std::int64_t{n} * modes, h, w}, DType::kC64);
  FftPlan& transform = plan({n * modes, h, w});
  Array space = transform_space(transform);
  submit("far_field_intensity", y,
         [shape = FarFieldShape{n, modes, h, w}, &transform, from = complex_data(object),
          modes_of = ProbeModes{complex_data(probe), modes, of_each_frame},
          field = complex_data(waves), memory = space.data(), to = y.data<float>()](Stream stream) {
           exit_waves({shape.n, shape.h, shape.w}, from, modes_of, field, stream);
           transform.run(field, field, FftDirection::kForward, memory, stream);
           cuda::far_field_intensity(shape, field, to, stream);
         });
}

void CudaBackend::photon_noise(const Array& expected, std::uint64_t seed, const Array& first,
                               Array& counts) {
  const auto [n, h, w] = extents_of(counts);
  if (counts.data() == expected.data()) updates({counts});
  submit("photon_noise", counts,
         [frames = NoisyFrames{n, h * w, expected.data<float>(), counts.data<float>()}, seed,
          number = first.data<double>()](Stream stream) {
           cuda::photon_noise(frames, seed, number, stream);
         });
}

void CudaBackend::vary_spectra(const Array& spectrum, const ProbeSeries& series, const Array& first,
                               Array& y) {
  const auto [modes, h, w] = extents_of(spectrum);
  const auto n = static_cast<int>(y.shape()[0]);
  Array factors = scratch({n, h + w}, DType::kC64);
  submit("vary_spectra", y,
         [spectra = VariedSpectra{n, modes, h, w, complex_data(spectrum), complex_data(factors),
                                  complex_data(y)},
          series, number = first.data<double>()](Stream stream) {
           cuda::vary_spectra(spectra, series, number, stream);
         });
}

void CudaBackend::r_factor_sums(const Array& predicted, const Array& measured, Array& sums) {
  const auto [n, h, w] = extents_of(predicted);
  Array parts = scratch({n, residual_parts(h, w), 2}, DType::kF64);
  submit("r_factor_sums", predicted,
         [from = predicted.data<float>(), frames = detector_frames(measured, {}),
          residual = ResidualSums{sums.data<double>(), parts.data<double>()}](Stream stream) {
           intensity_residual(from, frames, residual, stream);
         });
}

void CudaBackend::stitch(const Array& object, const Array& weight, const Array& corners,
                         std::int64_t border, const CanvasSums& canvas) {
  const auto [n, h, w] = extents_of(object);
  submit(
      "stitch", object,
      [shape = StitchShape{n, h, w, static_cast<int>(border)},
       patches = StitchPatches{complex_data(object), weight.data<float>(), corners.data<double>()},
       canvas](Stream stream) { cuda::stitch(shape, patches, canvas, stream); });
}

}  // namespace ptynet::cuda
