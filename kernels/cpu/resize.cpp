#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/onednn.h"

namespace ptynet::cpu {

namespace {

// One input, one output.
template <typename Primitive, typename Description>
std::shared_ptr<BoundPrimitive> bound(const Description& description, const Array& x,
                                      const Array& y, const Array& scratchpad) {
  auto step = std::make_shared<BoundPrimitive>(BoundPrimitive::of<Primitive>(description));
  step->bind(DNNL_ARG_SRC, description.src_desc(), x.data());
  step->bind(DNNL_ARG_DST, description.dst_desc(), y.data());
  step->bind(DNNL_ARG_SCRATCHPAD, description.scratchpad_desc(), scratchpad.data());
  return step;
}

}  // namespace

void CpuBackend::max_pool2d(const Array& x, std::int64_t kernel, Array& y) {
  const ThreadScope scope(threads_);
  const auto description = describe_max_pool(x.shape(), kernel, x.dtype());
  Array pad = scratch({scratchpad_bytes(description)}, DType::kU8);
  const auto step = bound<dnnl::pooling_forward>(description, x, y, pad);
  submit("max_pool2d", y, [step] { step->run(); });
}

void CpuBackend::upsample_bilinear2d(const Array& x, std::int64_t scale, Array& y) {
  const ThreadScope scope(threads_);
  const auto description = describe_upsampling(x.shape(), scale, x.dtype());
  Array pad = scratch({scratchpad_bytes(description)}, DType::kU8);
  const auto step = bound<dnnl::resampling_forward>(description, x, y, pad);
  submit("upsample_bilinear2d", y, [step] { step->run(); });
}

}  // namespace ptynet::cpu
