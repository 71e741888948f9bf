// The products of a warpgroup (wgmma), as one of its warps takes part in them. Each warp goes at
// its own pace: what a kernel must not rely on, warps waiting for each other, they do not.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "tests/cuda_on_cpu/twin.h"

namespace ptynet::cuda::twin {

// Until the wait that covers its last product the registers of a sum hold NaN, and the true sums
// are kept here.
class WarpProducts {
 public:
  struct Begun {  // by one lane
    float* sums;
    int count;  // of them
    SharedMatrix a, b;
    DType type;
    Site site;
  };

  void fence() { fenced_ = true; }
  // Throws when the lanes differ, when the sums lack a fence or were written since the last
  // product, and when an operand does not lie within one array of shared memory.
  void begin(const Operands& lanes, int warp);
  void commit();
  // Throws when operands have changed since their product began.
  void wait(int pending);

  bool are_under_way(const float* sums_of_lane_0) const { return sums_.contains(sums_of_lane_0); }
  // Throws when a product is under way, or when the warps did not begin the same products.
  static void expect_ended(std::span<const WarpProducts> warps);

 private:
  struct Product {
    Begun begun;
    int warp;
    std::vector<unsigned char> operands;  // their core matrices, those of a first
  };
  struct Sums {
    Operands registers;         // of each lane
    std::vector<float> values;  // [lane][count]
    int under_way;              // products
  };
  static std::vector<unsigned char> read_operands(const Begun& begun, int warp);
  static void expect_registers(const Sums& sums, int count, const Site& site);
  static void add(const Product& product, Sums& sums);
  Sums& sums_of(const Operands& lanes);
  void end(const Product& product);

  bool fenced_ = false;
  std::map<const float*, Sums> sums_;  // by the registers of lane 0
  std::vector<Product> open_;          // of no group yet
  std::vector<std::vector<Product>> groups_;
  std::uint64_t history_ = 0;  // a hash of all that was begun
};

}  // namespace ptynet::cuda::twin
