// How near a reconstruction is to a known truth, in three conventions. All of it in double.
//
//   paper     as Tables 2 and 3 of the PtyNet paper (iScience 2023) are made: both images are
//             stretched to 0..255 and rounded up; SSIM with a window of sigma 0.5; MSE of the
//             images divided by their maxima. It hides errors of scale and offset.
//   standard  Wang, Bovik, Sheikh, Simoncelli, IEEE Trans. Image Process. 13, 600 (2004): the
//             images as they are, the truth's own range, a window of sigma 1.5.
//   physical  of complex objects: phase RMS after the best constant phase, amplitude RMS after the
//             best scale, which are all that ptychography leaves open.
//
// Images must have the same shape, at least one pixel and finite values, else Error (input). A
// score that its formula leaves undefined (0/0: a constant image where a range is divided by; SSIM
// of fewer than 11 rows or columns; the phase of an object that is zero) is NaN; the PSNR of
// identical images is +infinity.
//
// The functions keep no state and may be called from several threads.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace ptynet {

// Pixels row by row; pixels.size() == rows * columns.
template <typename T>
struct Image {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<T> pixels;

  const T& at(std::int64_t r, std::int64_t c) const {
    return pixels[static_cast<std::size_t>(r * columns + c)];
  }
  T& at(std::int64_t r, std::int64_t c) {
    return pixels[static_cast<std::size_t>(r * columns + c)];
  }
};
using RealImage = Image<double>;
using ComplexImage = Image<std::complex<double>>;

struct ImageScores {
  double psnr_db = 0;  // 10 log10(range^2 / mean square error)
  double ssim = 0;     // mean structural similarity over the window's valid area, 11 x 11 Gaussian
  double mse = 0;      // mean square error
};
ImageScores paper_scores(const RealImage& result, const RealImage& truth);
ImageScores standard_scores(const RealImage& result, const RealImage& truth);

// The parts of the above, for other conventions.
double psnr_db(const RealImage& a, const RealImage& b, double data_range);
double ssim(const RealImage& a, const RealImage& b, double data_range, double sigma_px);

struct PhysicalScores {
  double phase_rms_rad = 0;
  double amplitude_rms = 0;
};
PhysicalScores physical_scores(const ComplexImage& result, const ComplexImage& truth);

// The phase by which result exceeds truth after the best constant is removed, in (-pi, pi].
RealImage phase_error_rad(const ComplexImage& result, const ComplexImage& truth);

// The result with the best constant phase and scale, as the physical scores compare it with the
// truth; each of the two is left alone where it is not defined.
ComplexImage matched(ComplexImage result, const ComplexImage& truth);

// Fourier ring correlation on rings of one frequency step, over the largest square that begins at
// pixel (0, 0). Saxton, Baumeister, J. Microsc. 127, 127 (1982). A ring without power counts as 0.
struct RingCorrelation {
  std::vector<double> frequency;        // cycles per pixel, 0, 1/n, ... up to 1/2
  std::vector<double> correlation;      // in [-1, 1]
  std::vector<std::int64_t> ring_size;  // Fourier pixels of each ring
};
RingCorrelation ring_correlation(const ComplexImage& a, const ComplexImage& b);

// What a ring correlation has to stay above.
enum class RingCriterion {
  kFixed0143,  // Rosenthal, Henderson, J. Mol. Biol. 333, 721 (2003); for half-data pairs
  kFixed05,    // the usual one against a noise-free truth
  kHalfBit     // van Heel, Schatz, J. Struct. Biol. 151, 250 (2005)
};
double ring_threshold(RingCriterion criterion, std::int64_t ring_size);

// The frequency (cycles per pixel) at which the curve first falls below the criterion, found by a
// straight line between rings; ring 0 (the mean) is left out. NaN when it never does.
double ring_crossing(const RingCorrelation& curve, RingCriterion criterion);

}  // namespace ptynet
