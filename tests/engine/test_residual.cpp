#include <algorithm>
#include <array>
#include <cmath>
#include <complex>

#include "engine/residual.h"
#include "kernels/random.h"
#include "tests/catch.h"

using namespace ptynet;

namespace {

constexpr std::int64_t kSide = 16;

Array probe() {
  Array out = Array::host({1, kSide, kSide}, DType::kC64);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    const double r = static_cast<double>(i / kSide) - 8;
    const double c = static_cast<double>(i % kSide) - 8;
    const auto v = std::polar(2.0 * std::exp(-(r * r + c * c) / 20), 0.1 * r * c);
    out.data<std::complex<float>>()[i] = {static_cast<float>(v.real()),
                                          static_cast<float>(v.imag())};
  }
  return out;
}

Array flat_objects(std::int64_t n, std::complex<float> value) {
  Array out = Array::host({n, kSide, kSide}, DType::kC64);
  std::fill_n(out.data<std::complex<float>>(), out.elements(), value);
  return out;
}

Array far_field(Context& context, const Array& object) {
  Array out = Array::host(object.shape(), DType::kF32);
  context.backend().far_field_intensity(object, probe(), out);
  return out;
}

}  // namespace

TEST_CASE("R is 0 for the true object, half for half the amplitude, NaN without counts") {
  Context context;
  ResidualMeter meter(context, probe());
  const Array object = flat_objects(3, {0.8F, 0.6F});
  Array frames = far_field(context, object);
  std::fill_n(frames.slice(2, 1).data<float>(), kSide * kSide, 0.0F);
  const auto perfect = meter.measure(object, frames);
  CHECK(perfect[0].r() < 1e-6);
  CHECK(std::isnan(perfect[2].r()));
  const auto half = meter.measure(flat_objects(3, {0.4F, 0.3F}), frames);
  CHECK(half[1].r() == Approx(0.5).epsilon(1e-5));
  // A bad pixel counts on neither side.
  frames.data<float>()[100] = -1;
  CHECK(meter.measure(object, frames)[0].r() < 1e-6);
}

TEST_CASE("a flat sample is explained by a flat object at its best scale") {
  Context context;
  const Array frames = far_field(context, flat_objects(4, {0.3F, 0.4F}));
  Baselines baselines(context, {4, kSide, kSide}, probe());
  baselines.add(frames);
  baselines.measure(frames);
  // The scale is found to a bin of 2^(1/256): half a bin is 0.14 %.
  CHECK(baselines.flat().r() < 0.0015);
  CHECK(baselines.mean().r() < 1e-6);
}

TEST_CASE("the best scale is the best: no other does better by more than the bin's width") {
  Context context;
  const CounterRandom random(5, "frames");
  Array frames = far_field(context, flat_objects(6, {1.0F, 0.0F}));
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    frames.data<float>()[i] *=
        static_cast<float>(3 * random.uniform(static_cast<std::uint64_t>(i)));
  }
  Baselines baselines(context, {6, kSide, kSide}, probe());
  baselines.add(frames.slice(0, 3));
  baselines.add(frames.slice(3, 3));
  baselines.measure(frames.slice(0, 2));
  baselines.measure(frames.slice(2, 4));
  ResidualMeter meter(context, probe());
  double best = 1e9;
  for (int step = 0; step < 2000; ++step) {
    RSums sums;
    for (const RSums& s :
         meter.measure(flat_objects(6, {static_cast<float>(step) * 1e-3F, 0}), frames)) {
      sums += s;
    }
    best = std::min(best, sums.r());
  }
  CHECK(baselines.flat().r() == Approx(best).epsilon(1e-3));
}

TEST_CASE("frames without counts are counted, with a probe and without") {
  Context context;
  Array frames = far_field(context, flat_objects(4, {1.0F, 0.0F}));
  std::fill_n(frames.slice(1, 1).data<float>(), kSide * kSide, 0.0F);
  std::fill_n(frames.slice(3, 1).data<float>(), kSide * kSide, -1.0F);  // every pixel is bad
  for (const Array& light : {probe(), Array()}) {
    Baselines baselines(context, frames.shape(), light);
    baselines.add(frames);
    baselines.measure(frames);
    CHECK(baselines.frames_without_counts() == 2);
  }
}

TEST_CASE("the best scale of a long scan is found from frames all over it") {
  Context context;
  // The first half is four times as bright as the second; the best scale lies between, as it does
  // when every frame counts.
  constexpr std::int64_t kFrames = 1200;
  const Array one = far_field(context, flat_objects(1, {1.0F, 0.0F}));
  const auto r_of = [&](std::int64_t frames, std::int64_t bright) {
    Baselines baselines(context, {frames, kSide, kSide}, probe());
    for (int pass = 0; pass < 2; ++pass) {
      for (std::int64_t i = 0; i < frames; ++i) {
        Array frame = one.clone();
        for (std::int64_t p = 0; i < bright && p < frame.elements(); ++p) {
          frame.data<float>()[p] *= 4;
        }
        pass == 0 ? baselines.add(frame) : baselines.measure(frame);
      }
    }
    return baselines.flat().r();
  };
  // Two thirds bright: the median is theirs. R = sum over the dark third of |1 - 2| / (2 * 2 + 1).
  CHECK(r_of(kFrames, kFrames * 2 / 3) == Approx(0.2).epsilon(0.01));
  // One third bright: R = sum over the bright third of |2 - 1| / (2 + 2 * 1).
  CHECK(r_of(kFrames, kFrames / 3) == Approx(0.25).epsilon(0.01));
}

TEST_CASE("baselines do not depend on the number of threads") {
  Context context;
  const CounterRandom random(9, "frames");
  Array frames = far_field(context, flat_objects(6, {1.0F, 0.0F}));
  for (std::int64_t i = 0; i < frames.elements(); ++i) {
    frames.data<float>()[i] *= static_cast<float>(random.uniform(static_cast<std::uint64_t>(i)));
  }
  const auto run = [&](int threads) {
    set_threads_of_caller(threads);
    Baselines baselines(context, frames.shape(), probe());
    baselines.add(frames);
    baselines.measure(frames);
    return std::array{baselines.flat().r(), baselines.mean().r()};
  };
  const auto alone = run(1);
  const auto together = run(3);
  set_threads_of_caller(2);
  CHECK(alone == together);
}
