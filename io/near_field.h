// Whether a scan can be one of the far field.
#pragma once

#include "io/scan.h"

namespace ptynet::io {

// Sets near_field and near_field_reason of a scan whose positions are in metres and whose
// energy, distance and detector pixel are known; else leaves it alone.
//
// A detector of pixel p at distance z resolves the interference of two points of the object only
// when they are less than wavelength * z / (2 p) apart (Nyquist: their fringes have a period of two
// pixels). The beam of a far-field scan is therefore at most that wide, and neighbouring
// positions, whose beams must overlap, are closer still. Where the median distance to the nearest
// other position is larger, either the frames are no far-field patterns, but shadow images of a
// beam too wide for that, or the scan has no overlap. (The Fresnel number does not decide: the
// quadratic phase of a short distance is part of the probe.)
void judge_near_field(ScanFile& scan);

}  // namespace ptynet::io
