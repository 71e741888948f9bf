// Matrix instructions of a warp, put together from the fragments of its lanes.
#include "tests/cuda_on_cpu/twin_matrices.h"

#include <bit>
#include <cstring>

namespace ptynet::cuda::twin {

namespace {

struct Product {
  float* sums;
  const std::uint32_t* a;
  const std::uint32_t* b;
  DType type;

  int elements() const { return type == DType::kF32 ? 1 : 2; }  // per register

  // Element i of a register, as the matrix unit reads it.
  float element(std::uint32_t bits, int i) const {
    if (type == DType::kF32) return std::bit_cast<float>(bits & 0xFFFFE000U);
    const auto half = static_cast<std::uint16_t>(bits >> (16 * i));
    return type == DType::kF16 ? widen(Half{half}) : widen(Bfloat16{half});
  }
};

// A as [16][k], B as [n][k], put together from the fragments of all lanes.
struct Matrices {
  double a[16][16];
  double b[8][16];
};

void gather(const Operands& lanes, Matrices& out) {
  for (int l = 0; l < kWarpLanes; ++l) {
    const auto& lane = *static_cast<const Product*>(lanes[static_cast<std::size_t>(l)]);
    const int per_register = lane.elements();
    for (int i = 0; i < per_register; ++i) {
      const int k = l % 4 * per_register + i;
      for (int r = 0; r < 4; ++r) {
        out.a[l / 4 + r % 2 * 8][k + r / 2 * 4 * per_register] = double{lane.element(lane.a[r], i)};
      }
      for (int r = 0; r < 2; ++r) {
        out.b[l / 4][k + r * 4 * per_register] = double{lane.element(lane.b[r], i)};
      }
    }
  }
}

void multiply_all(const Operands& lanes) {
  Matrices m{};
  gather(lanes, m);
  for (int l = 0; l < kWarpLanes; ++l) {
    const auto& lane = *static_cast<const Product*>(lanes[static_cast<std::size_t>(l)]);
    for (int r = 0; r < 4; ++r) {
      const int row = l / 4 + r / 2 * 8;
      const int column = l % 4 * 2 + r % 2;
      double sum = 0;
      for (int k = 0; k < 8 * lane.elements(); ++k) sum += m.a[row][k] * m.b[column][k];
      lane.sums[r] = static_cast<float>(double{lane.sums[r]} + sum);
    }
  }
  count_matrix_instructions(1);
}

struct MatrixLoad {
  std::uint32_t* out;
  const unsigned char* row;
  int count;
  bool transposed;
};

std::uint32_t two_bytes(const unsigned char* p) {
  std::uint16_t value = 0;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

void load_all(const Operands& lanes) {
  const auto lane_at = [&](int l) -> const MatrixLoad& {
    return *static_cast<const MatrixLoad*>(lanes[static_cast<std::size_t>(l)]);
  };
  for (int l = 0; l < kWarpLanes; ++l) {
    const MatrixLoad& lane = lane_at(l);
    for (int m = 0; m < lane.count; ++m) {
      if (lane.transposed) {
        lane.out[m] = two_bytes(lane_at(8 * m + l % 4 * 2).row + l / 4 * 2) |
                      two_bytes(lane_at(8 * m + l % 4 * 2 + 1).row + l / 4 * 2) << 16;
      } else {
        std::memcpy(&lane.out[m], lane_at(8 * m + l / 4).row + l % 4 * 4, 4);
      }
    }
  }
}

}  // namespace

void multiply(float (&sums)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              DType type, const Site& site) {
  Product product{sums, a, b, type};
  meet(&product, multiply_all, site);
}

void load_matrices(std::uint32_t* out, int count, const void* row, bool transposed,
                   const Site& site) {
  constexpr int kRowBytes = 16;
  MatrixLoad operand{out, static_cast<const unsigned char*>(row), count, transposed};
  if (position().thread % kWarpLanes < 8 * count) {
    expect_shared(row, "ldmatrix", site);
    note_access(row, kRowBytes, false, site);
  }
  meet(&operand, load_all, site);
}

}  // namespace ptynet::cuda::twin
