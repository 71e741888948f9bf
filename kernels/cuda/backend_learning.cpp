// Training on CUDA: not written yet. Each operation says so where it is asked for.
#include "kernels/cuda/cuda_backend.h"

namespace ptynet::cuda {

namespace {

[[noreturn]] void fail_learning(std::string_view operation) {
  fail_runtime(operation, " is not there on CUDA yet: train and fine-tune with --device cpu");
}

}  // namespace

void CudaBackend::batch_norm_training(const Array&, BatchNormParameters&, BatchStatistics&,
                                      Array&) {
  fail_learning("batch_norm_training");
}
void CudaBackend::batch_norm_gradient(const Array&, const BatchStatistics&, const Activation&,
                                      const Array&, OperandGradients&) {
  fail_learning("batch_norm_gradient");
}
void CudaBackend::max_pool2d_gradient(const Array&, std::int64_t, const Array&, Array&) {
  fail_learning("max_pool2d_gradient");
}
void CudaBackend::upsample_bilinear2d_gradient(const Array&, std::int64_t, Array&) {
  fail_learning("upsample_bilinear2d_gradient");
}
void CudaBackend::slice_channels(const Array&, std::int64_t, Array&) {
  fail_learning("slice_channels");
}
void CudaBackend::output_heads_gradient(const Array&, const Array&, const OutputHead&,
                                        const OutputHead&, Array&) {
  fail_learning("output_heads_gradient");
}
void CudaBackend::diffract(const ExitWave&, Array&, Array&) { fail_learning("diffract"); }
void CudaBackend::diffract_gradient(const ExitWave&, Array&, const Array&, ExitWave&) {
  fail_learning("diffract_gradient");
}
void CudaBackend::intensity_loss(IntensityLoss, const Array&, const Array&, double, Array&,
                                 Array&) {
  fail_learning("intensity_loss");
}
void CudaBackend::patch_error(const ExitWave&, const ExitWave&, const Array&, double, Array&,
                              ExitWave&) {
  fail_learning("patch_error");
}
void CudaBackend::object_error(const ExitWave&, const Array&, const Array&, double, Array&,
                               ExitWave&) {
  fail_learning("object_error");
}
void CudaBackend::adam(const AdamOptions&, const std::vector<AdamTensor>&, Array&) {
  fail_learning("adam");
}
void CudaBackend::keep_power(Array&, double) { fail_learning("keep_power"); }

}  // namespace ptynet::cuda
