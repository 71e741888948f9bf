#include "tools/simulation_arguments.h"

#include <cmath>
#include <limits>

#include "tools/lengths.h"

namespace ptynet::tools {

namespace {

constexpr const char* kObjectGroup = "Object options";
constexpr const char* kProbeGroup = "Probe options";

void add_range(CLI::App& command, const OptionText& what,
               std::optional<std::array<double, 2>>& value) {
  add_parsed(command, what, "A:B, two numbers with A <= B such as 0.3:1",
             [&value](const std::string& found) {
               value = parse_range(found);
               return value.has_value();
             })
      ->group(kObjectGroup);
}

}  // namespace

std::optional<std::array<double, 2>> parse_range(std::string_view text) {
  const auto parts = split(text, ':');
  if (!parts) return std::nullopt;
  const auto low = parse_number(parts->first);
  const auto high = parse_number(parts->second);
  if (!low || !high || *low > *high) return std::nullopt;
  return std::array{*low, *high};
}

void add_seed(CLI::App& command, std::uint64_t& seed) {
  add_parsed(
      command,
      {"--seed", "N",
       text("of everything random: the same seed gives the same bytes (default ", seed, ")")},
      "a whole number of 0 or more", [&seed](const std::string& found) {
        const auto number = parse_integer(found);
        if (!number || *number < 0) return false;
        seed = static_cast<std::uint64_t>(*number);
        return true;
      });
}

void ObjectArguments::add_to(CLI::App& command) {
  add_choice<ObjectKind>(command, {"--objects", "", "procedural objects (default dead-leaves)"},
                         {{"dead-leaves", ObjectKind::kDeadLeaves},
                          {"siemens", ObjectKind::kSiemens},
                          {"cells", ObjectKind::kCells},
                          {"text", ObjectKind::kText}},
                         [this](const ObjectKind& found) { objects = found; })
      ->group(kObjectGroup);
  add_range(command, {"--amplitude-range", "A:B", "amplitudes of the object (default 0.3:1)"},
            amplitude_range);
  add_range(command, {"--phase-range", "A:B", "phases of the object, radians (default -0.6:0.6)"},
            phase_range_rad);
  add_range(command,
            {"--feature-range", "A:B",
             "radii of leaves and cells, heights of characters, object pixels (default 8:90)"},
            feature_range_px);
  add_choice<bool>(command,
                   {"--shared", "",
                    "whether the phase follows the amplitude, or they are independent (default "
                    "off)"},
                   {{"on", true}, {"off", false}}, [this](const bool& on) { shared = on; })
      ->group(kObjectGroup);
}

void ObjectArguments::apply_to(ObjectRanges& ranges) const {
  if (amplitude_range) {
    ranges.amplitude_low = (*amplitude_range)[0];
    ranges.amplitude_high = (*amplitude_range)[1];
  }
  if (phase_range_rad) {
    ranges.phase_low_rad = (*phase_range_rad)[0];
    ranges.phase_high_rad = (*phase_range_rad)[1];
  }
  if (feature_range_px) {
    ranges.feature_low_px = (*feature_range_px)[0];
    ranges.feature_high_px = (*feature_range_px)[1];
  }
  if (shared) ranges.shared = *shared;
  check_ranges(ranges);
}

void ObjectArguments::expect_none_of_procedural(const std::string& instead, bool shared_too) const {
  const char* found = objects                ? "--objects"
                      : feature_range_px     ? "--feature-range"
                      : shared && shared_too ? "--shared"
                                             : nullptr;
  if (found != nullptr) {
    fail_input(found, " and ", instead, " exclude each other: give one of them");
  }
}

namespace {

void add_lengths(CLI::App& command, ProbeSource& source) {
  add_length(command,
             {"--probe-diameter", "M",
              "metres: of the pinhole, of the zone plate, or full width at half maximum of the "
              "Gaussian's intensity in its waist (default 2e-6, 180e-6, 0.3e-6)"},
             kOpticDiameter, source.diameter_m)
      ->group(kProbeGroup);
  add_length(command,
             {"--zone-width", "M",
              "outermost zone of the zone plate, metres: its focus is 1.22 of it in radius "
              "(default 50e-9)"},
             kZoneWidth, source.outermost_zone_width_m)
      ->group(kProbeGroup);
  add_parsed(
      command,
      {"--central-stop", "M", "diameter of the zone plate's central stop, metres (default 45e-6)"},
      "a number of 0 or more",
      [&source](const std::string& found) {
        source.central_stop_diameter_m = parse_number(found);
        if (!source.central_stop_diameter_m || *source.central_stop_diameter_m < 0) return false;
        expect_length("--central-stop", *source.central_stop_diameter_m, kOpticDiameter);
        return true;
      })
      ->group(kProbeGroup);
  add_parsed(command,
             {"--defocus", "M",
              "metres along the beam from the pinhole, focus or waist to the sample, or from where "
              "a probe file's probe is (default 2e-3, 0.8e-3, 5e-3; 0 of a file)"},
             "a number such as 0.8e-3 or -1e-4",
             [&source](const std::string& found) {
               source.defocus_m = parse_number(found);
               if (!source.defocus_m) return false;
               expect_length("--defocus", *source.defocus_m, kDefocus);
               return true;
             })
      ->group(kProbeGroup);
}

}  // namespace

void ProbeArguments::add_to(CLI::App& command) {
  add_text(command,
           {"--probe", "FILE[:DATASET]", "complex probe, modes first, in the place of a model"},
           source.file)
      ->group(kProbeGroup);
  add_choice<bool>(command,
                   {"--probe-norm", "",
                    "transform that --probe belongs to: sum over pixels, or with 1 / sqrt(pixels) "
                    "(default unnormalised)"},
                   {{"unnormalised", false}, {"ortho", true}},
                   [this](const bool& ortho) { source.ortho = ortho; })
      ->group(kProbeGroup);
  add_choice<ProbeKind>(command,
                        {"--probe-model", "",
                         "made by Fresnel propagation (default "
                         "fresnel-zone-plate)"},
                        {{"pinhole", ProbeKind::kPinhole},
                         {"fresnel-zone-plate", ProbeKind::kFresnelZonePlate},
                         {"gaussian", ProbeKind::kGaussian}},
                        [this](const ProbeKind& found) { kind = found; })
      ->group(kProbeGroup);
  add_lengths(command, source);
  add_positive(command,
               {"--photons", "N",
                "expected counts of a frame without a sample (default 1e6; a probe file's own)"},
               source.photons)
      ->group(kProbeGroup);
  add_integer(command, {"--frame", "PX", "side of a frame; 0: the probe file's, or 128"}, {0, 4096},
              frame_px)
      ->group(kProbeGroup);
  add_positive(command, {"--energy", "EV", "photon energy, electronvolts (default 8000)"},
               energy_ev)
      ->group(kProbeGroup);
  add_length(command, {"--distance", "M", "sample to detector, metres (default 2)"}, kDistance,
             distance_m)
      ->group(kProbeGroup);
  add_length(command,
             {"--detector-pixel", "M",
              "side of a detector pixel, metres (default 75e-6); an object pixel is wavelength * "
              "distance / (frame * it)"},
             kDetectorPixel, detector_pixel_m)
      ->group(kProbeGroup);
}

void ProbeArguments::check() const {
  const bool model =
      kind || source.diameter_m || source.outermost_zone_width_m || source.central_stop_diameter_m;
  if (source.file.empty() && source.ortho) {
    fail_input("--probe-norm says how a probe file is to be read: give --probe FILE[:DATASET]");
  }
  if (!source.file.empty() && model) {
    fail_input("--probe and the options of a --probe-model exclude each other: give one of them");
  }
  const ProbeKind used = kind.value_or(ProbeKind::kFresnelZonePlate);
  if (used != ProbeKind::kFresnelZonePlate &&
      (source.outermost_zone_width_m || source.central_stop_diameter_m)) {
    fail_input("--zone-width and --central-stop belong to --probe-model fresnel-zone-plate");
  }
}

void ProbeArguments::apply_to(Geometry& geometry) const {
  if (energy_ev && distance_m && detector_pixel_m) geometry.given = true;
  geometry.energy_ev = energy_ev.value_or(geometry.energy_ev);
  geometry.distance_m = distance_m.value_or(geometry.distance_m);
  geometry.detector_pixel_m = detector_pixel_m.value_or(geometry.detector_pixel_m);
}

void add_probe_jitter(CLI::App& command, ProbeJitter& jitter, double& defocus_m) {
  add_parsed(command,
             {"--probe-jitter", "SHIFT[,DEFOCUS[,SCALE]]",
              "the probe differs from pattern to pattern: by up to SHIFT object pixels in row and "
              "column, DEFOCUS metres along the beam, and SCALE of its counts "
              "(default 0,0,0)"},
             "one to three numbers of 0 or more, the third below 1, such as 2,1e-4,0.2",
             [&jitter, &defocus_m](const std::string& found) {
               std::array<double, 3> values{};
               std::size_t n = 0;
               for (std::size_t at = 0; at <= found.size(); ++n) {
                 const std::size_t end = std::min(found.find(',', at), found.size());
                 const auto number = parse_number(std::string_view(found).substr(at, end - at));
                 if (n == 3 || !number || *number < 0) return false;
                 values[n] = *number;
                 at = end + 1;
               }
               expect_length("--probe-jitter's DEFOCUS", values[1], kDefocus);
               jitter = {values[0], 0, values[2]};
               defocus_m = values[1];
               return values[2] < 1;
             })
      ->group(kProbeGroup);
}

}  // namespace ptynet::tools
