#include "kernels/cuda/cudnn_descriptor.h"

#include <string>

namespace ptynet::cuda {

namespace {

// For cuDNN, which takes and fills arrays of the bare pointers.
std::vector<cudnnBackendDescriptor_t> bare(std::span<const CudnnDescriptor> descriptors) {
  std::vector<cudnnBackendDescriptor_t> out;
  out.reserve(descriptors.size());
  for (const CudnnDescriptor& descriptor : descriptors) out.push_back(descriptor.get());
  return out;
}

// Attributes have names in the header alone; their numbers are stable.
std::string attribute(cudnnBackendAttributeName_t name) {
  return text(", attribute ", static_cast<int>(name));
}

}  // namespace

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t descriptor = nullptr;
  check(cudnnBackendCreateDescriptor(type, &descriptor), "cudnnBackendCreateDescriptor");
  descriptor_.reset(descriptor);
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name,
                          std::span<const CudnnDescriptor> values) {
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, values.size(), bare(values).data());
}

std::vector<CudnnDescriptor> CudnnDescriptor::descriptors(cudnnBackendAttributeName_t name,
                                                          cudnnBackendDescriptorType_t type,
                                                          std::size_t most) const {
  std::vector<CudnnDescriptor> out;
  for (std::size_t i = 0; i < most; ++i) out.emplace_back(type);
  if (most == 0) return out;
  const std::size_t there = read(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, bare(out).data());
  while (out.size() > there) out.pop_back();
  return out;
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                          std::size_t count, const void* values) {
  const cudnnStatus_t status =
      cudnnBackendSetAttribute(get(), name, type, static_cast<std::int64_t>(count), values);
  if (!succeeded(status)) check(status, "cudnnBackendSetAttribute", attribute(name));
}

std::size_t CudnnDescriptor::read(cudnnBackendAttributeName_t name,
                                  cudnnBackendAttributeType_t type, std::size_t most,
                                  void* values) const {
  std::int64_t there = 0;
  const cudnnStatus_t status =
      cudnnBackendGetAttribute(get(), name, type, static_cast<std::int64_t>(most), &there, values);
  if (!succeeded(status)) check(status, "cudnnBackendGetAttribute", attribute(name));
  return static_cast<std::size_t>(there);
}

}  // namespace ptynet::cuda
