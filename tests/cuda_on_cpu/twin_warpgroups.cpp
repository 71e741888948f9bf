#include "tests/cuda_on_cpu/twin_warpgroups.h"

#include <bit>
#include <cstring>
#include <numeric>

#include "tests/cuda_on_cpu/twin_matrices.h"

namespace ptynet::cuda::twin {

namespace {

constexpr int kWarpgroupWarps = 4;
constexpr int kCoreRows = 8;
constexpr int kColumnBytes = 16;  // of a row of a core matrix
constexpr int kColumns = 2;       // of them along k
constexpr int kCoreBytes = kCoreRows * kColumnBytes;
constexpr std::uint32_t kTaken = 0x7FC0BAD0U;  // as a float NaN: the sum is a product's

// What the hardware makes of a descriptor's 64 bits.
struct Descriptor {
  std::uint32_t start;        // bytes
  std::uint32_t next_column;  // bytes along k
  std::uint32_t next_rows;    // bytes to the next 8 rows

  Descriptor(const SharedMatrix& m, const Site& site) {
    const std::uint64_t bits = m.low | std::uint64_t{m.high} << 32;
    constexpr std::uint64_t kFields = 0x00003FFF3FFF3FFFU;  // the others: zero without swizzle
    if ((bits & ~kFields) != 0) {
      fail_runtime(place(site),
                   ": a matrix descriptor without swizzle has bits 0 to 13, 16 to 29 "
                   "and 32 to 45 alone, found ",
                   std::hex, bits);
    }
    const auto field = [&](int first) {
      return static_cast<std::uint32_t>(bits >> first & 0x3FFFU) << 4;
    };
    start = field(0);
    next_column = field(16);
    next_rows = field(32);
  }
};

int depth(DType type) { return kColumns * kColumnBytes / (type == DType::kF32 ? 4 : 2); }

// As tensor cores read them.
float element(const unsigned char* at, DType type) {
  if (type == DType::kF32) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, at, sizeof(bits));
    return std::bit_cast<float>(bits & 0xFFFFE000U);
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return type == DType::kF16 ? widen(Half{bits}) : widen(Bfloat16{bits});
}

// [row][k] of core matrices as read_operands() collects them, [row / 8][column][row % 8] of 16
// bytes.
std::vector<double> rows_of(std::span<const unsigned char> cores, DType type) {
  const std::size_t bytes = type == DType::kF32 ? 4 : 2;
  const auto rows = cores.size() / (kColumns * kColumnBytes);
  const auto k = static_cast<std::size_t>(depth(type));
  std::vector<double> out(rows * k);
  for (std::size_t at = 0; at < cores.size(); at += bytes) {
    const std::size_t core = at / kCoreBytes;
    const std::size_t row = core / kColumns * kCoreRows + at % kCoreBytes / kColumnBytes;
    const std::size_t column = (core % kColumns * kColumnBytes + at % kColumnBytes) / bytes;
    out[row * k + column] = double{element(&cores[at], type)};
  }
  return out;
}

const WarpProducts::Begun& begun_by(void* lane) {
  return *static_cast<const WarpProducts::Begun*>(lane);
}

}  // namespace

// As rows_of() takes them: two times 8 rows of a, which are the warp's, then all of b.
std::vector<unsigned char> WarpProducts::read_operands(const Begun& begun, int warp) {
  std::vector<unsigned char> out;
  const auto read = [&](const Descriptor& from, int first, int last) {
    for (int rows = first; rows < last; ++rows) {
      for (int column = 0; column < kColumns; ++column) {
        const std::uint32_t address = from.start +
                                      static_cast<std::uint32_t>(rows) * from.next_rows +
                                      static_cast<std::uint32_t>(column) * from.next_column;
        const unsigned char* core = shared_memory_at(address, kCoreBytes, begun.site);
        out.insert(out.end(), core, core + kCoreBytes);
      }
    }
  };
  const int first_of_a = warp % kWarpgroupWarps * 2;
  read(Descriptor(begun.a, begun.site), first_of_a, first_of_a + 2);
  read(Descriptor(begun.b, begun.site), 0, begun.count * 2 / kCoreRows);
  return out;
}

void WarpProducts::expect_registers(const Sums& sums, int count, const Site& site) {
  for (void* lane : sums.registers) {
    for (int i = 0; i < count; ++i) {
      if (std::bit_cast<std::uint32_t>(static_cast<const float*>(lane)[i]) != kTaken) {
        fail_runtime(place(site), ": sums were written while a product was under way");
      }
    }
  }
}

void WarpProducts::add(const Product& product, Sums& sums) {
  constexpr std::size_t kBytesOfA = 2 * kColumns * kCoreBytes;
  const Begun& begun = product.begun;
  const std::span<const unsigned char> operands = product.operands;
  const std::vector<double> a = rows_of(operands.first(kBytesOfA), begun.type);
  const std::vector<double> b = rows_of(operands.subspan(kBytesOfA), begun.type);
  const int k = depth(begun.type);
  for (int row = 0; row < 2 * kCoreRows; ++row) {
    for (int column = 0; column < 2 * begun.count; ++column) {
      const double* of_a = &a[static_cast<std::size_t>(row * k)];
      const double* of_b = &b[static_cast<std::size_t>(column * k)];
      const int lane = row % 8 * 4 + column % 8 / 2;
      const int i = column / 8 * 4 + row / 8 * 2 + column % 2;
      float& value = sums.values[static_cast<std::size_t>(lane * begun.count + i)];
      value = static_cast<float>(std::inner_product(of_a, of_a + k, of_b, double{value}));
    }
  }
}

