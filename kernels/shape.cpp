#include "kernels/shape.h"

#include <algorithm>

#include "kernels/error.h"

namespace ptynet {

Shape::Shape(std::initializer_list<std::int64_t> extents)
    : Shape(extents.begin(), extents.size()) {}

Shape::Shape(const std::int64_t* extents, std::size_t rank) : rank_(rank) {
  if (rank > kMaxRank) fail_input("an array has at most ", kMaxRank, " dimensions, found ", rank);
  constexpr std::int64_t kLimit = std::int64_t{1} << 62;
  bool empty = false;
  for (std::size_t i = 0; i < rank; ++i) {
    if (extents[i] < 0) fail_input("an array extent cannot be negative, found ", extents[i]);
    extents_[i] = extents[i];
    if (extents[i] == 0) empty = true;
  }
  if (empty) {
    elements_ = 0;
    return;
  }
  for (std::size_t i = 0; i < rank; ++i) {
    if (elements_ > kLimit / extents[i]) {
      fail_input("an array of more than 2^62 elements cannot be held");
    }
    elements_ *= extents[i];
  }
}

Shape Shape::with_first(std::int64_t extent) const {
  std::array<std::int64_t, kMaxRank> changed = extents_;
  changed[0] = extent;
  return Shape(changed.data(), rank_);
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(shape[i]);
  }
  return out + "]";
}

}  // namespace ptynet
