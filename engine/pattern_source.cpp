#include "engine/pattern_source.h"

#include <algorithm>
#include <cmath>
#include <system_error>

#include "engine/poisson.h"
#include "kernels/random.h"

namespace ptynet {

namespace {

const Array& checked_probe(const Array& probe) {
  if (probe.shape().rank() != 3 || probe.dtype() != DType::kC64) {
    fail_input("expected a probe c64[modes, h, w], found ", describe(probe));
  }
  return probe;
}

}  // namespace

PatternMaker::PatternMaker(const PatternRecipe& recipe, const std::string& series)
    : recipe_(recipe),
      seed_(CounterRandom(recipe.seed, series).bits(0)),
      height_(checked_probe(recipe.probe).shape()[1]),
      width_(recipe.probe.shape()[2]),
      probe_photons_(counts_of(recipe.probe)),
      simulator_(height_, width_) {
  check_ranges(recipe.ranges);
  if (const auto& photons = recipe.photons) {
    if (!((*photons)[0] > 0 && (*photons)[0] <= (*photons)[1] && std::isfinite((*photons)[1]))) {
      fail_input("expected photons with 0 < low <= high, found ", (*photons)[0], " to ",
                 (*photons)[1]);
    }
  }
  if (recipe.jitter.any() || recipe.photons) variable_probe_.emplace(recipe.probe);
  if (!recipe.images.empty()) images_.emplace(recipe.images, height_, width_);
}

Array PatternMaker::probe_of(std::uint64_t index) const {
  if (!variable_probe_) return recipe_.probe;
  ProbeVariation variation = draw_variation({seed_, recipe_.jitter}, index);
  if (recipe_.photons) {
    const auto& [low, high] = *recipe_.photons;
    const double share = CounterRandom(seed_, "photons of a pattern").uniform(index);
    variation.scale *= low * std::pow(high / low, share) / probe_photons_;
  }
  return variable_probe_->vary(variation);
}

void PatternMaker::make(std::uint64_t index, float* frame, float* amplitude, float* phase) const {
  const ObjectImage image =
      images_ ? images_->window(recipe_.ranges, seed_, index)
              : make_object(recipe_.objects, recipe_.ranges, height_, width_, seed_, index);
  simulator_.expected(complex_object(image), 0, 0, probe_of(index), 0, frame);
  const std::int64_t pixels = height_ * width_;
  if (recipe_.noise == Noise::kPoisson) {
    const std::vector<double> counts = poisson_counts(frame, pixels, seed_, index);
    std::transform(counts.begin(), counts.end(), frame,
                   [](double count) { return static_cast<float>(count); });
  }
  std::copy_n(image.amplitude.data<float>(), pixels, amplitude);
  std::copy_n(image.phase.data<float>(), pixels, phase);
}

TrainingBatch PatternMaker::batch(std::uint64_t first, std::int64_t count) const {
  const Shape shape{count, height_, width_};
  TrainingBatch out;
  for (Array* array : {&out.frames, &out.amplitude, &out.phase}) {
    *array = Array::host(shape, DType::kF32);
  }
  const std::int64_t pixels = height_ * width_;
  for (std::int64_t k = 0; k < count; ++k) {
    make(first + static_cast<std::uint64_t>(k), out.frames.data<float>() + k * pixels,
         out.amplitude.data<float>() + k * pixels, out.phase.data<float>() + k * pixels);
  }
  return out;
}

std::uint64_t EpochPlan::first(std::int64_t number) const {
  return static_cast<std::uint64_t>(number / batches() * patterns + number % batches() * batch);
}

std::int64_t EpochPlan::size(std::int64_t number) const {
  return std::min(batch, patterns - number % batches() * batch);
}

PatternSource::PatternSource(std::shared_ptr<const PatternSeries> series, const EpochPlan& plan,
                             const PatternThreads& threads, std::int64_t first_batch)
    : series_(std::move(series)),
      plan_(plan),
      threads_(threads),
      wanted_(first_batch),
      claimed_(first_batch) {
  threads_.high = std::max(threads_.high, threads_.low + 1);
  try {
    for (int k = 0; k < std::max(threads_.count, 1); ++k) {
      workers_.emplace_back([this] { work(); });
    }
  } catch (const std::system_error& problem) {
    // One thread is enough, and the destructor of half an object is not called.
    if (workers_.empty()) {
      fail_runtime("cannot start a thread that simulates: ", problem.what());
    }
  }
}

PatternSource::~PatternSource() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void PatternSource::work() {
  set_threads_of_caller(1);
  const auto high = static_cast<std::int64_t>(threads_.high);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || (filling_ && claimed_ - wanted_ < high); });
    if (stop_) return;
    const std::int64_t number = claimed_++;
    lock.unlock();
    try {
      TrainingBatch made = series_->batch(plan_.first(number), plan_.size(number));
      lock.lock();
      ready_.emplace(number, std::move(made));
    } catch (...) {
      if (!lock.owns_lock()) lock.lock();
      failure_ = std::current_exception();
      stop_ = true;
    }
    if (ready_.size() >= threads_.high) filling_ = false;
    changed_.notify_all();
  }
}

TrainingBatch PatternSource::next() {
  std::unique_lock lock(mutex_);
  if (ready_.size() <= threads_.low) {
    filling_ = true;
    changed_.notify_all();
  }
  changed_.wait(lock, [this] {
    const bool whole = !filling_ || threads_.low > 0;
    return failure_ != nullptr || (ready_.contains(wanted_) && whole);
  });
  if (failure_) std::rethrow_exception(failure_);
  TrainingBatch batch = std::move(ready_.extract(wanted_).mapped());
  ++wanted_;
  return batch;
}

}  // namespace ptynet
