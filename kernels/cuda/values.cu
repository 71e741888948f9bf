#include "kernels/cuda/launching.h"
#include "kernels/cuda/values.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 4;  // values of a thread

PTYNET_DEVICE std::int64_t first_of_thread(int at_once) {
  return (static_cast<std::int64_t>(block().x) * kThreads + thread()) * at_once;
}

template <typename From, typename To>
struct Conversion {
  const From* x;
  To* y;
  std::int64_t count;
};

template <int N, typename From, typename To>
PTYNET_KERNEL(kThreads)
convert_kernel(Conversion<From, To> work) {
  std::int64_t i = first_of_thread(N);
  if (i + N <= work.count) return store_floats(work.y + i, load_floats<N>(work.x + i));
  PTYNET_NO_UNROLL
  for (; i < work.count; ++i) store_floats(work.y + i, load_floats<1>(work.x + i));
}

PTYNET_KERNEL(kThreads)
scale_kernel(float* x, float factor, std::int64_t count) {
  const std::int64_t i = first_of_thread(1);
  if (i < count) store(x + i, load(x + i) * factor);
}

PTYNET_KERNEL(kThreads)
multiply_kernel(const float* x, const double* factor, float* y, std::int64_t count) {
  const std::int64_t i = first_of_thread(1);
  if (i < count) store(y + i, load(x + i) * static_cast<float>(load_readonly(factor)));
}

PTYNET_KERNEL(kThreads)
random_kernel(CounterRandom random, UniformRange range, float* y, std::int64_t count) {
  const std::int64_t i = first_of_thread(1);
  if (i >= count) return;
  const double u = random.uniform(static_cast<std::uint64_t>(i));
  const double low = static_cast<double>(range.low);
  const double high = static_cast<double>(range.high);
  store(y + i, static_cast<float>(low + (high - low) * u));
}

LaunchShape shape_of(const char* name, std::int64_t count, int at_once) {
  return {{blocks_for(name, (count + at_once - 1) / at_once, kThreads)}, kThreads};
}

// Calls body with a value of the type.
template <typename Body>
void with_type(DType type, Body&& body) {
  switch (type) {
    case DType::kF32:
      return with_element(Precision::kF32, body);
    case DType::kF16:
      return with_element(Precision::kF16, body);
    case DType::kBf16:
      return with_element(Precision::kBf16, body);
    default:
      fail_runtime("CUDA converts between f32, f16 and bf16, found ", name_of(type));
  }
}

}  // namespace

void convert(const TypedValues& x, const TypedValues& y, std::int64_t count, Stream stream) {
  with_type(x.type, [&](auto from) {
    with_type(y.type, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const Conversion<From, To> work{static_cast<const From*>(x.data), static_cast<To*>(y.data),
                                      count};
      const bool aligned = are_aligned(16, x.data, y.data);
      launch("convert", aligned ? convert_kernel<kAtOnce, From, To> : convert_kernel<1, From, To>,
             shape_of("convert", count, aligned ? kAtOnce : 1), stream, work);
    });
  });
}

void scale(float* x, float factor, std::int64_t count, Stream stream) {
  launch("scale", scale_kernel, shape_of("scale", count, 1), stream, x, factor, count);
}

void multiply(const float* x, const double* factor, float* y, std::int64_t count, Stream stream) {
  launch("multiply", multiply_kernel, shape_of("multiply", count, 1), stream, x, factor, y, count);
}

void random_uniform(const CounterRandom& random, const UniformRange& range, float* y,
                    std::int64_t count, Stream stream) {
  launch("random_uniform", random_kernel, shape_of("random_uniform", count, 1), stream, random,
         range, y, count);
}

}  // namespace ptynet::cuda
