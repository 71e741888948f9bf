#include "engine/pattern_simulator.h"

#include <algorithm>
#include <cmath>

#include "kernels/poisson.h"
#include "kernels/random.h"

namespace ptynet {

namespace {

constexpr std::int64_t kMostTurns = 1024;  // that numbers are sent for at once

ProbeSeries probe_series(const PatternRecipe& recipe, std::uint64_t seed) {
  ProbeSeries out;
  out.seed = seed;
  out.jitter = recipe.jitter;
  if (recipe.photons) {
    const double own = counts_of(recipe.probe);
    out.photons_low = (*recipe.photons)[0] / own;
    out.photons_high = (*recipe.photons)[1] / own;
  }
  return out;
}

ObjectSeries objects_on(Context& context, const PatternRecipe& recipe, std::uint64_t seed) {
  ObjectSeries out = recipe.images != nullptr ? recipe.images->series(recipe.ranges, seed)
                                              : object_series(recipe.objects, recipe.ranges, seed);
  for (Array* array : {&out.glyphs, &out.pictures, &out.places}) {
    if (!array->empty()) *array = on_device(context, *array);
  }
  return out;
}

}  // namespace

void check(const PatternRecipe& recipe) {
  if (recipe.probe.shape().rank() != 3 || recipe.probe.dtype() != DType::kC64) {
    fail_input("expected a probe c64[modes, h, w], found ", describe(recipe.probe));
  }
  check_ranges(recipe.ranges);
  if (const auto& photons = recipe.photons) {
    if (!((*photons)[0] > 0 && (*photons)[0] <= (*photons)[1] && std::isfinite((*photons)[1]))) {
      fail_input("expected photons with 0 < low <= high, found ", (*photons)[0], " to ",
                 (*photons)[1]);
    }
  }
  const Shape& s = recipe.probe.shape();
  if (recipe.images && recipe.images->shortest_side() < std::max(s[1], s[2])) {
    fail_input("expected pictures of at least ", std::max(s[1], s[2]), " px a side, found one of ",
               recipe.images->shortest_side());
  }
  const double counts = counts_of(recipe.probe);  // refuses a dark one
  const double most = (recipe.photons ? (*recipe.photons)[1] : counts) * (1 + recipe.jitter.scale) *
                      recipe.ranges.amplitude_high * recipe.ranges.amplitude_high;
  const auto pixels = static_cast<double>(recipe.probe.shape()[1] * recipe.probe.shape()[2]);
  if (recipe.noise == Noise::kPoisson && !(most <= kMostCounts * pixels)) {
    fail_input("frames would have up to ", most, " counts: with noise expected at most ",
               kMostCounts, " per pixel, which 32 bits hold; give fewer photons");
  }
}

PatternSimulator::PatternSimulator(Context& context, const PatternRecipe& recipe,
                                   const std::string& series, std::int64_t at_a_time)
    : context_(context) {
  check(recipe);
  const std::uint64_t seed = CounterRandom(recipe.seed, series).bits(0);
  objects_ = objects_on(context, recipe, seed);
  light_ = on_device(context, recipe.probe.clone());
  number_ = context.allocate({1}, DType::kF64);
  turns_ = {Array(), context.allocate({kMostTurns}, DType::kF64),
            context.allocate({2}, DType::kI32)};
  made_ = room_for_patterns(context, at_a_time, recipe.probe.shape()[1], recipe.probe.shape()[2]);
  send_numbers(0);
  record(recipe, seed);
}

void PatternSimulator::record(const PatternRecipe& recipe, std::uint64_t seed) {
  Backend& backend = context_.backend();
  const Shape frames = made_.frames.shape();
  const Shape& modes = light_.shape();
  const bool varies = recipe.jitter.any() || recipe.photons;
  if (varies) backend.fft2(light_, FftDirection::kForward, light_);
  const auto work = [&] {
    Allocator& memory = backend.allocator();
    backend.take_rate(turns_, 1.0, number_);
    backend.draw_objects(objects_, number_, made_.amplitude, made_.phase);
    Array object = memory.allocate(frames, DType::kC64);
    backend.compose_object(made_.amplitude, made_.phase, object);
    if (varies) {
      Array probes = memory.allocate({frames[0], modes[0], modes[1], modes[2]}, DType::kC64);
      backend.vary_spectra(light_, probe_series(recipe, seed), number_, probes);
      Array all = probes.reshape({frames[0] * modes[0], modes[1], modes[2]});
      backend.fft2(all, FftDirection::kInverse, all);
      backend.far_field_intensity(object, probes, made_.frames);
    } else {
      backend.far_field_intensity(object, light_, made_.frames);
    }
    if (recipe.noise == Noise::kPoisson) {
      backend.photon_noise(made_.frames, seed, number_, made_.frames);
    }
    backend.advance(turns_, frames[0]);
  };
  replay_ = std::make_unique<PlannedReplay>(context_, work);
}

void PatternSimulator::send_numbers(double first) {
  const std::int64_t at_a_time = made_.frames.shape()[0];
  std::vector<double> numbers;
  for (std::int64_t turn = 0; turn < kMostTurns; ++turn) {
    numbers.push_back(first + static_cast<double>(turn * at_a_time));
  }
  context_.backend().copy(Array::copy_of(numbers, {kMostTurns}), turns_.rates);
  context_.backend().copy(Array::copy_of<std::int32_t>({0, 0}, {2}), turns_.cursor);
}

void PatternSimulator::make(std::uint64_t first, Patterns& to) {
  const std::int64_t count = to.frames.shape()[0];
  const std::int64_t at_a_time = made_.frames.shape()[0];
  for (std::int64_t done = 0; done < count; done += at_a_time) {
    if (done / at_a_time % kMostTurns == 0) {
      send_numbers(static_cast<double>(first) + static_cast<double>(done));
    }
    replay_->run();
    const std::int64_t n = std::min(at_a_time, count - done);
    Patterns part = patterns_within(to, done, n);
    copy_patterns(context_, patterns_within(made_, 0, n), part);
  }
}

}  // namespace ptynet
