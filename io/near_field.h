// Whether a scan can be one of the far field.
#pragma once

#include "io/scan.h"

namespace ptynet::io {

// Sets near_field and near_field_reason of a scan whose positions are in metres and whose
// energy, distance and detector pixel are known; clears them otherwise. Reads up to 96 frames when
// the steps are wide. Throws Error (input) when those cannot be read.
//
// A detector of pixel p at distance z resolves the interference of two points of the object only
// when they are less than wavelength * z / p apart, the field of view; with fringes of two pixels
// (Nyquist), half of that. A scan with steps of more than half a field therefore has no overlap, if
// it is one of the far field. That is allowed, and then neighbouring frames have nothing in common.
// But if they are one shadow that moves with the sample, the beams do overlap; the shadow's
// magnification gives the beam's width on the sample, and a beam wider than the field belongs to no
// far field that the detector could resolve. (The Fresnel number does not decide: the
// quadratic phase of a short distance is part of the probe.)
void judge_near_field(ScanFile& scan);

}  // namespace ptynet::io
