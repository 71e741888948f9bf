// The CUDA backend's way from patches to diffraction and back, and what predictions are held
// against.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/diffraction.h"
#include "kernels/cuda/losses.h"

namespace ptynet::cuda {

namespace {

float* data_or_null(Array& array) { return array.empty() ? nullptr : array.data<float>(); }
const float* data_or_null(const Array& array) {
  return array.empty() ? nullptr : array.data<float>();
}

// Of far [n, modes, h, w, 2].
FarFieldShape field_shape(const Array& far) {
  const Shape& s = far.shape();
  return {static_cast<int>(s[0]), static_cast<int>(s[1]), static_cast<int>(s[2]),
          static_cast<int>(s[3])};
}

// Of frames [n, h, w].
PatchShape patch_shape(const Array& frames) {
  const Shape& s = frames.shape();
  return {static_cast<int>(s[0]), static_cast<int>(s[1]), static_cast<int>(s[2])};
}

PolarPatches polar(const ExitWave& wave) {
  return {wave.amplitude.data<float>(), wave.phase.data<float>()};
}

PolarGradients gradients(ExitWave& d) { return {data_or_null(d.amplitude), data_or_null(d.phase)}; }

}  // namespace

void CudaBackend::diffract(const ExitWave& wave, Array& far, Array& intensity) {
  const FarFieldShape shape = field_shape(far);
  FftPlan& transform = plan({shape.n * shape.modes, shape.h, shape.w});
  Array space = transform_space(transform);
  PatchResults results;
  results.waves = far.data<float>();
  submit("diffract", far,
         [shape, patches = polar(wave), probe = ProbeModes{wave.probe.data<float>(), shape.modes},
          results, &transform, memory = space.data(), to = intensity.data<float>()](Stream stream) {
           compose_patches({shape.n, shape.h, shape.w}, patches, probe, results, stream);
           transform.run(results.waves, results.waves, FftDirection::kForward, memory, stream);
           cuda::far_field_intensity(shape, results.waves, to, stream);
         });
}

void CudaBackend::diffract_gradient(const ExitWave& wave, Array& far, const Array& d_intensity,
                                    ExitWave& d) {
  const WaveGradients wanted{data_or_null(d.amplitude), data_or_null(d.phase),
                             data_or_null(d.probe)};
  const FarFieldShape shape = field_shape(far);
  FftPlan& transform = plan({shape.n * shape.modes, shape.h, shape.w});
  Array space = transform_space(transform);
  submit("diffract_gradient", far,
         [shape, patches = polar(wave), probe = wave.probe.data<float>(), field = far.data<float>(),
          slopes = d_intensity.data<float>(), wanted, &transform,
          memory = space.data()](Stream stream) {
           far_field_gradient(shape, field, slopes, stream);
           // The adjoint of the transform.
           transform.run(field, field, FftDirection::kInverse, memory, stream);
           exit_wave_gradient(shape, patches, probe, field, wanted, stream);
         });
}

void CudaBackend::intensity_loss(IntensityLoss kind, const Array& predicted, const Array& measured,
                                 double factor, Array& sums, Array& d_predicted) {
  const PatchShape shape = patch_shape(predicted);
  Array memory = scratch({loss_scratch(shape)}, DType::kF64);
  submit("intensity_loss", predicted,
         [shape,
          compared = IntensityComparison{kind, predicted.data<float>(), measured.data<float>(),
                                         factor, data_or_null(d_predicted)},
          out = LossSums{sums.data<double>(), memory.data<double>()}](Stream stream) {
           cuda::intensity_loss(shape, compared, out, stream);
         });
}

void CudaBackend::patch_error(const ExitWave& patch, const ExitWave& target, const Array& weight,
                              double factor, Array& sums, ExitWave& d) {
  const PatchShape shape = patch_shape(patch.amplitude);
  Array memory = scratch({loss_scratch(shape)}, DType::kF64);
  submit("patch_error", patch.amplitude,
         [shape, found = polar(patch), wanted = polar(target),
          options = PatchErrorOptions{data_or_null(weight), factor, gradients(d)},
          out = LossSums{sums.data<double>(), memory.data<double>()}](Stream stream) {
           cuda::patch_error(shape, found, wanted, options, out, stream);
         });
}

void CudaBackend::object_error(const ExitWave& patch, const Array& target, const Array& weight,
                               double factor, Array& sums, ExitWave& d) {
  const PatchShape shape = patch_shape(patch.amplitude);
  Array memory = scratch({loss_scratch(shape)}, DType::kF64);
  submit("object_error", patch.amplitude,
         [shape, found = polar(patch), wanted = target.data<float>(),
          options = PatchErrorOptions{data_or_null(weight), factor, gradients(d)},
          out = LossSums{sums.data<double>(), memory.data<double>()}](Stream stream) {
           cuda::object_error(shape, found, wanted, options, out, stream);
         });
}

}  // namespace ptynet::cuda
