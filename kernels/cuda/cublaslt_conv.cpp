#include "kernels/cuda/cublaslt_conv.h"

#include <algorithm>
#include <ostream>
#include <string>
#include <utility>

#include "kernels/cuda/status.h"

namespace ptynet::cuda {

namespace {

constexpr std::uint64_t kMostWorkspace = 32U << 20;  // bytes, what NVIDIA recommends on Hopper
constexpr int kProposals = 32;                       // asked for; some are not for us

// How a precision is said to cuBLASLt. Sums and scales are f32.
struct Arithmetic {
  cudaDataType arrays;
  cublasComputeType_t compute;
  std::uint64_t implementations;  // that are allowed: CUBLASLT_NUMERICAL_IMPL_FLAGS_
};

Arithmetic arithmetic(Precision precision) {
  constexpr std::uint64_t kPlain =
      CUBLASLT_NUMERICAL_IMPL_FLAGS_FMA | CUBLASLT_NUMERICAL_IMPL_FLAGS_ACCUMULATOR_32F;
  constexpr std::uint64_t kTensorCores = kPlain | CUBLASLT_NUMERICAL_IMPL_FLAGS_HMMA;
  switch (precision) {
    case Precision::kTf32:
      return {CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32,
              kTensorCores | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_TF32 |
                  CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_32F};
    case Precision::kBf16:
      return {CUDA_R_16BF, CUBLAS_COMPUTE_32F,
              kTensorCores | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16BF};
    case Precision::kF16:
      return {CUDA_R_16F, CUBLAS_COMPUTE_32F,
              kTensorCores | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_16F};
    case Precision::kF32:
      break;
  }
  return {CUDA_R_32F, CUBLAS_COMPUTE_32F, kPlain | CUBLASLT_NUMERICAL_IMPL_FLAGS_INPUT_32F};
}

bool is_product(const ConvRequest& request) {
  const ConvShape& s = request.shape;
  return request.has_bias() && !request.transposed && s.kernel == 1 && s.stride == 1 &&
         s.padding == 0 && s.groups == 1 &&
         (s.activation.kind == ActivationKind::kNone || s.activation.kind == ActivationKind::kRelu);
}

// cuBLASLt's matrices are column by column, so that ours are their own transposes:
// y^T [co, pixels] = w [co, ci] x^T [ci, pixels], and w lies there as [ci, co].
class Product {
 public:
  explicit Product(const ConvRequest& request) : request_(request) {
    const Arithmetic a = arithmetic(request.precision);
    const auto ci = static_cast<std::uint64_t>(request.shape.ci);
    const auto co = static_cast<std::uint64_t>(request.shape.co);
    const auto pixels = std::uint64_t{1} * static_cast<unsigned>(request.shape.n) *
                        static_cast<unsigned>(request.shape.h) *
                        static_cast<unsigned>(request.shape.w);
    check(cublasLtMatmulDescInit(&operation_, a.compute, CUDA_R_32F), "cublasLtMatmulDescInit");
    layout(w_, a.arrays, ci, co);
    layout(x_, a.arrays, ci, pixels);
    layout(y_, a.arrays, co, pixels);
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, request.shape.activation.kind == ActivationKind::kRelu
                                           ? CUBLASLT_EPILOGUE_RELU_BIAS
                                           : CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
    // The heuristics look at its alignment alone.
    alignas(kOperandAlignment) static const float somewhere = 0;
    set_bias(&somewhere);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  const ConvRequest& request() const { return request_; }

  std::vector<cublasLtMatmulHeuristicResult_t> proposals(cublasLtHandle_t handle) {
    cublasLtMatmulPreferenceOpaque_t wishes{};
    check(cublasLtMatmulPreferenceInit(&wishes), "cublasLtMatmulPreferenceInit");
    wish(wishes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspace);
    wish(wishes, CUBLASLT_MATMUL_PREF_IMPL_MASK, arithmetic(request_.precision).implementations);
    for (const auto alignment :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      wish(wishes, alignment, static_cast<std::uint32_t>(kOperandAlignment));
    }
    std::vector<cublasLtMatmulHeuristicResult_t> out(kProposals);
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle, &operation_, &w_, &x_, &y_, &y_, &wishes, kProposals, out.data(), &count);
    // An f32 bias beside 16-bit arrays is not in the tables of every version, which then says so or
    // calls it invalid.
    const bool mixed = arithmetic(request_.precision).arrays != CUDA_R_32F;
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || (mixed && status == CUBLAS_STATUS_INVALID_VALUE)) {
      return {};
    }
    check(status, "cublasLtMatmulAlgoGetHeuristic", ", ", request_);
    out.resize(static_cast<std::size_t>(count));
    return out;
  }

