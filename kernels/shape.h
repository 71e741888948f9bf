// The extents of an array, slowest dimension first.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace ptynet {

class Shape {
 public:
  static constexpr std::size_t kMaxRank = 6;

  Shape() = default;
  // Throws Error (input) for more than kMaxRank extents, a negative one, or a product over 2^62.
  Shape(std::initializer_list<std::int64_t> extents);
  Shape(const std::int64_t* extents, std::size_t rank);

  std::size_t rank() const { return rank_; }
  std::int64_t operator[](std::size_t dimension) const { return extents_[dimension]; }
  const std::int64_t* begin() const { return extents_.data(); }
  const std::int64_t* end() const { return extents_.data() + rank_; }
  std::int64_t elements() const { return elements_; }

  // The same shape with another first extent.
  Shape with_first(std::int64_t extent) const;
  bool operator==(const Shape& other) const;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  std::size_t rank_ = 0;
  std::int64_t elements_ = 1;
};

// "[3, 64, 64]"
std::string to_string(const Shape& shape);

}  // namespace ptynet
