// What NVIDIA's libraries offer for a convolution, asked without a device: cuDNN also answers for
// one that is only described. Engines compiled at run time need a driver, and do not appear then.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/cublaslt_conv.h"
#include "kernels/cuda/cudnn_conv.h"
#include "kernels/cuda/libraries.h"
#include "kernels/error.h"
#include "tests/support.h"

namespace ptynet::cuda {

namespace {

using Catch::Contains;
using Names = std::vector<std::string>;

// An A100, in the words that cuDNN 9.19 reads; they are its own affair and may change.
constexpr std::string_view kDevice = R"({"deviceName": "NVIDIA A100-SXM4-40GB", "deviceVer": 800,
  "driverVer": 13000, "cudaDeviceId": 0, "pciDeviceId": 0, "isTccDriver": 0,
  "multiProcessorCount": 108, "smClockRateKHz": 1410000, "memClockRateKHz": 1215000,
  "totalGlobalMem": 42298834944, "l2CacheSize": 41943040, "warpSize": 32,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "maxCtasPerSM": 32,
  "regsPerBlock": 65536, "maxRegistersPerSM": 65536, "maxSharedMemoryPerBlock": 49152,
  "maxSharedMemoryPerBlockOptin": 166912, "reservedSharedMemoryPerBlock": 1024,
  "supportCoopLaunch": 1})";

std::optional<CudnnDescriptor> described_device() {
#if CUDNN_VERSION >= 90800
  CudnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<const char>(kDevice));
  if (succeeded(device.try_finalize())) return device;
#endif
  return std::nullopt;
}

#define NEED_DESCRIBED_DEVICE()                                     \
  const std::optional<CudnnDescriptor> device = described_device(); \
  if (!device) PTYNET_SKIP("this cuDNN takes no device that is described")

ConvRequest request(ActivationKind activation, Precision precision) {
  return {{16, 32, 32, 64, 64, 3, 1, 1, 1, {activation, 0, 0}}, precision, false};
}

Names names(const CudnnDescriptor& device, const ConvRequest& request, int most) {
  Names out;
  for (const auto& conv : cudnn_convs({nullptr, &device}, request, most)) {
    out.push_back(conv->name());
  }
  return out;
}

bool contains(const Names& all, const std::string& name) {
  return std::ranges::find(all, name) != all.end();
}

}  // namespace

TEST_CASE("cuDNN's candidates come in one order, each once, as many as were asked for") {
  NEED_DESCRIBED_DEVICE();
  const ConvRequest wanted = request(ActivationKind::kRelu, Precision::kTf32);
  const Names all = names(*device, wanted, 8);
  REQUIRE(all.size() > 3);
  CHECK(all.size() <= 8);
  CHECK(names(*device, wanted, 3) == Names(all.begin(), all.begin() + 3));
  CHECK(names(*device, wanted, 0).empty());
  // For f32 the heuristics and the fallbacks propose the same engine once each.
  for (const Names& some :
       {all, names(*device, request(ActivationKind::kRelu, Precision::kF32), 8)}) {
    for (const std::string& name : some) {
      CHECK_THAT(name, Catch::StartsWith("cudnn engine "));
      CHECK(std::ranges::count(some, name) == 1);
    }
  }
  // One engine with different knobs is different candidates.
  CHECK(std::ranges::any_of(all, [](const auto& n) { return n.find(" knobs ") != n.npos; }));
}

TEST_CASE("cuDNN's candidates for f32 are none of those on tensor cores") {
  NEED_DESCRIBED_DEVICE();
  for (const auto activation : {ActivationKind::kNone, ActivationKind::kRelu}) {
    const Names plain = names(*device, request(activation, Precision::kF32), 8);
    const Names tensor = names(*device, request(activation, Precision::kTf32), 8);
    REQUIRE_FALSE(plain.empty());
    REQUIRE_FALSE(tensor.empty());
    CHECK_FALSE(contains(plain, tensor.front()));
  }
}

TEST_CASE("cuDNN has no candidate where it has no such activation") {
  NEED_DESCRIBED_DEVICE();
  for (const auto activation :
       {ActivationKind::kHardtanh, ActivationKind::kSigmoid, ActivationKind::kTanh}) {
    CHECK(names(*device, request(activation, Precision::kTf32), 8).empty());
  }
}

TEST_CASE("A library refuses operands that are missing or not aligned, and says of what") {
  NEED_DESCRIBED_DEVICE();
  const auto convs =
      cudnn_convs({nullptr, &*device}, request(ActivationKind::kRelu, Precision::kF32), 1);
  REQUIRE(convs.size() == 1);
  alignas(16) std::array<float, 8> somewhere{};
  float* there = somewhere.data();
  CHECK_THROWS_WITH(
      convs[0]->run({there, there, nullptr, there}, nullptr, nullptr),
      Contains("the convolution of 16 x 32 x 32 x 64 to 64 channels, kernel 3, stride 1"));
  CHECK_THROWS_WITH(convs[0]->run({there + 1, there, there, there}, nullptr, nullptr),
                    Contains("aligned to 16 bytes"));
}

TEST_CASE("cuDNN's refusal of a wrong attribute names the call and its words in one line") {
  CudnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  CHECK_THROWS_WITH(tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, std::int64_t{1}),
                    Contains("cuDNN, cudnnBackendSetAttribute: CUDNN_STATUS_BAD_PARAM") &&
                        Contains(", attribute 901") && !Contains("\n"));
  CHECK_THROWS_WITH(tensor.finalize(), Contains("cudnnBackendFinalize"));
}

TEST_CASE("cuBLASLt takes our description of a convolution of single pixels, and of no other") {
  for (const auto precision :
       {Precision::kF32, Precision::kTf32, Precision::kBf16, Precision::kF16}) {
    for (const auto activation : {ActivationKind::kNone, ActivationKind::kRelu}) {
      ConvRequest wanted = request(activation, precision);
      CHECK(cublaslt_convs(nullptr, wanted, 8).empty());  // never asked
      wanted.shape.kernel = 1;
      wanted.shape.padding = 0;
      // What is missing is the handle, after everything else was said.
      CHECK_THROWS_WITH(cublaslt_convs(nullptr, wanted, 8),
                        Contains("cuBLASLt, cublasLtMatmulAlgoGetHeuristic: ") &&
                            Contains("CUBLAS_STATUS_NOT_INITIALIZED") && Contains("kernel 1,"));
      wanted.shape.activation.kind = ActivationKind::kLeakyRelu;
      CHECK(cublaslt_convs(nullptr, wanted, 8).empty());
    }
  }
}

TEST_CASE("The libraries' handles need a device, and say so in one line") {
  try {
    const Libraries libraries;
    CHECK_THAT(libraries.versions(), Contains("cuDNN 9.") && Contains(", cuBLASLt 1"));
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kRuntime);
    CHECK_THAT(error.what(), Contains("a device for cuDNN and cuBLASLt") && !Contains("\n"));
  }
}

}  // namespace ptynet::cuda