  cublasStatus_t run(cublasLtHandle_t handle, const cublasLtMatmulHeuristicResult_t& chosen,
                     const ConvOperands& operands, void* workspace, Stream stream) {
    constexpr float kOne = 1;
    constexpr float kZero = 0;
    set_bias(operands.b);
    return cublasLtMatmul(handle, &operation_, &kOne, operands.w, &w_, operands.x, &x_, &kZero,
                          operands.y, &y_, operands.y, &y_, &chosen.algo, workspace,
                          chosen.workspaceSize, stream);
  }

 private:
  // Dense: a column follows the other.
  static void layout(cublasLtMatrixLayoutOpaque_t& matrix, cudaDataType type, std::uint64_t rows,
                     std::uint64_t columns) {
    check(cublasLtMatrixLayoutInit(&matrix, type, rows, columns, static_cast<std::int64_t>(rows)),
          "cublasLtMatrixLayoutInit");
  }

  template <typename T>
  void set(cublasLtMatmulDescAttributes_t name, const T& value) {
    check(cublasLtMatmulDescSetAttribute(&operation_, name, &value, sizeof(value)),
          "cublasLtMatmulDescSetAttribute", ", attribute ", static_cast<int>(name));
  }
  void set_bias(const float* bias) { set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias); }

  template <typename T>
  static void wish(cublasLtMatmulPreferenceOpaque_t& wishes,
                   cublasLtMatmulPreferenceAttributes_t name, const T& value) {
    check(cublasLtMatmulPreferenceSetAttribute(&wishes, name, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute", ", attribute ", static_cast<int>(name));
  }

  ConvRequest request_;
  cublasLtMatmulDescOpaque_t operation_{};
  cublasLtMatrixLayoutOpaque_t w_{};
  cublasLtMatrixLayoutOpaque_t x_{};
  cublasLtMatrixLayoutOpaque_t y_{};
};

template <typename T>
T setting(const cublasLtMatmulAlgo_t& algo, cublasLtMatmulAlgoConfigAttributes_t name) {
  T value{};
  std::size_t written = 0;
  check(cublasLtMatmulAlgoConfigGetAttribute(&algo, name, &value, sizeof(value), &written),
        "cublasLtMatmulAlgoConfigGetAttribute", ", attribute ", static_cast<int>(name));
  return value;
}

std::string name_of(const cublasLtMatmulAlgo_t& algo) {
  return text("cublaslt algo ", setting<std::int32_t>(algo, CUBLASLT_ALGO_CONFIG_ID),  //
              " tile ", setting<std::uint32_t>(algo, CUBLASLT_ALGO_CONFIG_TILE_ID),    //
              " stages ", setting<std::uint32_t>(algo, CUBLASLT_ALGO_CONFIG_STAGES_ID), " split-k ",
              setting<std::int32_t>(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM), " reduction ",
              setting<std::uint32_t>(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME), " swizzle ",
              setting<std::uint32_t>(algo, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING), " option ",
              setting<std::uint32_t>(algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION), " inner ",
              setting<std::uint16_t>(algo, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID), " cluster ",
              setting<std::uint16_t>(algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID));
}

// Parts of a sum are added in f32 and in a fixed order, or there are no parts: not in y itself, one
// block after the other, nor in y's 16 bits.
bool is_allowed(const cublasLtMatmulHeuristicResult_t& proposal) {
  if (proposal.state != CUBLAS_STATUS_SUCCESS) return false;
  const auto scheme = setting<std::uint32_t>(proposal.algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
  return scheme == CUBLASLT_REDUCTION_SCHEME_NONE ||
         scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
}

class CublasLtConv final : public LibraryConv {
 public:
  CublasLtConv(cublasLtHandle_t handle, std::shared_ptr<Product> product,
               const cublasLtMatmulHeuristicResult_t& chosen)
      : handle_(handle),
        product_(std::move(product)),
        chosen_(chosen),
        name_(name_of(chosen.algo)) {}

  std::string name() const override { return name_; }
  std::size_t workspace_bytes() const override { return chosen_.workspaceSize; }

  void run(const ConvOperands& operands, void* workspace, Stream stream) override {
    check_operands(product_->request(), operands);
    check(product_->run(handle_, chosen_, operands, workspace, stream), "cublasLtMatmul", ", ",
          name_, ", ", product_->request());
  }

 private:
  cublasLtHandle_t handle_;
  std::shared_ptr<Product> product_;
  cublasLtMatmulHeuristicResult_t chosen_;
  std::string name_;
};

}  // namespace

LibraryConvs cublaslt_convs(cublasLtContext* handle, const ConvRequest& request, int most) {
  LibraryConvs found;
  if (!is_product(request)) return found;
  const auto product = std::make_shared<Product>(request);
  for (const auto& proposal : product->proposals(handle)) {
    if (static_cast<int>(found.size()) >= most) break;
    if (!is_allowed(proposal)) continue;
    found.push_back(std::make_unique<CublasLtConv>(handle, product, proposal));
  }
  return found;
}

}  // namespace ptynet::cuda
