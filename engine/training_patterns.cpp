#include "engine/training_patterns.h"

#include <algorithm>
#include <numeric>

#include "engine/pattern_simulator.h"
#include "io/weights.h"

namespace ptynet {

namespace {

constexpr std::uint64_t kHeldOutSeed = 1;
constexpr std::int64_t kUsualHeldOut = 256;
constexpr std::int64_t kUsualHeldOutOf = 10;  // frames of scans

std::string name_of(ObjectKind kind) {
  constexpr std::array kNames{"dead-leaves", "siemens", "cells", "text", "pictures"};
  return kNames.at(static_cast<std::size_t>(kind));
}

// The jitter along the beam, from metres to the units of a recipe.
double defocus_in_units(const TrainOptions& o, const Array& probe) {
  const Geometry& g = o.geometry;
  const std::int64_t n = std::min(probe.shape()[1], probe.shape()[2]);
  const double pixel_m = g.object_pixel_m(n);
  const double unit_m = pixel_m * pixel_m / io::wavelength_m(g.energy_ev);
  const double defocus = o.jitter_defocus_m / unit_m;
  if (!(defocus <= static_cast<double>(n))) {
    fail_input("a probe jitter of ", o.jitter_defocus_m, " m along the beam takes light ",
               "over the frame's edges: expected at most frame * pixel^2 / wavelength, ",
               static_cast<double>(n) * unit_m, " m");
  }
  if (!o.probe.file.empty() && !g.given && o.tell) {
    o.tell(text("the jitter along the beam is that of ", g.energy_ev, " eV, ", g.distance_m,
                " m and detector pixels of ", g.detector_pixel_m, " m: give --energy, ",
                "--distance and --detector-pixel"));
  }
  return defocus;
}

PatternRecipe recipe_of(const TrainOptions& o) {
  PatternRecipe recipe = o.recipe;
  if (recipe.probe.empty()) recipe.probe = simulation_probe(o.probe, o.geometry, o.frame_px);
  recipe.seed = o.seed;
  if (o.jitter_defocus_m != 0) recipe.jitter.defocus = defocus_in_units(o, recipe.probe);
  check(recipe);
  if (!o.images.empty()) {
    const Shape& s = recipe.probe.shape();
    recipe.images = std::make_shared<const ImageLibrary>(o.images, s[1], s[2]);
  }
  return recipe;
}

std::map<std::string, std::string> identity_of(const PatternRecipe& r) {
  const ObjectRanges& g = r.ranges;
  std::map<std::string, std::string> out;
  out["objects"] = r.images ? "pictures " + r.images->sha256() : name_of(r.objects);
  out["ranges"] =
      text(shortest(g.amplitude_low), ":", shortest(g.amplitude_high), " ",
           shortest(g.phase_low_rad), ":", shortest(g.phase_high_rad), " ",
           shortest(g.feature_low_px), ":", shortest(g.feature_high_px), g.shared ? " shared" : "");
  out["noise"] = r.noise == Noise::kPoisson ? "poisson" : "none";
  if (r.photons) out["photons"] = shortest((*r.photons)[0]) + ":" + shortest((*r.photons)[1]);
  out["probe-jitter"] = text(shortest(r.jitter.shift_px), ",", shortest(r.jitter.defocus), ",",
                             shortest(r.jitter.scale));
  return out;
}

TrainingPatterns simulated_patterns(const TrainOptions& o) {
  PatternRecipe recipe = recipe_of(o);
  TrainingPatterns out;
  out.series = [recipe](Context& context, std::int64_t most) {
    return std::make_unique<PatternSimulator>(context, recipe, "training",
                                              std::min(most, kPatternsTogether));
  };
  out.plan = o.epoch;
  out.held_out = o.held_out.value_or(kUsualHeldOut);
  out.probe = recipe.probe;
  out.identity = identity_of(recipe);
  // A model's probe was made on that pixel; of a file's nothing is known but what the user says.
  const bool model = o.recipe.probe.empty() && o.probe.file.empty();
  if (o.geometry.given || model) {
    const double pixel_m = o.geometry.object_pixel_m(recipe.probe.shape()[2]);
    out.object_pixel_m = {{pixel_m, pixel_m}};
  }
  recipe.seed = kHeldOutSeed;
  out.make_held_out = [recipe, n = out.held_out](Context& context) {
    const Shape& s = recipe.probe.shape();
    PatternSimulator series(context, recipe, "held-out", std::min(n, kPatternsTogether));
    return patterns_on_host(context, series, 0, n, s[1], s[2]);
  };
  return out;
}

Array probe_of(const TrainOptions& o, const TrainingPairs& pairs) {
  if (!o.recipe.probe.empty()) return o.recipe.probe;
  if (!o.probe.file.empty()) return simulation_probe(o.probe, o.geometry, o.frame_px);
  if (pairs.probe().empty()) {
    fail_input(o.scans.front().scan, " has no probe, which weights are made for: give --probe ",
               "FILE[:DATASET]");
  }
  return pairs.probe();
}

// The last frames are held out in one piece: between frames that are trained with, one shows
// little that the network has not seen.
TrainingPatterns patterns_of_scans(const TrainOptions& o, const Architecture& architecture) {
  const auto pairs = std::make_shared<TrainingPairs>(o.scans);
  const std::int64_t all = pairs->count();
  TrainingPatterns out;
  out.held_out = o.held_out.value_or(std::min(kUsualHeldOut, all / kUsualHeldOutOf));
  const std::int64_t trained = all - out.held_out;
  if (trained < 1) {
    fail_input("expected fewer frames held out than the scans have, ", all, ", found ",
               out.held_out, ": lower --held-out");
  }
  out.plan = o.epoch;
  if (out.plan.patterns == 0) out.plan.patterns = trained;
  check(out.plan, o.epochs);
  trace(architecture, pairs->height(), pairs->width());
  out.probe = probe_of(o, *pairs);
  const Shape& s = out.probe.shape();
  if (s.rank() != 3 || s[1] != pairs->height() || s[2] != pairs->width()) {
    fail_input("expected a probe c64[modes, ", pairs->height(), ", ", pairs->width(),
               "] like the scans' frames, found ", describe(out.probe));
  }
  pairs->read(o.progress);
  out.series = [pairs, trained, seed = o.seed, batch = o.epoch.batch](Context& context,
                                                                      std::int64_t) {
    return std::make_unique<ShuffledPairs>(context, pairs, trained, seed, batch);
  };
  out.make_held_out = [pairs, trained, n = out.held_out](Context&) {
    std::vector<std::int64_t> last(static_cast<std::size_t>(n));
    std::iota(last.begin(), last.end(), trained);
    return pairs->batch(last);
  };
  out.object_pixel_m = pairs->object_pixel_m();
  out.identity["scans"] = pairs->sha256();
  if (o.tell) {
    o.tell(text(all, " frames of ", o.scans.size(), " scans, the last ", out.held_out,
                " of them held out"));
  }
  return out;
}

}  // namespace

TrainingPatterns training_patterns(const TrainOptions& options, const Architecture& architecture) {
  TrainingPatterns out = options.scans.empty() ? simulated_patterns(options)
                                               : patterns_of_scans(options, architecture);
  out.identity["probe"] = io::sha256_of_probe(out.probe);
  out.identity["patterns"] = text(out.plan.patterns);
  out.identity["held-out"] = text(out.held_out);
  return out;
}

}  // namespace ptynet
