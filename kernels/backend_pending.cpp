#include "kernels/backend.h"
namespace ptynet {
#define PENDING(...) { fail_runtime("pending"); }
void Backend::conv2d_gradient(const Array&, const Array&, const OutputGradient&, const ConvOptions&, OperandGradients&) PENDING()
void Backend::conv_transpose2d_gradient(const Array&, const Array&, const OutputGradient&, const ConvOptions&, OperandGradients&) PENDING()
void Backend::batch_norm_training(const Array&, BatchNormParameters&, BatchStatistics&, Array&) PENDING()
void Backend::batch_norm_gradient(const Array&, const Array&, const BatchStatistics&, const Array&, OperandGradients&) PENDING()
void Backend::activation_gradient(const OutputGradient&, const Activation&, Array&) PENDING()
void Backend::max_pool2d_gradient(const Array&, std::int64_t, const Array&, Array&) PENDING()
void Backend::upsample_bilinear2d_gradient(const Array&, std::int64_t, Array&) PENDING()
void Backend::slice_channels(const Array&, std::int64_t, Array&) PENDING()
void Backend::output_heads_gradient(const Array&, const Array&, const OutputHead&, const OutputHead&, Array&) PENDING()
void Backend::diffract(const ExitWave&, Array&, Array&) PENDING()
void Backend::diffract_gradient(const ExitWave&, Array&, const Array&, ExitWave&) PENDING()
void Backend::intensity_loss(IntensityLoss, const Array&, const Array&, double, Array&, Array&) PENDING()
void Backend::patch_error(const ExitWave&, const ExitWave&, const Array&, double, Array&, ExitWave&) PENDING()
void Backend::object_error(const ExitWave&, const Array&, const Array&, double, Array&, ExitWave&) PENDING()
void Backend::adam(const AdamOptions&, const std::vector<AdamTensor>&, Array&) PENDING()
void Backend::keep_power(Array&, double) PENDING()
}  // namespace ptynet
