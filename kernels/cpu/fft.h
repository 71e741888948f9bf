// Two-dimensional Fourier transforms; the FFT library stands behind fft.cpp alone.
//
// Convention: forward F[k] = sum_n f[n] exp(-i 2 pi k n / N), unnormalised; the inverse carries
// 1 / (rows * columns). So inverse(forward(f)) = f, and sum |F|^2 = rows * columns * sum |f|^2.
#pragma once

#include <complex>
#include <cstdint>
#include <memory>

#include "kernels/math.h"

namespace ptynet {

// A transform of one (rows, columns) image, planned once; Real is float or double.
// run() may be called from several threads at once on distinct buffers, and allocates nothing of
// its own. (FFTW takes scratch beyond 64 KiB from the heap. With kissfft, as many calls run at once
// as the machine has threads; further ones wait.) The plan depends on the size alone, never on
// timing: the same input gives the same bytes.
template <typename Real>
class Fft2 {
 public:
  static constexpr std::int64_t kMaxExtent = std::int64_t{1} << 20;

  // Any extents from 1 to kMaxExtent, primes too. Throws Error (input) for others,
  // Error (runtime) when memory is short. Constructors may run on several threads.
  Fft2(std::int64_t rows, std::int64_t columns, FftDirection direction);
  ~Fft2();
  Fft2(Fft2&&) noexcept;
  Fft2& operator=(Fft2&&) noexcept;

  // [rows, columns] -> [rows, columns]; in == out is allowed, partial overlap is not.
  void run(const std::complex<Real>* in, std::complex<Real>* out) const;

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }

 private:
  struct Plan;

  std::int64_t rows_;
  std::int64_t columns_;
  FftDirection direction_;
  std::unique_ptr<Plan> plan_;
};

extern template class Fft2<float>;
extern template class Fft2<double>;

// out[(r + row_shift) % rows, (c + column_shift) % columns] = in[r, c]; shifts are in
// [0, rows] and [0, columns]; in and out must not overlap.
template <typename T>
void roll2(const T* in, T* out, std::int64_t rows, std::int64_t columns, std::int64_t row_shift,
           std::int64_t column_shift) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* from = in + r * columns;
    T* to = out + (r + row_shift) % rows * columns;
    for (std::int64_t c = 0; c < columns - column_shift; ++c) to[c + column_shift] = from[c];
    for (std::int64_t c = columns - column_shift; c < columns; ++c) {
      to[c + column_shift - columns] = from[c];
    }
  }
}

// Zero frequency from the corner (index 0) to the centre (index N / 2, rounded down), and back.
// For even sizes the two are the same, for odd ones they are not.
template <typename T>
void fftshift(const T* in, T* out, std::int64_t rows, std::int64_t columns) {
  roll2(in, out, rows, columns, rows / 2, columns / 2);
}
template <typename T>
void ifftshift(const T* in, T* out, std::int64_t rows, std::int64_t columns) {
  roll2(in, out, rows, columns, rows - rows / 2, columns - columns / 2);
}

}  // namespace ptynet
