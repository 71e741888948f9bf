// Descriptors of cuDNN's graph API: made, filled in, finalised, read, destroyed.
#pragma once

#include <cudnn.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/status.h"

namespace ptynet::cuda {

// How cuDNN calls the type of an attribute's elements.
template <typename T>
inline constexpr cudnnBackendAttributeType_t kCudnnType = [] {
  static_assert(sizeof(T) == 0, "no attribute of cuDNN has this type");
  return CUDNN_TYPE_INT64;
}();
template <>
inline constexpr auto kCudnnType<std::int64_t> = CUDNN_TYPE_INT64;
template <>
inline constexpr auto kCudnnType<float> = CUDNN_TYPE_FLOAT;
template <>
inline constexpr auto kCudnnType<double> = CUDNN_TYPE_DOUBLE;
template <>
inline constexpr auto kCudnnType<bool> = CUDNN_TYPE_BOOLEAN;
template <>
inline constexpr auto kCudnnType<char> = CUDNN_TYPE_CHAR;
template <>
inline constexpr auto kCudnnType<void*> = CUDNN_TYPE_VOID_PTR;
template <>
inline constexpr auto kCudnnType<cudnnHandle_t> = CUDNN_TYPE_HANDLE;
template <>
inline constexpr auto kCudnnType<cudnnDataType_t> = CUDNN_TYPE_DATA_TYPE;
template <>
inline constexpr auto kCudnnType<cudnnConvolutionMode_t> = CUDNN_TYPE_CONVOLUTION_MODE;
template <>
inline constexpr auto kCudnnType<cudnnPointwiseMode_t> = CUDNN_TYPE_POINTWISE_MODE;
template <>
inline constexpr auto kCudnnType<cudnnBackendHeurMode_t> = CUDNN_TYPE_HEUR_MODE;
template <>
inline constexpr auto kCudnnType<cudnnBackendKnobType_t> = CUDNN_TYPE_KNOB_TYPE;
template <>
inline constexpr auto kCudnnType<cudnnBackendNumericalNote_t> = CUDNN_TYPE_NUMERICAL_NOTE;
template <>
inline constexpr auto kCudnnType<cudnnBackendBehaviorNote_t> = CUDNN_TYPE_BEHAVIOR_NOTE;

// A descriptor. What it refers to is kept by its owner for as long as it lives: cuDNN does not say
// that it copies. Failures throw Error (runtime).
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);

  template <typename T>
  void set(cudnnBackendAttributeName_t name, std::span<const T> values) {
    set(name, kCudnnType<T>, values.size(), values.data());
  }
  template <typename T>
  void set(cudnnBackendAttributeName_t name, const T& value) {
    set(name, std::span<const T>(&value, 1));
  }
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
    set(name, std::span<const CudnnDescriptor>(&value, 1));
  }
  void set(cudnnBackendAttributeName_t name, std::span<const CudnnDescriptor> values);

  void finalize() { check(try_finalize(), "cudnnBackendFinalize"); }
  // For those that cuDNN may have to refuse.
  [[nodiscard]] cudnnStatus_t try_finalize() { return cudnnBackendFinalize(get()); }

  // An attribute's elements, at most `most`. (cuDNN can be asked how many there are, but of knobs
  // it then says none.)
  template <typename T>
  std::vector<T> values(cudnnBackendAttributeName_t name, std::size_t most) const {
    std::vector<T> out(most);
    out.resize(std::min(most, read(name, kCudnnType<T>, most, out.data())));
    return out;
  }
  template <typename T>
  T value(cudnnBackendAttributeName_t name) const {
    T out{};
    read(name, kCudnnType<T>, 1, &out);
    return out;
  }
  // The same of descriptors, which are of `type`.
  std::vector<CudnnDescriptor> descriptors(cudnnBackendAttributeName_t name,
                                           cudnnBackendDescriptorType_t type,
                                           std::size_t most) const;
  std::size_t count(cudnnBackendAttributeName_t name) const {
    return read(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, nullptr);
  }

  cudnnBackendDescriptor_t get() const { return descriptor_.get(); }

 private:
  struct Destroy {
    void operator()(cudnnBackendDescriptor_t descriptor) const {
      cudnnBackendDestroyDescriptor(descriptor);
    }
  };

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::size_t count,
           const void* values);
  // Reads up to `most` elements and returns how many there are.
  std::size_t read(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                   std::size_t most, void* values) const;

  std::unique_ptr<void, Destroy> descriptor_;
};

}  // namespace ptynet::cuda
