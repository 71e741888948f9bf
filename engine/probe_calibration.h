// The probe that training compares counts with: its support, and its scale.
//
// Probe and object share one scale: (s probe) (object / s) has the same far field. Counts say only
// what the product is, so the scale of a probe needs a word from elsewhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/context.h"

namespace ptynet {

enum class ProbeCalibration : std::uint8_t {
  kOff,        // as the file has it
  kEmptyBeam,  // so that its far field has the counts of a frame without a sample
  kBrightest,  // the same, the brightest 1 % of the frames being taken for ones without a sample
  kNetwork,    // what explains the frames best by the network's own prediction
};

// The probe within its support, 0 elsewhere: where |probe|^2, summed over modes, is at least
// `fraction` of its maximum. Throws Error (input) for a fraction out of (0, 1).
//
// The far field is that of probe * object, so a probe that is 0 somewhere gives the same far field,
// and the same gradients within the support, as an object that is 0 there (the zero assignment of
// the published method, which makes a frame oversample the object); and patches stitched with the
// weight |probe|^2 have no weight there.
Array within_support(const Array& probe, double fraction);

// sum |probe|^2; an unnormalised far field of it has that times h * w counts.
double probe_power(const Array& probe);
Array scaled_probe(const Array& probe, double factor);
// |probe|^2 summed over modes, f32 [h, w], its greatest value 1.
Array probe_weight(const Array& probe);

// What to multiply `probe` c64 [modes, h, w] with so that its far field has the summed counts of
// `frames` f32 [n, h, w] over their good pixels. Throws Error (input) without counts.
double scale_to_counts(Context& context, const Array& probe, const Array& frames);

// The brightest 1 % of the frames, at least one.
std::vector<std::int64_t> brightest_frames(const Array& frames);

// Least squares of sum (sqrt I - s sqrt P)^2 over good pixels, P the far field of `probe` through
// the patches: s = sum sqrt(I P) / sum P.
class ScaleToPrediction {
 public:
  ScaleToPrediction(Context& context, const Array& probe);
  // amplitude and phase (rad) host f32 [n, h, w] under the frames
  void add(const Array& amplitude, const Array& phase, const Array& frames);
  double scale() const;  // Throws Error (input) when nothing was predicted or measured.

 private:
  Context& context_;
  Array probe_;
  double product_ = 0;
  double predicted_ = 0;
};

// A line when the counts of the brightest frame and the greatest possible ones (an object of
// amplitude 1) differ by more than 20x.
std::optional<std::string> warning_about_counts(const Array& probe, const Array& frames);

}  // namespace ptynet