// Takes the registers, unless an earlier product has them.
WarpProducts::Sums& WarpProducts::sums_of(const Operands& lanes) {
  const Begun& first = begun_by(lanes[0]);
  const auto [at, is_new] = sums_.try_emplace(first.sums);
  Sums& out = at->second;
  if (!is_new) {
    expect_registers(out, first.count, first.site);
    return out;
  }
  if (!fenced_) {
    fail_runtime(place(first.site), ": sums that no product has need a warpgroup_fence() first");
  }
  out.under_way = 0;
  for (std::size_t l = 0; l < lanes.size(); ++l) {
    float* registers = begun_by(lanes[l]).sums;
    out.registers[l] = registers;
    out.values.insert(out.values.end(), registers, registers + first.count);
    std::fill(registers, registers + first.count, std::bit_cast<float>(kTaken));
  }
  return out;
}

void WarpProducts::begin(const Operands& lanes, int warp) {
  const Begun& first = begun_by(lanes[0]);
  for (void* lane : lanes) {
    const Begun& other = begun_by(lane);
    if (other.a.low != first.a.low || other.a.high != first.a.high || other.b.low != first.b.low ||
        other.b.high != first.b.high) {
      fail_runtime(place(first.site), ": lanes of one warp pass different descriptors");
    }
  }
  Product product{first, warp, read_operands(first, warp)};
  Sums& sums = sums_of(lanes);
  add(product, sums);
  ++sums.under_way;
  open_.push_back(std::move(product));
  for (const std::uint32_t word : {first.a.low, first.a.high, first.b.low, first.b.high,
                                   static_cast<std::uint32_t>(first.count)}) {
    history_ = (history_ ^ word) * 0x9E3779B97F4A7C15U + 1;
  }
  const int products = first.count * 2 / 8;  // of 16 x 8 sums
  count_matrix_instructions(products);
  const int reads_of_b = warp % kWarpgroupWarps == 0 ? products * kColumns : 0;
  count_shared_reads(2 * kColumns + reads_of_b);
}

void WarpProducts::commit() {
  groups_.push_back(std::move(open_));
  open_.clear();
}

void WarpProducts::wait(int pending) {
  while (groups_.size() > static_cast<std::size_t>(pending)) {
    for (const Product& product : groups_.front()) end(product);
    groups_.erase(groups_.begin());
  }
}

void WarpProducts::end(const Product& product) {
  const Begun& b = product.begun;
  if (read_operands(b, product.warp) != product.operands) {
    fail_runtime(place(b.site), ": an operand has changed while its product was under way");
  }
  Sums& sums = sums_.at(b.sums);
  if (--sums.under_way > 0) return;
  expect_registers(sums, b.count, b.site);
  for (std::size_t l = 0; l < sums.registers.size(); ++l) {
    const auto* values = sums.values.data() + l * static_cast<std::size_t>(b.count);
    std::copy(values, values + b.count, static_cast<float*>(sums.registers[l]));
  }
  sums_.erase(b.sums);
  fenced_ = false;
}

void WarpProducts::expect_ended(std::span<const WarpProducts> warps) {
  for (std::size_t w = 0; w < warps.size(); ++w) {
    if (!warps[w].sums_.empty()) fail_runtime("warp ", w, " has ended with products under way");
    const std::size_t first = w / kWarpgroupWarps * kWarpgroupWarps;
    const bool whole = first + kWarpgroupWarps <= warps.size() || warps[w].history_ == 0;
    if (!whole || warps[w].history_ != warps[first].history_) {
      fail_runtime("warps ", first, " and ", w, " of a warpgroup have begun different products");
    }
  }
}

void fence_products(const Site& site) {
  meet(
      nullptr, [](const Operands&) { products_of_warp().fence(); }, site);
}

void begin_product(float* sums, int count, const SharedMatrix& a, const SharedMatrix& b, DType type,
                   const Site& site) {
  expect_fenced(site);
  WarpProducts::Begun begun{sums, count, a, b, type, site};
  meet(
      &begun,
      [](const Operands& lanes) {
        products_of_warp().begin(lanes, position().thread / kWarpLanes);
      },
      site);
}

void commit_products(const Site& site) {
  meet(
      nullptr, [](const Operands&) { products_of_warp().commit(); }, site);
}

void wait_for_products(int pending, const Site& site) {
  meet(
      &pending,
      [](const Operands& lanes) { products_of_warp().wait(*static_cast<const int*>(lanes[0])); },
      site);
}

void expect_own(const float* sums, const Site& site) {
  meet(
      const_cast<float*>(sums),
      [](const Operands& lanes) {
        if (products_of_warp().are_under_way(static_cast<const float*>(lanes[0]))) {
          fail_runtime("sums are taken while a product is under way: wait for it first");
        }
      },
      site);
}

}  // namespace ptynet::cuda::twin
