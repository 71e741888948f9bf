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
  return {{{16, 32, 32, 64, 64, 3, 1, 1, 1, {activation, 0, 0}}, precision}};
}

// Of a dense layer; with stride 2 it leaves its input's last row and column unread.
ConvRequest gradient(ConvResult result, int kernel, int stride, Precision precision) {
  ConvRequest out{{{16, 32, 32, 64, 48, kernel, stride, kernel / 2, 1, {}}, precision}};
  out.result = result;
  if (result == ConvResult::kWeightGradient) return out;
  ConvShape& s = out.shape;
  s.extra_rows = s.extra_columns = stride - 1;
  s.h = out.out_h();
  s.w = out.out_w();
  std::swap(s.ci, s.co);
  out.transposed = true;
  return out;
}

Names names(const CudnnDescriptor& device, const ConvRequest& request, int most) {
  Names out;
  for (const auto& conv : cudnn_convs({nullptr, &device}, request, most)) {
    out.push_back(conv->name());
  }
  return out;
}

std::string engine_of(const std::string& name) { return name.substr(0, name.find(" knobs ")); }

// Those of cuDNN's proposals that it marks so.
Names engines_with(cudnnBackendNumericalNote_t note, const CudnnDescriptor& device,
                   const ConvRequest& request) {
  Names out;
  const auto graph = conv_graph({nullptr, &device}, request);
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    CudnnDescriptor proposals(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    proposals.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph->graph);
    proposals.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
#if CUDNN_VERSION >= 90800
    proposals.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
#endif
    proposals.finalize();
    for (const CudnnDescriptor& config :
         proposals.descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                               proposals.count(CUDNN_ATTR_ENGINEHEUR_RESULTS))) {
      const auto engine = std::move(
          config.descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1)[0]);
      const auto notes =
          engine.values<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, 32);
      if (std::ranges::find(notes, note) == notes.end()) continue;
      out.push_back(
          text("cudnn engine ", engine.value<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX)));
    }
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

TEST_CASE("cuDNN has engines for gradients of dense layers, none that sums in a changing order") {
  NEED_DESCRIBED_DEVICE();
  for (const auto result : {ConvResult::kInputGradient, ConvResult::kWeightGradient}) {
    for (const auto& [kernel, stride] : {std::pair(3, 1), {3, 2}, {5, 1}, {5, 2}}) {
      for (const auto precision : {Precision::kF32, Precision::kTf32}) {
        const ConvRequest wanted = gradient(result, kernel, stride, precision);
        CAPTURE(wanted);
        const Names found = names(*device, wanted, 20);
        const Names changing = engines_with(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, *device, wanted);
        const Names tensor = engines_with(CUDNN_NUMERICAL_NOTE_TENSOR_CORE, *device, wanted);
        CHECK(found.size() >= 2);
        CHECK_FALSE(changing.empty());  // cuDNN proposes some
        for (const std::string& name : found) {
          CHECK(std::ranges::count(found, name) == 1);
          CHECK_FALSE(contains(changing, engine_of(name)));
        }
        const auto on_tensor_cores = std::ranges::count_if(
            found, [&](const auto& name) { return contains(tensor, engine_of(name)); });
        CHECK((on_tensor_cores > 0) == (precision == Precision::kTf32));
      }
    }
  }
  // Of 16-bit arrays cuDNN 9.19 has these alone: none by w that writes f32.
  CHECK_FALSE(
      names(*device, gradient(ConvResult::kInputGradient, 3, 2, Precision::kF16), 8).empty());
}

TEST_CASE(
    "a gradient by the input has the input's extents, and of a transposed layer is a convolution") {
  NEED_DESCRIBED_DEVICE();
  ConvRequest wanted = gradient(ConvResult::kInputGradient, 3, 2, Precision::kTf32);
  CHECK(wanted.out_h() == 32);
  CHECK(wanted.out_w() == 32);
  CHECK_FALSE(names(*device, wanted, 1).empty());
  wanted.shape.extra_rows = wanted.shape.stride;  // no such row makes a y of these extents
  CHECK_THROWS_AS(names(*device, wanted, 1), Error);
  wanted = {{wanted.shape, Precision::kTf32, false, ConvResult::kInputGradient}};
  CHECK(wanted.out_h() == 8);
  CHECK_FALSE(names(*device, wanted, 1).empty());
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
  // A gradient has no bias: what is missing is the handle.
  const auto gradients = cudnn_convs(
      {nullptr, &*device}, gradient(ConvResult::kWeightGradient, 3, 1, Precision::kF32), 1);
  REQUIRE(gradients.size() == 1);
  CHECK_THROWS_WITH(gradients[0]->run({there, there, nullptr, there}, nullptr, nullptr),
                    Contains("cudnnSetStream"));
  CHECK_THROWS_WITH(gradients[0]->run({there, there, nullptr, nullptr}, nullptr, nullptr),
                    Contains("the gradient by weights of the convolution of 16 x 32 x 32 x 64"));
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
      for (const auto result : {ConvResult::kInputGradient, ConvResult::kWeightGradient}) {
        ConvRequest gradient = wanted;
        gradient.result = result;
        CHECK(cublaslt_convs(nullptr, gradient, 8).empty());
      }
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
