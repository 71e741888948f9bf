// The options that say what is simulated, the same for every command that simulates.
#pragma once

#include <optional>
#include <string>

#include "engine/simulate.h"
#include "kernels/probe_variation.h"
#include "tools/options.h"

namespace ptynet::tools {

// Objects; what is not given leaves the value that is there, so that a preset may come first.
struct ObjectArguments {
  std::optional<ObjectKind> objects;
  std::optional<std::array<double, 2>> amplitude_range;
  std::optional<std::array<double, 2>> phase_range_rad;
  std::optional<std::array<double, 2>> feature_range_px;
  std::optional<bool> shared;  // the phase follows the amplitude

  // --objects, --amplitude-range, --phase-range, --feature-range, --shared
  void add_to(CLI::App& command);
  void apply_to(ObjectRanges& ranges) const;
  // Throws Error (input) when an option was given that only means something to procedural objects;
  // `instead` is what takes their place.
  void expect_none_of_procedural(const std::string& instead, bool shared_too) const;
};

// The probe, and the geometry that its pixels and wavelength follow from.
struct ProbeArguments {
  ProbeSource source;
  std::optional<ProbeKind> kind;
  std::optional<double> energy_ev;
  std::optional<double> distance_m;
  std::optional<double> detector_pixel_m;
  std::int64_t frame_px = 0;  // 0: the probe file's, or 128

  // --probe, --probe-norm, --probe-model, --probe-diameter, --zone-width, --central-stop,
  // --defocus, --photons,
  // --frame, --energy, --distance, --detector-pixel
  void add_to(CLI::App& command);
  // Throws Error (input) for options that exclude each other.
  void check() const;
  void apply_to(Geometry& geometry) const;
};

// --probe-jitter SHIFT[,DEFOCUS[,SCALE]]; the defocus in metres goes to `defocus_m`.
void add_probe_jitter(CLI::App& command, ProbeJitter& jitter, double& defocus_m);

// Seeds: --seed
void add_seed(CLI::App& command, std::uint64_t& seed);

// "A:B" of numbers with A <= B.
std::optional<std::array<double, 2>> parse_range(std::string_view text);

}  // namespace ptynet::tools
