// Probes to simulate with, by Fresnel propagation, and what is measured of a probe.
//
// A probe is c64 [modes, n, n] on object pixels, its middle at pixel n / 2, for the unnormalised
// transform (docs/conventions.md). docs/simulation.md has the formulas.
#pragma once

#include <cstdint>

#include "kernels/array.h"

namespace ptynet {

enum class ProbeKind : std::uint8_t { kPinhole, kFresnelZonePlate, kGaussian };

// Lengths in metres. The defaults of probe_model() are those of a hard X-ray beamline.
struct ProbeModel {
  ProbeKind kind = ProbeKind::kFresnelZonePlate;
  double wavelength_m = 0;
  double object_pixel_m = 0;
  // Pinhole: of the hole. Zone plate: of the plate. Gaussian: full width at half maximum of the
  // intensity in the waist.
  double diameter_m = 0;
  double outermost_zone_width_m = 0;   // zone plate only: focal length = diameter * it / wavelength
  double central_stop_diameter_m = 0;  // zone plate only
  // The sample's distance behind (above 0) or before (below 0) the pinhole, focus or waist, along
  // the beam. Behind a focus the far field is an upright shadow of the sample.
  double defocus_m = 0;
};

// 8 keV and 32.3 nm object pixels (2 m, 128 detector pixels of 75 um): a pinhole of 2 um at 2 mm; a
// zone plate of 180 um with 50 nm zones and a stop of 45 um, 0.8 mm out of focus; a Gaussian of
// 0.3 um in the waist, 5 mm behind it.
ProbeModel probe_model(ProbeKind kind);

// c64 [1, n, n], sum |p|^2 = 1, by the transfer function of Fresnel propagation,
// exp(-i pi wavelength defocus f^2) (Goodman, Introduction to Fourier Optics, 3rd ed., eq. 4-21),
// in double, on a field of 4 n pixels (2 n from n = 512 on). Frequencies above field / (2
// wavelength |defocus|) would leave that field, so they are left out, and nothing wraps around at
// any distance (Matsushima and Shimobaba, Opt. Express 17, 19662, 2009). Throws Error (input) for
// lengths that are not positive, a stop as wide as the plate, zones finer than the object pixel
// resolves, or when under half of the beam falls into the frame.
Array make_probe(const ProbeModel& model, std::int64_t n);

// `probe` c64 [modes, n, n] defocus_m further along the beam, by the same propagation on the same
// padded field. Light that leaves the frame is lost. Throws Error (input) for a probe that is not
// square, and when under half of the light stays in the frame.
Array propagate_probe(const Array& probe, double wavelength_m, double object_pixel_m,
                      double defocus_m);

// Diameter of the disc about the centre of mass that holds 90 % of the energy, px. The energy of
// pixels at equal distance counts in equal shares, so it is exact to about half a pixel.
double probe_diameter_px(const Array& probe);

// Single precision holds all that is made of a probe up to here.
inline constexpr double kMostPhotons = 1e30;
// The probe of which a frame without a sample has `photons` counts in all: photons =
// rows * columns * sum |p|^2. Throws Error (input) for a dark probe, or photons that are not above
// 0 and up to kMostPhotons.
Array scale_to_photons(const Array& probe, double photons);
// Its counts as it is.
double counts_of(const Array& probe);

}  // namespace ptynet
